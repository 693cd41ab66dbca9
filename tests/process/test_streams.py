"""What components print goes to stderr, past Python too, and the streams come back whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PRINTS = {
    "print": "print('noise')",
    "bytes": "sys.stdout.buffer.write(b'noise')",
    "the old stream": "sys.__stdout__.write('noise')",
    "the descriptor": "os.write(1, b'noise')",
    "C": "ctypes.CDLL(None).puts(b'noise')",
    "a child": "subprocess.run(['echo', 'noise'])",
    "a thread that goes on": "threading.Thread(target=lambda: [print('noise') for _ in range(10**5)], daemon=True).start()",
    "at the end": "atexit.register(print, 'noise')",
    "closed": "(os.write(1, b'noise'), os.close(1))",
    "closed stream": "(print('noise'), sys.stdout.close(), sys.__stdout__.close())",
    "closed errors": "(print('noise', flush=True), sys.stderr.close(), os.close(2))",
    "no stream": "(print('noise', flush=True), setattr(sys, 'stdout', None), setattr(sys, '__stdout__', None))",
}

PROGRAM = """
import atexit, ctypes, os, subprocess, sys, threading
from bnsbench.process.streams import results_alone, stdout_kept_clean, write_result
sys.stdout.write(" ")
with results_alone():
    with stdout_kept_clean():
        {print}
    write_result('{{"a": 1}}')
"""


@pytest.mark.parametrize("name", PRINTS)
def test_stdout_holds_the_result_alone(name):
    command = [sys.executable, "-c", PROGRAM.format(print=PRINTS[name])]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=120)
    assert json.loads(done.stdout) == {"a": 1}
    assert "noise" in done.stderr
    assert done.returncode == 0


AFTER = """
import os, sys
from bnsbench.process.streams import stdout_kept_clean
with stdout_kept_clean():
    {print}
print("result")
print("told", file=sys.stderr)
"""


@pytest.mark.parametrize("name", ["print", "closed", "closed stream", "closed errors", "no stream"])
def test_afterwards_both_streams_work(name):
    command = [sys.executable, "-c", AFTER.format(print=PRINTS[name])]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "result\n"
    assert done.stderr.endswith("told\n")


def test_where_somebody_else_reads_stdout(capsys):
    from bnsbench.process.streams import results_alone, write_result

    with results_alone():
        print("noise")  # noqa: T201
        write_result("result")
    assert tuple(capsys.readouterr()) == ("result", "noise\n")
    write_result("more")
    assert capsys.readouterr().out == "more"


def test_whoever_called_a_command_may_go_on_printing():
    program = (
        "from bnsbench.process.streams import results_alone, write_result\n"
        "with results_alone():\n    print('noise')\n    write_result('result ')\nprint('more')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout, done.stderr) == ("result more\n", "noise\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("nested", [False, True])
def test_what_a_component_has_held_back_goes_to_stderr_though_it_has_closed_stdout(nested, unbuffered):
    within = "    with stdout_kept_clean():\n        print('more', file=sys.__stdout__)\n" * nested
    program = (
        "import os, sys\nfrom bnsbench.process.streams import results_alone, stdout_kept_clean, write_result\n"
        f"with results_alone():\n    sys.__stdout__.write('noise\\n')\n    os.close(1)\n{within}    write_result('result')\n"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout, done.stderr) == ("result", "noise\n" + "more\n" * nested)
