"""Records: the outcome of each cell, as one checked JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from bnsbench.contract.specs import SolverKind
from bnsbench.errors import BnsbenchError, CorruptFileError
from bnsbench.storage.plain_data import as_plain_data
from bnsbench.suite.plan import Cell, Component

SCHEMA = 1

Status = Literal["ok", "failed", "diverged", "timeout", "skipped"]

RETRIED: frozenset[Status] = frozenset({"failed", "timeout"})
"""The statuses that the next run tries again; they also decide the exit code."""


@dataclass(frozen=True)
class Score:
    """A metric in a record: its value with an interval (low, high), or why it has none."""

    version: str
    direction: Literal["higher", "lower"] = "higher"
    unit: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> str:
        """The fingerprint of the files that the metric read, "" if it read none."""
        return str(self.details.get("files") or "")

    @property
    def made(self) -> bool:
        """Whether the metric could be made; if not, its files are unknown."""
        return self.details.get("made") is not False


SolverWord = Literal["classic", "direct", "tuned", "learned"]

KINDS: Mapping[SolverKind, SolverWord] = {
    "traced": "classic",
    "direct": "direct",
    "tuned": "tuned",
    "trained": "learned",
}
"""The kinds of solvers by their names in records."""


class Seconds(TypedDict, total=False):
    """Times in seconds: sampling of one sample, training of the solver, and the cell in total."""

    sampling: float
    training: float
    total: float


class RecordedSolver(TypedDict, total=False):
    """The solver in a record: its kind and the fingerprint of its table, if it has one.

    Of a tuned or learned one also its grid and rule ("" where it has none), the name of its file, the network forwards by
    purpose and the validation PSNR of its training, and ``shipped`` if the package brought it.
    """

    kind: SolverWord
    fingerprint: str
    grid: str
    rule: str
    file: str
    forwards: Mapping[str, int]
    psnr: float | None
    shipped: bool


class RecordedTruth(TypedDict, total=False):
    """The ground truth in a record: its tolerance, the PSNR in dB that it can resolve, and its mean NFE."""

    tolerance: float
    ceiling: float
    nfe: float


class RecordedModel(TypedDict, total=False):
    """The model in a record: its fingerprint and its precision."""

    fingerprint: str
    dtype: str


class RecordedEnvironment(TypedDict, total=False):
    """The environment in a record: versions, device, its name where it is a GPU, and threads."""

    bnsbench: str
    torch: str
    device: str
    device_name: str
    threads: int


@dataclass(frozen=True)
class Record:
    """The outcome of a cell; everything is plain JSON data.

    key, cell: of the plan.
    status, reason: the reason is empty where all went well.
    metrics: selector -> score.
    nfe: evaluations per sample, counted by the field.
    forwards: network forwards per sample.
    train_forwards: network forwards that training the solver cost.
    per_sample: selector -> values by sample index, of metrics that have them.
    replicates: selector -> values of resampled samples, of metrics that have them; see `bnsbench.metrics.resampling`.
    """

    key: str
    cell: Mapping[str, Any]
    status: Status
    reason: str = ""
    metrics: Mapping[str, Score] = field(default_factory=dict)
    nfe: int | None = None
    forwards: int | None = None
    train_forwards: int | None = None
    seconds: Seconds = field(default_factory=Seconds)
    solver: RecordedSolver = field(default_factory=RecordedSolver)
    truth: RecordedTruth = field(default_factory=RecordedTruth)
    model: RecordedModel = field(default_factory=RecordedModel)
    environment: RecordedEnvironment = field(default_factory=RecordedEnvironment)
    per_sample: Mapping[str, Sequence[float]] = field(default_factory=dict)
    replicates: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def answers(self, cell: Cell) -> bool:
        """Return whether the cell needs no further work: the record is final and holds every metric of the cell."""
        if self.status in RETRIED:
            return False
        return self.status != "ok" or all(self._has(metric) for metric in cell.metrics)

    @property
    def shipped(self) -> bool:
        """Whether its solver came with the package."""
        return bool(self.solver.get("shipped"))

    def _has(self, metric: Component) -> bool:
        return metric.shown in self.metrics and self.metrics[metric.shown].version == metric.version

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-like data with its schema and checksum."""
        content = {"schema": SCHEMA, **as_plain_data(asdict(self))}
        return {**content, "checksum": _checksum(content)}


@dataclass(slots=True)
class Draft:
    """The record of a cell that is still running: its fields are filled in as they become known."""

    cell: Cell
    metrics: Mapping[str, Score] = field(default_factory=dict)
    nfe: int | None = None
    forwards: int | None = None
    train_forwards: int | None = None
    seconds: Seconds = field(default_factory=Seconds)
    solver: RecordedSolver = field(default_factory=RecordedSolver)
    truth: RecordedTruth = field(default_factory=RecordedTruth)
    model: RecordedModel = field(default_factory=RecordedModel)
    environment: RecordedEnvironment = field(default_factory=RecordedEnvironment)
    per_sample: Mapping[str, Sequence[float]] = field(default_factory=dict)
    replicates: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def finish(self, status: Status, reason: str = "") -> Record:
        """Return the record of what is known when the cell ends."""
        return Record(
            key=self.cell.key,
            cell=self.cell.content,
            status=status,
            reason=reason,
            metrics=self.metrics,
            nfe=self.nfe,
            forwards=self.forwards,
            train_forwards=self.train_forwards,
            seconds=self.seconds,
            solver=self.solver,
            truth=self.truth,
            model=self.model,
            environment=self.environment,
            per_sample=self.per_sample,
            replicates=self.replicates,
        )


def format_record(record: Record) -> str:
    """Return the record as JSON text, one line per entry."""
    lines = [f'"{key}": {_compact(value)}' for key, value in record.to_dict().items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_record(file: Path) -> Record:
    """Return the record in a file.

    Raises:
        CorruptFileError: If it is not whole.
        BnsbenchError: If a newer bnsbench wrote it.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        schema = content["schema"]
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptFileError(f"The record {file} is damaged: it is not the JSON of a record.") from error
    if not isinstance(schema, int) or schema > SCHEMA:
        raise BnsbenchError(f"The record {file} has schema {schema}, which is newer than this bnsbench; please upgrade it.")
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        raise CorruptFileError(f"The record {file} is damaged: its content does not match its checksum.")
    return _from_content(content, file)


def _from_content(content: dict[str, Any], file: Path) -> Record:
    known = {field.name for field in fields(Record)}
    values = {key: value for key, value in content.items() if key in known}
    if values.get("status") not in get_args(Status) or not {"key", "cell"} <= values.keys():
        raise CorruptFileError(f"The record {file} is damaged: it lacks its key, cell or status.")
    metrics = {name: Score(**score) for name, score in values.pop("metrics", {}).items()}
    return Record(**values, metrics=metrics)


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_compact(content).encode()).hexdigest()


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def model_key(cell: Mapping[str, Any]) -> str:
    """Return the name of a cell's model and precision among the versions of a results folder."""
    model = cell["model"]
    return f"model {model['provider']}/{model['name']} {cell['dtype']}"


def metric_key(name: str) -> str:
    """Return the name of a metric among the versions of a results folder."""
    return f"metric {name}"


def skipped_record(cell: Cell) -> Record:
    """Return the record of a cell that the plan has found not to be applicable."""
    return Draft(cell).finish("skipped", cell.skip or "")
