"""The tools of a forger: a small run, and edits of its results after which every hash, checksum and table fits again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnsbench.contract import PluginHost
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.report.results import CSV, MARKDOWN, SUMS, read_leaderboard, sums
from bnsbench.report.tables import csv, markdown
from bnsbench.statistics import mean_interval
from bnsbench.storage.plain_data import digest
from bnsbench.suite.executors import LocalExecutor
from bnsbench.suite.plan import make_plan
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import Record, Score, format_record
from bnsbench.suite.run import RunOptions
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite

Values = NDArray[np.float64]

PLUGIN = Path(__file__).parents[1] / "suite" / "tiny_plugin.py"

SUITE = """
samples = 40
batch = 16
nfe = [3, 4]
metrics = ["psnr", "width", "spread", "never"]
solvers = ["steps", "pairs", "learned", "searched", "nan"]

[[models]]
name = "tiny"
guidance = [1.0]
tolerance = 1e-5
solvers = ["steps", "learned"]

[[models]]
name = "plain"
tolerance = 1e-5

[[models]]
name = "ring8"
tolerance = 1e-5
nfe = [2]
solvers = ["bns"]
metrics = ["psnr"]
"""


def honest_run(folder: Path) -> Path:
    """Run the small suite in a folder and return the results, whose name is "small"."""
    from bnsbench.api.running import run_and_report

    file = folder / "small.toml"
    file.write_text(SUITE, encoding="utf-8")
    options = RunOptions(str(file), results=folder / "runs", device="cpu")
    run_and_report(options, PluginHost.load([PLUGIN]), RunListener())
    return folder / "runs" / "small"


@dataclass(frozen=True)
class Forger:
    """A results folder in a forger's hands: edits of records keep their checksums right, and `finish` makes the rest fit."""

    store: ResultStore

    def record(self, solver: str = "steps", model: str = "plain", nfe: int = 4) -> Record:
        """Return the record of one cell."""
        found = [record for record in self.store.records() if _is(record, solver, model, nfe)]
        assert len(found) == 1, (solver, model, nfe)
        return found[0]

    def write(self, record: Record) -> None:
        self.store.record_file(record.key).write_text(format_record(record), encoding="utf-8")

    def change(self, of: str = "steps", /, **changes: Any) -> None:
        """Replace entries of a record; mappings are completed rather than replaced."""
        self.write(changed(self.record(of), **changes))

    def run(self, record: Record) -> Record:
        """Return what a record's cell honestly gives with what lies in the folder."""
        from bnsbench.report.rerun import job_of

        host = PluginHost.load([PLUGIN])
        cells = [cell for cell in make_plan(read_suite(self.store.suite_file), host) if cell.key == record.key]
        ((_, found),) = LocalExecutor().execute(cells, job_of(self.store, host, "cpu"), RunListener())
        return found

    def score(self, metric: str = "psnr", solver: str = "steps", **changes: Any) -> None:
        """Replace entries of one metric's score in a record."""
        record = self.record(solver)
        score = replace(record.metrics[metric], **changes)
        self.write(replace(record, metrics={**record.metrics, metric: score}))

    def samples(self, new: Callable[[Values], Values], solver: str = "steps") -> None:
        """Change a record's PSNR by sample, and all that follows from it, so that the record agrees with itself."""
        record = self.record(solver)
        values = np.round(new(np.array(record.per_sample["psnr"])), 4)
        self.write(with_samples(record, values))

    def solver_file(self, record: Record) -> Path:
        return self.store.solvers / record.solver["file"]

    def solver(self, record: Record, change: Callable[[dict[str, Any]], object]) -> None:
        """Edit the solver file of a record."""
        file = self.solver_file(record)
        content = json.loads(file.read_text(encoding="utf-8"))
        change(content)
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def table(self, record: Record) -> str:
        """Return the fingerprint of the table in a record's solver file."""
        return SolverArtefact.load(self.solver_file(record)).solver.fingerprint()

    def raw(self, record: Record, change: Callable[[dict[str, Any]], object]) -> None:
        """Edit the JSON of a record in ways that the package would not write, with the right checksum."""
        file = self.store.record_file(record.key)
        content = json.loads(file.read_text(encoding="utf-8"))
        content.pop("checksum")
        change(content)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        content["checksum"] = hashlib.sha256(text.encode()).hexdigest()
        file.write_text(json.dumps(content), encoding="utf-8")

    def json(self, file: Path, change: Callable[[dict[str, Any]], object]) -> None:
        """Edit another JSON file."""
        content = json.loads(file.read_text(encoding="utf-8"))
        change(content)
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def number(self, metric: str, what: str = "value") -> float:
        """Return the value of a metric, or an end of its interval."""
        return float(getattr(self.record().metrics[metric], what))

    def details(self, **changes: Any) -> None:
        """Change details of a record's PSNR; None removes one."""
        self.score(details=_without_none({**self.record().metrics["psnr"].details, **changes}))

    def model(self, **changes: Any) -> None:
        self.write(changed(self.record(), model=changes))

    def unplan(self, key: str) -> None:
        self.json(self.store.plan_file, lambda plan: plan["cells"].remove(key))

    def suite(self, old: str, new: str) -> None:
        text = self.store.suite_file.read_text(encoding="utf-8")
        assert old in text, old
        self.store.suite_file.write_text(text.replace(old, new, 1), encoding="utf-8")

    def relabel(self, record: Record, cell: Mapping[str, Any]) -> Record:
        """Give a record to another cell, with the key that this has."""
        slug = f"{cell['model']['name']}_w{cell['guidance']:g}_{cell['solver']['name']}_nfe{cell['nfe']}_seed{cell['seed']}"
        return replace(record, cell=cell, key=f"{slug}-{digest(cell)}")

    def finish(self) -> None:
        """Write the leaderboard and SHA256SUMS anew; where no table can be made of the records, the old one stays."""
        with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
            frame = read_leaderboard(self.store)
            (self.store.folder / CSV).write_text(csv(frame), encoding="utf-8")
            (self.store.folder / MARKDOWN).write_text(markdown(frame), encoding="utf-8")
        (self.store.folder / SUMS).write_text(sums(self.store.folder), encoding="utf-8")


