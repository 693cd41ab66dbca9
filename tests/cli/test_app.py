"""The application: quick help, and what becomes of errors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from bnsbench import __version__
from bnsbench.cli import app as application
from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, NotApplicableError, UsageError

COMMANDS = (
    *("run", "leaderboard", "compare", "verify", "tune", "publish", "train", "sample", "solver", "list", "plugins"),
    *("check", "new", "doctor", "pretrain"),
)
HEAVY = {"torch", "numpy", "pandas", "matplotlib", "scipy", "sklearn"}


def modules_after(*arguments: str) -> set[str]:
    program = (
        "import json, sys\n"
        "from bnsbench.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as error:\n    assert not error.code, error.code\n"
        "print('\\n' + json.dumps(list(sys.modules)), file=sys.stderr)"  # since nothing comes to stdout after JSON
    )
    environment = {**os.environ, "BNSBENCH_PLUGINS": ""}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("run", "--help"),
        ("list", "solvers"),
        ("list", "suites", "--json"),
        ("list",),
        ("list", "edm"),
        ("plugins",),
    ],
    ids=" ".join,
)
def test_imports_nothing_heavy(arguments):
    assert not HEAVY & modules_after(*arguments)


def test_help_is_quick():
    """Processor time of the fastest of three, since other processes share the machine."""
    helped = "from bnsbench.cli import main; main(['--help'])"
    program = (
        "import resource, subprocess, sys\n"
        "def spent(): return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime\n"
        "begin = spent()\n"
        f"subprocess.run([sys.executable, '-c', {helped!r}], stdout=subprocess.DEVNULL, check=True)\n"
        "print(spent() - begin)"
    )
    times = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(done.stdout) for done in times) <= 0.4


def test_every_command_has_help(bnsbench):
    listed = bnsbench("--help")
    assert listed.code == 0
    for command in COMMANDS:
        assert f"  {command} " in listed.out
        helped = bnsbench(command, "--help")
        assert (helped.code, helped.err) == (0, "")
        assert "Usage: bnsbench " + command in helped.out


def test_summaries_are_whole(bnsbench):
    shown = " ".join(bnsbench("--help").out.split())
    assert "..." not in shown.replace("[ARGS]...", "")
    assert "run Run the cells of a suite that are not finished yet, and show the leaderboard. leaderboard" in shown


@pytest.mark.parametrize("command", [*COMMANDS, "solver show", "solver diff", "solver export"])
def test_help_tells_types_in_a_users_words(bnsbench, command):
    shown = bnsbench(*command.split(), "--help").out
    assert not re.search(r"<\w|list\[|<class", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_an_option_takes_what_it_is_called(bnsbench):
    shown = bnsbench("run", "--help").out
    for line in ("--solver SOLVER ", "--seed N ", "--timeout X ", "--dtype float64|float32|bfloat16", "--results DIR "):
        assert f"  {line}" in shown
    assert "RESULTS  Results folder" in bnsbench("leaderboard", "--help").out


def test_no_command_shows_help(bnsbench):
    shown = bnsbench()
    assert shown.code in (0, 2)  # click changed its mind
    assert "Usage: bnsbench" in shown.out + shown.err


@pytest.mark.parametrize("command", [(), ("run",), ("solver", "show")])
def test_h_is_help(bnsbench, command):
    assert bnsbench(*command, "-h").out == bnsbench(*command, "--help").out != ""


def test_version(bnsbench):
    assert bnsbench("--version").out == f"bnsbench {__version__}\n"


@pytest.mark.parametrize("arguments", [("nowhere",), ("compare",), ("list", "nothing"), ("list", "models", "--nothing")])
def test_misuse_exits_with_2(bnsbench, arguments):
    done = bnsbench(*arguments)
    assert done.code == 2
    assert "Usage: bnsbench" in done.err
    assert "Traceback" not in done.err


def raising(monkeypatch, error: BaseException) -> None:
    def load(*_):
        raise error

    monkeypatch.setattr(PluginHost, "load", load)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UsageError("There is no such thing; choose another."), 2, "There is no such thing; choose another."),
        (BnsbenchError("The disk is full: free some space."), 1, "The disk is full: free some space."),
        (NotApplicableError("No guidance here."), 1, "No guidance here."),
        (
            RuntimeError("two\n\tlines."),
            1,
            "Unexpected RuntimeError: two lines; run again with --debug for the traceback.",
        ),
    ],
)
def test_errors_are_one_sentence(bnsbench, monkeypatch, error, code, sentence):
    raising(monkeypatch, error)
    done = bnsbench("list", "models")
    assert (done.code, done.out, done.err) == (code, "", f"bnsbench: {sentence}\n")


@pytest.mark.parametrize(
    "arguments", [["--debug", "list", "models"], ["list", "--debug", "models"], ["list", "models", "--debug"]]
)
def test_debug_shows_the_traceback(monkeypatch, arguments):
    raising(monkeypatch, UsageError("There is no such thing."))
    with pytest.raises(UsageError, match="There is no such thing"):
        application.main(arguments)


def test_interrupt(bnsbench, monkeypatch):
    raising(monkeypatch, KeyboardInterrupt())
    done = bnsbench("list", "models")
    assert done.code == 130
    assert done.err == "Interrupted: what is finished is kept, and the same command resumes.\n"
