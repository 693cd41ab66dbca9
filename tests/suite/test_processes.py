"""Worker processes: how many there are, and main programs that they cannot be started from."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.suite import processes
from bnsbench.suite.processes import ProcessExecutor, leave_if_starting
from bnsbench.suite.run import RunOptions, run_suite

UNGUARDED = """
import sys
from pathlib import Path
from bnsbench.contract import PluginHost
from bnsbench.suite.progress import RunListener
from bnsbench.suite.run import RunOptions, run_suite

def main():
    host = PluginHost.load([Path(sys.argv[2])])
    choice = {"solvers": "steps", "models": "tiny", "nfe": [2, 4], "guidance": 0.0, "device": "cpu"}
    options = RunOptions(sys.argv[1], results=sys.argv[3], executor="processes", workers=2, **choice)
    print(run_suite(options, host, RunListener()).counts)

"""


@pytest.mark.parametrize(
    ("devices", "cores", "threads", "workers"),
    [(["cpu"], 8, 2, 4), (["cpu"], 7, 2, 3), (["cpu"], 2, 4, 1), (["cuda:0", "cuda:1"], 8, 1, 2)],
)
def test_workers_share_the_cores_by_their_threads(monkeypatch, devices, cores, threads, workers):
    monkeypatch.setattr(processes, "cores", lambda: cores)
    monkeypatch.setattr(processes, "threads", lambda: threads)
    assert processes._default_workers(devices) == workers


@pytest.mark.parametrize("workers", [-1, -7])
def test_a_number_of_workers_that_cannot_be_is_a_usage_error(workers):
    with pytest.raises(UsageError, match=f"at least 1, not {workers}"):
        ProcessExecutor(workers)


@pytest.fixture
def start(tmp_path, suite_file, host):
    """Start a program that runs two cells in worker processes, and return what it has printed."""

    def start(text):
        program = tmp_path / "program.py"
        program.write_text(text)
        command = [sys.executable, str(program), str(suite_file), str(host.files[0]), str(tmp_path / "results")]
        return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=240)

    return start


def test_a_main_program_without_a_guard_is_told_in_one_sentence(start, tmp_path):
    done = start(UNGUARDED + "main()\n")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1, "that of the program's own error alone"
    assert done.stderr.strip().splitlines()[-1] == (
        "bnsbench.errors.UsageError: Worker processes import the main program, and this one runs cells when it is imported:"
        ' put that under `if __name__ == "__main__":`, or choose executor="local".'
    )
    assert "bootstrapping" not in done.stderr
    assert list((tmp_path / "results").glob("small/cells/*")) == []


def test_a_main_program_with_a_guard_runs(start):
    done = start(UNGUARDED + 'if __name__ == "__main__":\n    main()\n')
    assert (done.stdout, done.stderr) == ("{'ok': 2}\n", "")


def test_only_a_starting_worker_leaves(monkeypatch):
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    leave_if_starting()
    assert left == []
    monkeypatch.setattr(multiprocessing.current_process(), "name", processes.STARTING)
    leave_if_starting()
    assert left == [processes.UNGUARDED]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has taken note of does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_workers_that_still_start_end_with_a_killed_parent(tmp_path, suite_file, host):
    """Loading a job imports torch and the plugins, which takes as long as it likes."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import multiprocessing, os, pathlib, time\n"
        "if multiprocessing.parent_process() is not None:\n"
        "    pathlib.Path(__file__).with_suffix('.tmp').write_text(str(os.getpid()))\n"
        "    pathlib.Path(__file__).with_suffix('.tmp').rename(pathlib.Path(__file__).with_suffix('.pid'))\n"
        "    time.sleep(100)\n"
    )
    program = tmp_path / "program.py"
    text = UNGUARDED.replace("[Path(sys.argv[2])]", "[Path(sys.argv[2]), Path(sys.argv[4])]").replace(
        "workers=2", "workers=1"
    )
    program.write_text(text + 'if __name__ == "__main__":\n    main()\n')
    words = [str(suite_file), str(host.files[0]), str(tmp_path / "results"), str(slow)]
    parent = subprocess.Popen([sys.executable, str(program), *words], env=dict(os.environ))
    told, patience = slow.with_suffix(".pid"), time.monotonic() + 100
    while not told.exists() and parent.poll() is None and time.monotonic() < patience:
        time.sleep(0.01)
    worker = int(told.read_text())
    assert alive(worker)
    parent.kill()
    parent.wait()
    killed = time.monotonic()
    while alive(worker) and time.monotonic() < killed + 20:
        time.sleep(0.01)
    assert time.monotonic() < killed + 2


@pytest.fixture
def run(suite_file, tmp_path, host, recorder):
    def run():
        options = RunOptions(
            str(suite_file), solvers="steps", models="tiny", nfe=2, results=tmp_path, executor="processes", workers=1
        )
        return run_suite(options, host, recorder)

    return run


@pytest.mark.parametrize("where", ["multiprocessing.context.SpawnProcess.start", "multiprocessing.context.BaseContext.Pipe"])
def test_a_worker_that_cannot_be_started_says_why(run, monkeypatch, where):
    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(where, refuse)
    with pytest.raises(
        BnsbenchError, match=r"^A worker process could not be started \(Too many open files\); finished cells"
    ):
        run()


def test_a_worker_that_cannot_begin_says_why(run, host, monkeypatch, tmp_path):
    """The plugin's file is gone when the worker wants to read it."""
    gone = PluginHost(**{**vars(host), "files": (tmp_path / "gone.py",)})
    monkeypatch.setattr(PluginHost, "__reduce__", lambda self: (PluginHost.load, (gone.files, None)))
    with pytest.raises(BnsbenchError, match=r"could not begin its work: The plugin file '.*gone.py' could not be read"):
        run()


@pytest.mark.parametrize("timeout", [1e5, 1e6])
def test_timeouts_of_any_length(suite_file, tmp_path, host, recorder, timeout):
    for executor in ("local", "processes"):
        choice = {"solvers": "steps", "models": "tiny", "nfe": 2, "guidance": 0.0, "timeout": timeout}
        options = RunOptions(str(suite_file), results=tmp_path / executor, executor=executor, **choice)
        assert run_suite(options, host, recorder).counts == {"ok": 1}


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="a system without such signals")
def test_what_batch_systems_announce_ends_no_worker():
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=signal.raise_signal, args=(each,)) for each in processes.ANNOUNCEMENTS]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with processes._announcements_held_back():
        for process in started:
            process.start()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0]