@contextlib.contextmanager
def forged(original: Path, place: Path, forge: Callable[[Forger], None], *, finished: bool = False) -> Iterator[ResultStore]:
    """Yield a copy of the original results that has been forged, all hashes right unless it is finished by then.

    The copy is gone in the end.
    """
    folder = place / original.name
    shutil.copytree(original, folder)
    try:
        forger = Forger(ResultStore(folder))
        forge(forger)
        if not finished:
            forger.finish()
        yield forger.store
    finally:
        shutil.rmtree(folder)


def changed(record: Record, **changes: Any) -> Record:
    """Return the record with other entries; mappings are completed, and a None in them removes an entry."""
    made: dict[str, Any] = {}
    for name, value in changes.items():
        old = getattr(record, name)
        merged = {**old, **value} if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        made[name] = (
            {key: each for key, each in merged.items() if each is not None} if isinstance(merged, Mapping) else merged
        )
    return replace(record, **made)


def _without_none(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if value is not None}


def with_samples(record: Record, values: Values) -> Record:
    """Return the record with these PSNRs by sample, and the value, interval, median and quantile that follow from them."""
    low, high = mean_interval(values)
    median, worst = (float(each) for each in np.quantile(values, (0.5, 0.05)))
    score: Score = record.metrics["psnr"]
    details = {**score.details, "median": median, "p05": worst, "n": float(len(values))}
    score = replace(score, value=float(values.mean()), low=low, high=high, details=details)
    samples = {**record.per_sample, "psnr": tuple(values.tolist())}
    return replace(record, metrics={**record.metrics, "psnr": score}, per_sample=samples)


def _is(record: Record, solver: str, model: str, nfe: int) -> bool:
    cell = record.cell
    return (cell["solver"]["name"], cell["model"]["name"], cell["nfe"]) == (solver, model, nfe)
