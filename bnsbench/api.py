"""Running a suite, reporting and publishing it, for Python programs and for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsbench.contract import PluginHost
from bnsbench.suite.progress import RunListener, listener_of_run
from bnsbench.suite.run import RunOptions, RunOutcome, run_suite
from bnsbench.suite.store import ResultStore, find_results
from bnsbench.training.listener import Listener

if TYPE_CHECKING:
    import pandas as pd


def run(
    suite: str = "default", *, plugins: Sequence[Path] = (), listener: Listener | None = None, **options: Any
) -> pd.DataFrame:
    """Run a suite, write its results and return its leaderboard, one row per cell.

    suite: a name or a TOML file. plugins: single plugin files to load. options: fields of
    `bnsbench.suite.run.RunOptions`, such as ``solvers=["euler", "bns"]``, ``nfe=[8]`` or ``results=Path("out")``.
    Failed cells are rows with their reason. Raises UsageError for input that cannot be meant.
    """
    host = PluginHost.load([Path(file) for file in plugins], Path())
    return run_and_report(RunOptions(suite, **options), host, listener_of_run(listener))[1]


def publish(
    run: Path | str,
    *,
    output: Path | str = "results",
    plugins: Sequence[Path] = (),
    allow_failed: bool = False,
    replace: bool = False,
) -> Path:
    """Check a finished run, such as "runs/default", copy it to output/SUITE and return that folder.

    It appears whole or not at all. plugins: single plugin files to load. allow_failed: publish cells that failed or timed
    out, too. replace: drop published records that the run does not have. Raises BnsbenchError for a run that is unfinished,
    damaged or has failures, UsageError where ``replace`` is needed.
    """
    from bnsbench.report.publish import publish as publish_run  # noqa: PLC0415 (loads pandas)

    host = PluginHost.load([Path(file) for file in plugins], Path())
    store = find_results(Path(run))
    return publish_run(store, host, Path(output), allow_failed=allow_failed, replace=replace).folder


def run_and_report(options: RunOptions, host: PluginHost, listener: RunListener) -> tuple[RunOutcome, pd.DataFrame]:
    """Run a suite and write its leaderboard beside the records."""
    from bnsbench.report.results import write_reports  # noqa: PLC0415 (loads pandas, which a dry run does without)

    outcome = run_suite(options, host, listener)
    return outcome, write_reports(ResultStore(outcome.folder))
