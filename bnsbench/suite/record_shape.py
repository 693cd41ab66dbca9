"""The shape of a record's JSON: what each entry has to be before anything computes with it.

Entries that are not named here are left out when a record is read, so that one of a later bnsbench with the same schema can
be read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bnsbench.errors import CorruptFileError

Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_=+-][A-Za-z0-9._=+-]{0,199}$")]
"""A name of a file in a results folder, without any folder."""

Status = Literal["ok", "failed", "diverged", "timeout", "skipped"]
SolverWord = Literal["classic", "direct", "tuned", "learned", "distilled"]
Direction = Literal["higher", "lower"]

NUMBERS = ("median", "p05", "truth", "n")
"""Details of a score that reports compute with."""


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Component(_Shape):
    name: Annotated[str, Field(min_length=1)]
    provider: str
    version: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)


class CellShape(_Shape):
    """Of a cell's content, which other entries may join."""

    model: _Component
    solver: _Component
    guidance: Number
    nfe: Annotated[int, Field(ge=1)]
    seed: Count
    samples: Count
    dtype: str | None = None


class _Score(_Shape):
    version: str
    direction: Direction = "higher"
    unit: str = ""
    value: Number | None = None
    low: Number | None = None
    high: Number | None = None
    reason: str = ""
    details: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_details(self) -> _Score:
        for name in NUMBERS:
            found = self.details.get(name)
            if found is not None and (isinstance(found, bool) or not isinstance(found, int | float)):
                raise ValueError(f"its detail {name!r} should be a number")
        return self


class _Seconds(_Shape):
    sampling: Number | None = None
    training: Number | None = None
    total: Number | None = None
    spent: dict[str, Number] = {}
    network: dict[str, Number] = {}


class _Solver(_Shape):
    kind: SolverWord | None = None
    fingerprint: str | None = None
    grid: str | None = None
    rule: str | None = None
    file: FileName | None = None
    forwards: dict[str, Count] = Field(default_factory=dict)
    psnr: Number | None = None
    parameters: Count | None = None
    examples: Count | None = None
    shipped: bool = False


class _Truth(_Shape):
    tolerance: Number | None = None
    ceiling: Number | None = None
    nfe: Number | None = None


class _Model(_Shape):
    fingerprint: str | None = None
    dtype: str | None = None


class HeadShape(_Shape):
    """Of a record without its values by sample; see `bnsbench.suite.record.Record`."""

    key: FileName
    cell: CellShape
    status: Status
    reason: str = ""
    metrics: dict[str, _Score] = Field(default_factory=dict)
    nfe: Count | None = None
    forwards: Count | None = None
    train_forwards: Count | None = None
    seconds: _Seconds = _Seconds()
    solver: _Solver = _Solver()
    truth: _Truth = _Truth()
    model: _Model = _Model()
    environment: dict[str, Any] = Field(default_factory=dict)


class RecordShape(HeadShape):
    """Of a whole record."""

    per_sample: dict[str, list[Number]] = Field(default_factory=dict)
    replicates: dict[str, list[Number | None]] = Field(default_factory=dict)


def check_shape(content: Any, shape: type[BaseModel] = RecordShape) -> None:
    """Raise CorruptFileError, with the reason alone, unless content has the shape."""
    try:
        shape.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part)[:60] for part in first["loc"])
        raise CorruptFileError(f"its {place or 'content'} is not as it should be ({first['msg']})") from error


def fits(content: Any, shape: type[BaseModel] = RecordShape) -> bool:
    """Whether content has the shape."""
    try:
        check_shape(content, shape)
    except CorruptFileError:
        return False
    return isinstance(content, Mapping)
