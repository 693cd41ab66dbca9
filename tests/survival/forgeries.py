"""Forged results: which forgeries `bnsbench verify` finds, though every hash, checksum and table has been made to fit.

``python -m tests.survival forgeries`` tries all and tells how each is found: by reading the folder alone, by running the
forged cell again, by training its solver again, or not at all. With any of them, the seal no longer fits.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from bnsbench.contract import PluginHost
from bnsbench.report.seal import seal_faults, seal_of
from bnsbench.report.verify import Verification, verify
from bnsbench.suite.executors import LocalExecutor
from bnsbench.suite.progress import RunListener
from bnsbench.suite.store import ResultStore
from tests.survival.catalogue import CATALOGUE, Forgery
from tests.survival.forging import PLUGIN, forged, honest_run

WAYS = ("reading", "running", "training")
"""Ways to look at results, each with all that comes before it."""

UNFOUND = "not at all"


@dataclass(frozen=True)
class Outcome:
    """How a forgery was found, what was said of it, and whether the seal told it, too."""

    forgery: Forgery
    way: str
    said: str
    sealed: bool

    @property
    def expected(self) -> bool:
        """Whether it was found, or is known to be beyond what can be found."""
        return self.sealed and ((self.way == UNFOUND) == bool(self.forgery.beyond))


def try_forgery(forgery: Forgery, original: Path, place: Path, host: PluginHost) -> Outcome:
    """Return the first way that finds a forgery; training is tried only for what is said to need it."""
    with forged(original, place, forgery.forge, finished=forgery.finished) as store:
        sealed = any(seal_faults(store, seal_of(ResultStore(original)).digest))
        for way in WAYS if forgery.trained or forgery.beyond else WAYS[:2]:
            found = look(store, host, way)
            if found.exit_code:
                return Outcome(forgery, way, next(iter((*found.faults, *found.unchecked))), sealed)
    return Outcome(forgery, UNFOUND, "", sealed)


def look(store: ResultStore, host: PluginHost, way: str) -> Verification:
    """Verify results in one of the WAYS, with every cell in the sample."""
    cells = 0 if way == "reading" else None
    with cells_that_failed_in_this_process():
        return verify(store, host, RunListener(), cells=cells, seed=0, device="cpu", retrain=way == "training")


@contextmanager
def cells_that_failed_in_this_process() -> Iterator[None]:
    """Run cells without a result here rather than in a process of their own, which takes seconds to start."""
    with mock.patch("bnsbench.report.rerun.ProcessExecutor", return_value=LocalExecutor()):
        yield


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.survival forgeries", description=__doc__)
    parser.add_argument("names", nargs="*", help="forgeries to try (default: all)")
    options = parser.parse_args(arguments)
    wanted = [forgery for forgery in CATALOGUE if not options.names or forgery.name in options.names]
    with tempfile.TemporaryDirectory() as folder, _own_cache(Path(folder)):
        host, original = PluginHost.load([PLUGIN]), honest_run(Path(folder))
        honest = look(ResultStore(original), host, "training")
        if honest.exit_code:
            print(f"The honest run does not verify: {[*honest.faults, *honest.unchecked]}")
            return 1
        outcomes = []
        for forgery in wanted:
            outcomes.append(try_forgery(forgery, original, Path(folder) / "forged", host))
            print(_line(outcomes[-1]), flush=True)
    return _report(outcomes)


def _line(outcome: Outcome) -> str:
    name, beyond = outcome.forgery.name, outcome.forgery.beyond
    if outcome.way == UNFOUND:
        return f"{name}: not found" + (f", as is known: {beyond}" if beyond else "")
    return f"{name}: found by {outcome.way}: {outcome.said}"


def _report(outcomes: Sequence[Outcome]) -> int:
    ways = Counter(outcome.way for outcome in outcomes)
    beyond = sum(outcome.way == UNFOUND and bool(outcome.forgery.beyond) for outcome in outcomes)
    told = ", ".join(f"{ways[way]} by {way}" for way in WAYS)
    unfound = ways[UNFOUND] - beyond
    print(f"{len(outcomes)} forgeries: {told}; {beyond} that verify cannot find and says so; {unfound} unfound.")
    print(f"The seal tells {sum(outcome.sealed for outcome in outcomes)} of {len(outcomes)}.")
    return 0 if all(outcome.expected for outcome in outcomes) else 1


@contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    with mock.patch.dict(os.environ, {"BNSBENCH_CACHE": str(folder / "cache"), "BNSBENCH_PLUGINS": ""}):
        yield
