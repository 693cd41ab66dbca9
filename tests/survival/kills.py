"""Kill runs at random moments and at every write, and go on: nothing is lost, and the end is that of an undisturbed run.

Runs are forks of this process, in which everything is loaded already, so that thousands of kills take minutes. Their clocks
stand still, so that results have no timings in which they could differ, and their whole folder is compared byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PLUGIN = Path(__file__).with_name("killed_plugin.py")
SUITE = """
name = "killed"
samples = 40
batch = 16
nfe = [2, 4]
metrics = ["psnr"]
solvers = ["steps", "learned"]
models = [{ name = "tiny", guidance = [0.0, 1.0], tolerance = 1e-4 }]
"""

PLACES = ("flush", "rename", "renamed", "unlink", "half", "truth", "state")
"""Where a run kills itself: before a flush, before and after a rename, before a file is removed, with half a file written,
and before ground truth or the state of a training is written."""

LONGEST = 25
"""Kills of one chain of resumes, which then ends undisturbed."""


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    progress = options.folder / "progress.json"
    counts: Counter[str] = Counter(json.loads(progress.read_text()) if progress.exists() else {})
    trial = Trial(options.folder)
    while counts["kills"] < options.kills:
        counts.update(trial.chain(random.Random(f"{options.seed} {counts['chains']}"), options.processes))  # noqa: S311
        progress.write_text(json.dumps(counts, indent=1))
        print(", ".join(f"{name}: {count}" for name, count in sorted(counts.items())), flush=True)
    bad = [name for name in ("lost", "differ", "leftovers", "errors") if counts[name]]
    print("all ends are as undisturbed, and no record was lost" if not bad else f"NOT survived: {', '.join(bad)}")
    return 1 if bad else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.survival kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="in total, with those of earlier calls on the same folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", action="store_true", help="kill parents and workers of the executor 'processes'")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "bnsbench-kills")
    return parser.parse_args(arguments)


class Trial:
    """Runs in a folder, and the undisturbed run with which their ends are compared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suite = folder / "killed.toml"
        self.suite.write_text(SUITE)
        _load()
        shutil.rmtree(folder / "undisturbed", ignore_errors=True)
        began = time.monotonic()
        code = _wait(self.start("undisturbed"))
        self.seconds = time.monotonic() - began
        assert code == 0, f"the undisturbed run ended with {code}"
        self.expected = _content(folder / "undisturbed" / "results")

    def start(self, name: str, act: Callable[[], None] | None = None, executor: str = "local") -> int:
        """Start a run in a fork, in which ``act`` is called first, and return its number."""
        child = os.fork()
        if child == 0:
            _run(self.suite, self.folder / name, act, executor)
        return child

    def chain(self, choices: random.Random, processes: bool = False, longest: int = LONGEST) -> Counter[str]:
        """Kill a run again and again, go on to its end, and return what happened."""
        counts: Counter[str] = Counter(chains=1)
        name = f"{os.getpid()}-killed"
        shutil.rmtree(self.folder / name, ignore_errors=True)
        records: dict[str, bytes] = {}
        for _ in range(longest):
            killed = self._kill_worker(name, choices, counts) if processes else self._kill(name, choices, counts)
            now = _records(self.folder / name)
            final = {key: content for key, content in records.items() if b'"status": "failed"' not in content}
            counts["lost"] += sum(now.get(key) != content for key, content in final.items())
            records = now
            counts["kills"] += killed
            if not killed:
                break
        code = 1
        for _ in range(2 if processes else 1):  # a cell whose worker was killed is tried again by the next run
            code = _wait(self.start(name)) if code else code
        counts["errors"] += code != 0
        counts["differ"] += _content(self.folder / name / "results") != self.expected
        counts["leftovers"] += len(list((self.folder / name).rglob("*.tmp")))
        return counts

    def _kill(self, name: str, choices: random.Random, counts: Counter[str]) -> int:
        """Start a run that is killed at a moment or a place; return how many kills that were."""
        place = choices.choice(("moment", *PLACES))
        if place == "moment":
            child = self.start(name)
            time.sleep(choices.uniform(0.0, 1.1 * self.seconds))
            os.kill(child, signal.SIGKILL)
        else:
            child = self.start(name, lambda: _armed(place, choices.randint(1, 12 if place in PLACES[:5] else 5)))
        code = _wait(child)
        counts["errors"] += code not in (0, -signal.SIGKILL)
        counts[f"at {place}"] += code == -signal.SIGKILL
        return int(code == -signal.SIGKILL)

    def _kill_worker(self, name: str, choices: random.Random, counts: Counter[str]) -> int:
        """Kill the parent or a worker of a run with worker processes; return how many kills that were."""
        child = self.start(name, executor="processes[workers=1]")
        deadline = time.monotonic() + choices.uniform(0.0, 4.0) * max(self.seconds, 2.0)
        worker = choices.random() < 0.5
        while time.monotonic() < deadline:
            if os.waitpid(child, os.WNOHANG) != (0, 0):
                return 0  # it has come to its end before
            time.sleep(0.01)
        victims = _children(child)[-1:] if worker else [child]
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        _wait(child)
        counts["workers" if worker else "parents"] += len(victims)
        return len(victims)


