"""Records: the outcome of each cell, as one checked JSON file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

from bnsbench.contract.specs import SolverKind
from bnsbench.errors import BnsbenchError, CorruptFileError
from bnsbench.storage.plain_data import as_plain_data, digest
from bnsbench.storage.strict_json import parse_json, read_bounded, read_json
from bnsbench.suite.migrations import migrated
from bnsbench.suite.plan import Cell, Component
from bnsbench.suite.record_shape import CellShape, Direction, HeadShape, RecordShape, SolverWord, Status, check_shape, fits
from bnsbench.suite.record_text import VALUES, as_written

SCHEMA = 1

RETRIED: frozenset[Status] = frozenset({"failed", "timeout"})
"""The statuses that the next run tries again; they also decide the exit code."""


@dataclass(frozen=True)
class Score:
    """A metric in a record: its value with an interval (low, high), or why it has none."""

    version: str
    direction: Direction = "higher"
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


KINDS: Mapping[SolverKind, SolverWord] = {
    "traced": "classic",
    "direct": "direct",
    "tuned": "tuned",
    "trained": "learned",
    "distilled": "distilled",
}
"""The kinds of solvers by their names in records."""


class Seconds(TypedDict, total=False):
    """Times in seconds: sampling of one sample, training of the solver, and the cell in total.

    spent: what the cell took where it ran, by phase; of its training nothing if that was there. network: the part of each
    phase in which the network computed.
    """

    sampling: float
    training: float
    total: float
    spent: Mapping[str, float]
    network: Mapping[str, float]


class RecordedSolver(TypedDict, total=False):
    """The solver in a record: its kind and the fingerprint of its table, if it has one.

    Of a tuned or learned one also its grid and rule ("" where it has none), the name of its file, the network forwards by
    purpose and the validation PSNR of its training, and ``shipped`` if the package brought it. Of these and of distilled
    ones, as far as is known, the numbers that were learned, and the pairs or images from which.
    """

    kind: SolverWord
    fingerprint: str
    grid: str
    rule: str
    file: str
    forwards: Mapping[str, int]
    psnr: float | None
    parameters: int
    examples: int
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
    """The environment in a record: versions, device and threads, and ``deterministic`` if only such algorithms were allowed.

    Of a CUDA device also its name, and the most bytes that torch had allocated there at once while the cell ran, models of
    other cells that were kept among them.
    """

    bnsbench: str
    torch: str
    device: str
    device_name: str
    peak_memory: int
    threads: int
    deterministic: bool


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


class UnreadableRecordError(BnsbenchError):
    """A record that a newer bnsbench wrote; ``why`` is the reason alone, as part of a sentence on the record."""

    def __init__(self, file: Path, why: str) -> None:
        """Say which record."""
        super().__init__(f"The record {file} {why}.")
        self.why = why


class DamagedRecordError(CorruptFileError):
    """A record that is damaged; ``why`` is the reason alone, as part of a sentence on the record."""

    def __init__(self, file: Path, why: str) -> None:
        """Say which record."""
        super().__init__(f"The record {file} is damaged: {why}.")
        self.why = f"is damaged: {why}"


def read_record(file: Path, values: bool = True) -> Record:
    """Return the record in a file, brought to the present schema if it has an earlier one.

    Args:
        file: The record's.
        values: Whether to read its values by sample and resample, most of its text; if not, it comes without them, though
            its checksum is compared all the same.

    Raises:
        DamagedRecordError: If it is not whole, which is a CorruptFileError.
        UnreadableRecordError: If a newer bnsbench wrote it.
    """
    try:
        text = read_bounded(file)
        written = as_written(text, values)
        content = parse_json(text) if written is None else written
        schema = content.get("schema") if isinstance(content, dict) else None
        if not isinstance(schema, int) or isinstance(schema, bool):
            raise CorruptFileError("it is not the JSON of a record")
        if schema > SCHEMA:
            raise UnreadableRecordError(file, f"has schema {schema}, which is newer than this bnsbench; please upgrade it")
        if written is None and content.pop("checksum", None) != _checksum(content):
            raise CorruptFileError("its content does not match its checksum")
        content = migrated(content, SCHEMA)
        check_shape(content, RecordShape if written is None else HeadShape)
    except CorruptFileError as error:
        raise DamagedRecordError(file, str(error)) from error
    return _from_content(content if values else {name: content[name] for name in content if name not in VALUES})


def _from_content(content: Mapping[str, Any]) -> Record:
    """Return the record of checked content; what only a later bnsbench knows is left out."""
    metrics = {name: Score(**_known(Score, score)) for name, score in content.get("metrics", {}).items()}
    return Record(**{**_known(Record, content), "metrics": metrics})


def _known(kind: type[Score | Record], content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: content[name] for name in (_OF_SCORE if kind is Score else _OF_RECORD) if name in content}


_OF_SCORE = tuple(field.name for field in fields(Score))
_OF_RECORD = tuple(field.name for field in fields(Record))


def stand_in(file: Path, key: str, why: str) -> Record:
    """Return a failed record in place of one that cannot be read, so that its cell is a row that says so.

    The cell is the one that the file describes, if that is the key's; else what the key tells of it.

    Args:
        file: The record's.
        key: Of the cell.
        why: What is wrong, as part of a sentence on the record.
    """
    try:
        cell = read_json(file)["cell"]
        known = fits(cell, CellShape) and key.endswith(f"-{digest(cell)}")
    except (CorruptFileError, TypeError, KeyError, ValueError):
        known = False
    return Record(key, cell if known else _cell_told_by(key), "failed", f"its record {why}: run it again")


def _cell_told_by(key: str) -> dict[str, Any]:
    """Return the content of a cell as far as its key tells it, in which names are not spelt as they are written."""
    told = re.fullmatch(r"(.+)_w(-?[0-9.e+-]+)_(.+)_nfe([0-9]{1,9})_seed([0-9]{1,15})-[0-9a-f]+", key)
    model, w, solver, nfe, seed = told.groups() if told else (key, "0", "?", "1", "0")
    named = {"provider": "?", "version": "", "parameters": {}}
    try:
        guidance = float(w)
    except ValueError:
        guidance = 0.0
    numbers = {"guidance": guidance, "nfe": int(nfe), "seed": int(seed), "samples": 0, "dtype": "model"}
    return {"model": {"name": model, **named}, "solver": {"name": solver, **named}, **numbers}


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
