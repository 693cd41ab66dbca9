"""Running a suite, reporting and publishing it, for Python programs and for the command line."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnsbench.api.named import open_host
from bnsbench.contract import PluginHost
from bnsbench.suite.progress import RunListener, listener_of_run
from bnsbench.suite.run import RESULTS, RunOptions, RunOutcome, run_suite
from bnsbench.suite.store import ResultStore, find_results, write_text
from bnsbench.suite.suitefile import folder_beside
from bnsbench.suite.timings import REPORTING
from bnsbench.training.listener import Listener

if TYPE_CHECKING:
    import pandas as pd


def run(
    suite: str | Path = "default",
    *,
    models: str | Sequence[str] | None = None,
    solvers: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    nfe: int | Sequence[int] | None = None,
    guidance: float | Sequence[float] | None = None,
    seed: int | None = None,
    samples: int | None = None,
    batch: int | None = None,
    timeout: float | None = None,
    results: Path | str = RESULTS,
    device: str = "auto",
    dtype: str | None = None,
    executor: str = "local",
    workers: int | None = None,
    fresh: bool = False,
    retrain: bool = False,
    shard: str | None = None,
    deterministic: bool = False,
    plugins: Sequence[Path | str] = (),
    allow_programs: Sequence[Path | str] = (),
    listener: Listener | None = None,
) -> pd.DataFrame:
    """Run a suite, write its results and return its leaderboard, one row per cell; finished cells are not run again.

    Args:
        suite: A name such as "default" or "quick", or a TOML file. What follows replaces what it says, where not None.
        models: Models to sample, as selectors.
        solvers: Solvers to compare, as selectors.
        metrics: Metrics to measure, as selectors.
        nfe: Evaluations that solvers may spend.
        guidance: Guidance scales w of u_w = (1 + w) u_cond - w u_uncond.
        seed: Of every noise stream.
        samples: Samples of each cell.
        batch: Samples that go through the network together.
        timeout: Seconds after which a cell is given up.
        results: The folder in which the suite's own folder lies.
        device: "auto", "cpu", "cuda" or "cuda:<i>".
        dtype: Precision of the networks; None for their own.
        executor: "local" for this process, "processes" for worker processes, or "auto". A script that uses processes
            needs the usual ``if __name__ == "__main__"``.
        workers: Worker processes of the executor "processes".
        fresh: Whether to run finished cells and training again.
        retrain: Whether to train solvers also where the package ships them.
        shard: "INDEX/COUNT", such as "0/4": to run only this one of COUNT parts, which may run anywhere at any time. Shards
            may share a results folder; those of others are joined by `bnsbench merge`.
        deterministic: Whether torch may use deterministic algorithms alone; a cell that needs another one fails.
        plugins: Single plugin files to load, besides a ``bnsbench_local.py`` that lies beside the suite's file (of a suite
            by name, in the current folder).
        allow_programs: Exported networks that metrics may run (``fad[network=FILE]``): such a file is a program, which may
            do anything on this machine, so it is refused otherwise.
        listener: Hears what is being done.

    Returns:
        The leaderboard. Failed cells are rows with their reason; ``attrs`` has the units. Of a shard, that of all cells that
        are in the folder by now; it is written as a file once no cell is missing.

    Raises:
        UsageError: For an unknown name or a value that the suite cannot have.
    """
    options = RunOptions(
        suite=str(suite),
        models=models,
        solvers=solvers,
        metrics=metrics,
        nfe=nfe,
        guidance=guidance,
        seed=seed,
        samples=samples,
        batch=batch,
        timeout=timeout,
        results=results,
        device=device,
        dtype=dtype,
        executor=executor,
        workers=workers,
        fresh=fresh,
        retrain=retrain,
        shard=shard,
        deterministic=deterministic,
    )
    host = open_host(plugins, folder_beside(suite), allow_programs)
    return run_and_report(options, host, listener_of_run(listener))[1]


def publish(
    run: Path | str,
    *,
    output: Path | str = "results",
    plugins: Sequence[Path | str] = (),
    allow_failed: bool = False,
    replace: bool = False,
) -> Path:
    """Check a finished run and copy it to the published results; it appears there whole or not at all.

    Args:
        run: The run's folder, such as "runs/default".
        output: The folder of published results.
        plugins: Single plugin files to load.
        allow_failed: Whether to publish cells that failed or timed out, too.
        replace: Whether to drop published records that the run does not have.

    Returns:
        The folder of the published suite, output/SUITE.

    Raises:
        BnsbenchError: For a run that is unfinished, damaged or has failures.
        UsageError: Where ``replace`` is needed.
    """
    from bnsbench.report.publish import publish as publish_run  # noqa: PLC0415 (loads pandas)

    store = find_results(Path(run))
    return publish_run(store, open_host(plugins), Path(output), allow_failed=allow_failed, replace=replace).folder


def run_and_report(options: RunOptions, host: PluginHost, listener: RunListener) -> tuple[RunOutcome, pd.DataFrame]:
    """Run a suite and write its leaderboard beside the records; of a shard, once those of all others are there, too."""
    from bnsbench.report.results import read_leaderboard, write_reports  # noqa: PLC0415 (load pandas, unlike a dry run)

    outcome = run_suite(options, host, listener)
    began, store = time.perf_counter(), ResultStore(outcome.folder)
    if outcome.missing:
        frame = read_leaderboard(store)
    else:
        store.settle_environments()
        frame = write_reports(store)
    timings = outcome.timings.and_then(REPORTING, time.perf_counter() - began)
    if outcome.ran:
        write_text(store.timings_file, timings.to_json())
    return replace(outcome, timings=timings), frame