def _load() -> None:
    """Load what runs need before they are forked, and let nothing use threads that a fork would lose."""
    os.environ.update({"OMP_NUM_THREADS": "1", "BNSBENCH_THREADS": "1", "BNSBENCH_PLUGINS": "", "CLOCKS_STAND_STILL": "1"})
    import torch

    import bnsbench.api.running
    import bnsbench.report.plots
    import bnsbench.suite.cells  # noqa: F401

    torch.set_num_threads(1)


def _run(suite: Path, folder: Path, act: Callable[[], None] | None, executor: str) -> None:
    """Run the suite and end this process: a fork that only runs."""
    code = 3
    try:
        os.environ["BNSBENCH_CACHE"] = str(folder / "cache")
        from bnsbench.api.running import run_and_report
        from bnsbench.contract import PluginHost
        from bnsbench.suite.progress import RunListener
        from bnsbench.suite.run import RunOptions

        if act is not None:
            act()
        options = RunOptions(str(suite), results=folder / "results", device="cpu", executor=executor)
        code = run_and_report(options, PluginHost.load([PLUGIN]), RunListener())[0].exit_code
    except BaseException:  # noqa: BLE001 (a fork must not go on with what this process does)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _armed(place: str, count: int) -> None:
    """Let this process kill itself when it comes to a place for the ``count``-th time."""
    left = [count]

    def reached() -> bool:
        left[0] -= 1
        return left[0] == 0

    def before(owner: Any, name: str, also: Callable[..., object] = lambda *_: None) -> None:
        usual = getattr(owner, name)

        def hooked(*given: Any, **named: Any) -> Any:
            if reached():
                also(*given)
                _die()
            return usual(*given, **named)

        setattr(owner, name, hooked)

    from bnsbench.storage import files
    from bnsbench.training.optimisers import checkpoint
    from bnsbench.truth import pairs

    if place == "renamed":
        usual = Path.replace

        def replace(self: Path, target: Any) -> Path:
            found = usual(self, target)
            if reached():
                _die()
            return found

        Path.replace = replace  # type: ignore[method-assign,assignment]
    elif place == "half":
        before(files, "_flush", lambda file: os.truncate(file, file.stat().st_size // 2))
    else:
        owner: tuple[Any, str] = {
            "flush": (os, "fsync"),
            "rename": (Path, "replace"),
            "unlink": (Path, "unlink"),
            "truth": (pairs, "write_tensors"),
            "state": (checkpoint, "write_state"),
        }[place]
        before(*owner)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _children(parent: int) -> list[int]:
    """Return the worker processes of a run, without the tracker of resources that Python starts beside them."""
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    found = [int(word) for word in listed.read_text().split()] if listed.exists() else []
    commands = {child: Path(f"/proc/{child}/cmdline") for child in found}
    return [child for child, file in commands.items() if file.exists() and b"spawn_main" in file.read_bytes()]


def _records(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "results").glob("killed/cells/[!.]*.json")}


def _content(results: Path) -> dict[str, bytes]:
    """Return all files but that of timings, which only a run that ends by itself writes."""
    found = (file for file in sorted(results.rglob("*")) if file.is_file() and file.name != "timings.json")
    return {str(file.relative_to(results)): file.read_bytes() for file in found}
