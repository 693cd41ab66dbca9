"""How plan, resume scan, tables and page grow: ``python tests/benchmarks/many_cells.py --cells 100000 --values 1000``.

It writes a results folder whose records are made up but go through the package's own plan and writer, unless the folder is
there already, and measures each step in a process of its own: seconds, seconds of that process's processor, without those of
processes that help it, and the most memory that it held. The folder takes about 12 KB per cell of 1,000 values. Goals for
100,000 cells of 1,000 values: plan 4 s, resume scan and leaderboard 10 s each, page 30 s, 1 GB of memory.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import multiprocessing.connection
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from bnsbench.contract import PluginHost
from bnsbench.storage import files
from bnsbench.suite.plan import Cell, make_plan
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import Draft, Record, Score
from bnsbench.suite.run import RunOptions, RunPlan, find_finished, plan_run
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import Suite

MODELS = ("digits-cos", "digits-gmm", "digits-ot", "digits-vp", "fashion-ot")
SOLVERS = (
    *("ab2", "ab3", "ab4", "bns", "bst", "ddim", "deis", "dpm++2m", "dpm++2s", "dpm++3m"),
    *("er-sde", "etd2rk", "euler", "gs", "ipndm", "ld3", "res-2s", "sa-solver", "tuned", "unipc"),
)
NFE = (4, 5, 6, 8, 10, 12, 16, 20, 24, 32)
STEPS = ("plan", "scan", "leaderboard", "compare", "report")
COLUMNS = ("step", "cells", "values", "seconds", "processor_seconds", "peak_megabytes", "result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=10_000, help="rounded up to whole fields of 200")
    parser.add_argument("--values", type=int, default=1_000, help="per cell")
    parser.add_argument("--folder", type=Path, help="where results lie or are written, instead of a temporary folder")
    parser.add_argument("--steps", default=",".join(STEPS), help="which to measure")
    parser.add_argument("--output", type=Path, help="a CSV file, to which the rows are appended")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.folder or Path(temporary)) / f"many-{asked.cells}-{asked.values}"
        if not (folder / "many" / "plan.json").is_file():
            print(f"writing {folder}", file=sys.stderr)
            write(folder, asked.cells, asked.values)
        rows = [measure(step, folder, asked.cells, asked.values) for step in asked.steps.split(",")]
    if asked.output:
        append(asked.output, rows)


def write(folder: Path, cells: int, values: int) -> None:
    """Write a suite, its plan, and the records of all of its cells."""
    planned = make_plan(suite(cells, values), PluginHost.load())
    store = ResultStore(folder / "many")
    with unflushed():
        for index, cell in enumerate(planned):
            store.write(record(cell, index))
        store.begin(suite(cells, values).to_toml(), planned)


def suite(cells: int, values: int) -> Suite:
    """Return a suite of as many cells, in fields of len(SOLVERS) * len(NFE)."""
    scales = -(-cells // (len(MODELS) * len(SOLVERS) * len(NFE)))
    entries = [{"name": name, "guidance": [k / 8 for k in range(scales)]} for name in MODELS]
    content = {"name": "many", "models": entries, "nfe": NFE, "solvers": SOLVERS, "metrics": ["psnr"], "samples": values}
    return Suite.parse(content, "the benchmark")


def record(cell: Cell, index: int) -> Record:
    """Return a made-up record; as in real ones, most of a sample's difficulty is the same for all solvers."""
    common = np.random.default_rng([cell.seed, int(8 * cell.guidance)]).standard_normal(cell.samples)
    own = np.random.default_rng([index, cell.nfe]).standard_normal(cell.samples)
    mean = 12.0 + 8.0 * np.log2(cell.nfe) * (0.6 + 0.02 * SOLVERS.index(cell.solver.name))
    psnrs = tuple(float(f"{psnr:.6g}") for psnr in mean + 4.0 * common + 1.5 * own)
    (metric,) = cell.metrics
    details = {"median": float(np.median(psnrs)), "p05": float(np.quantile(psnrs, 0.05)), "n": float(len(psnrs))}
    score = Score(metric.version, metric.direction, metric.unit, float(np.mean(psnrs)), mean - 0.3, mean + 0.3, "", details)
    draft = Draft(cell, {"psnr": score}, cell.nfe, cell.forwards, 1000 if cell.trained else 0)
    draft.seconds = {"sampling": 1e-4, "total": round(1.0 + 1e-3 * (index % 1000), 3)}
    draft.solver = {"kind": "learned" if cell.trained else "classic", "fingerprint": f"{index:064x}"}
    draft.truth = {"tolerance": cell.tolerance, "ceiling": 107.0, "nfe": 119.0}
    draft.model = {"fingerprint": "5" * 64, "dtype": "float32"}
    draft.environment = {"bnsbench": "0.1.0", "torch": "2.12.1", "device": "cpu", "threads": 1}
    return replace(draft.finish("ok"), per_sample={"psnr": psnrs})


@contextmanager
def unflushed() -> Iterator[None]:
    """Leave out the flushes to the disk, which made-up results do not need."""
    with mock.patch.object(files, "_flush"), mock.patch.object(files, "_flush_folder"):
        yield


def measure(step: str, folder: Path, cells: int, values: int) -> dict[str, object]:
    """Return a row on a step, run in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(step, folder, cells, values, theirs))
    process.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError:
        found = (float("nan"), float("nan"), float("nan"), "failed")
    process.join()
    row = dict(zip(COLUMNS, (step, cells, values, *found), strict=True))
    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return row


def _child(step: str, folder: Path, cells: int, values: int, answer: multiprocessing.connection.Connection) -> None:
    if step in ("leaderboard", "compare"):
        import bnsbench.report.results
    if step == "report":
        import bnsbench.report.page.build  # noqa: F401 (imports are not what is measured)
    work = prepared(step, folder, cells, values)
    began, processor = time.perf_counter(), time.process_time()
    result = work()
    took = time.perf_counter() - began, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))
    answer.send((round(took[0], 2), round(took[1], 2), round(peak), result))


def prepared(step: str, folder: Path, cells: int, values: int) -> Callable[[], str]:
    """Return the work of a step, which says in a word what came out."""
    host, store = PluginHost.load(), ResultStore(folder / "many")
    options = RunOptions(suite=str(store.suite_file), results=str(folder))

    def plan() -> RunPlan:
        made = plan_run(options, host)
        assert len({cell.key for cell in made.cells}) == len(made.cells)
        return made

    def scan(made: RunPlan) -> str:
        return f"{len(find_finished(made, options, host, RunListener()).pending(made.cells))} pending"

    def leaderboard() -> str:
        from bnsbench.report.results import read_leaderboard
        from bnsbench.report.tables import csv as as_csv

        return f"{len(as_csv(read_leaderboard(store)).splitlines())} lines"

    def compare() -> str:
        from bnsbench.report.compare import compare as compared
        from bnsbench.report.versions import settled_records

        return f"{len(compared(settled_records(store)[0], settled_records(store)[0]))} differences"

    def report() -> str:
        from bnsbench.report.page.build import build_page

        return f"{len(build_page([store])):,} characters"

    if step == "scan":
        made = plan()
        return lambda: scan(made)
    steps: dict[str, Callable[[], str]] = {
        "plan": lambda: f"{len(plan().cells)} cells",
        "leaderboard": leaderboard,
        "compare": compare,
        "report": report,
    }
    return steps[step]


def append(file: Path, rows: Sequence[dict[str, object]]) -> None:
    """Append rows to a CSV file, with a heading if it is new."""
    new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
