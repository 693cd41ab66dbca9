"""The file of a trained solver: JSON that says what the solver is, for which model it was made, and how."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from bnsbench._text import quoted
from bnsbench.errors import BnsbenchError, CorruptFileError, NotApplicableError, UsageError, one_line
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.flows.network_state import NetworkState
from bnsbench.flows.paths import Path, path_from_dict
from bnsbench.nonstationary.scope import Scope
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.storage.files import replacing
from bnsbench.storage.plain_data import as_plain_data
from bnsbench.storage.strict_json import first_bytes, parse_json

SCHEMA = 3
"""Raised whenever the file's meaning changes; older files stay readable."""
SCHEMA_OF_VELOCITIES = 2
"""Of files whose tables weigh velocities, which earlier versions read as well."""


@dataclass(frozen=True)
class SolverArtefact:
    """A trained solver and its origin.

    path, interval: of the field that it was made for. model, fingerprint: name and hash of the model.
    guidance: the scale w of u_w = (1 + w) u_cond - w u_uncond, or all those that it was trained for. name: the solver
        selector that made it, such as "bns".
    training: JSON-like record of the recipe, seeds, forwards, seconds, validation PSNR and curve; numbers that are not
        finite become null.
    network: shape, precision, quantisation and adapters of the network that it was trained for; older files do not say them.

    Raises:
        UsageError: If the table weighs both answers under another guidance.
    """

    solver: NonStationarySolver
    path: Path
    interval: tuple[float, float]
    model: str
    fingerprint: str
    guidance: float | tuple[float, ...]
    name: str
    training: Mapping[str, Any] = field(default_factory=dict)
    network: NetworkState = field(default_factory=NetworkState)

    @property
    def scope(self) -> Scope:
        """For which model, guidance and network it was trained."""
        scales = self.guidance if isinstance(self.guidance, tuple) else (self.guidance,)
        return Scope(self.model, self.fingerprint, scales, self.network)

    def __post_init__(self) -> None:
        own, scales = self.solver.guidance, self.guidance if isinstance(self.guidance, tuple) else (self.guidance,)
        if own is not None and set(scales) != {own}:
            raise UsageError(
                f"The table weighs both answers under guidance {own:g}, but the solver is said to be for "
                f"{guidance_in_words(scales)}."
            )

    def save(self, file: FilePath | str) -> None:
        """Write the JSON file; it appears whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
        with replacing(FilePath(file)) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, file: FilePath | str) -> SolverArtefact:
        """Read the file; UsageError if there is none or it is too new, CorruptFileError if it is damaged."""
        with _told_with(file):
            return cls.from_dict(_read(file))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-like description; its numbers convert back exactly."""
        return {
            "schema": SCHEMA_OF_VELOCITIES if self.solver.guidance is None else SCHEMA,
            "name": self.name,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "guidance": list(self.guidance) if isinstance(self.guidance, tuple) else float(self.guidance),
            "path": self.path.to_dict(),
            "interval": [float(end) for end in self.interval],
            "solver": self.solver.to_dict(),
            "training": as_plain_data(self.training),
            **({"network": known} if (known := self.network.to_dict()) else {}),
        }

    @classmethod
    def from_dict(cls, description: Any) -> SolverArtefact:
        """Return the artefact that ``to_dict`` described."""
        _check_schema(description)
        try:
            return cls(
                solver=NonStationarySolver.from_dict(description["solver"]),
                path=path_from_dict(description["path"]),
                interval=_interval(description["interval"]),
                model=_text(description, "model"),
                fingerprint=_text(description, "fingerprint"),
                guidance=_guidance(description["guidance"]),
                name=_text(description, "name"),
                training=dict(description["training"]),
                network=NetworkState.from_dict(description.get("network", {})),
            )
        except CorruptFileError:
            raise
        except _NO_DESCRIPTION as error:
            raise CorruptFileError(
                f"This is no description of a trained solver: {quoted(one_line(repr(error)))}."
            ) from error


def exportable(artefact: SolverArtefact) -> SolverArtefact:
    """Return the artefact if other software can run its table; NotApplicableError if the table's columns are split."""
    if artefact.solver.guidance is not None:
        raise NotApplicableError(
            "This table weighs the network's answers with and without the condition apart, and other software hands a "
            "sampler only their mixture: export one of columns=guided."
        )
    return artefact


_NO_DESCRIPTION = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, UsageError)
"""The errors of other content than ours, RecursionError among them."""


def _guidance(scales: Any) -> float | tuple[float, ...]:
    if not isinstance(scales, list):
        return _number(scales)
    if not scales:
        raise ValueError("it has no guidance scale")
    return tuple(map(_number, scales))


def _interval(ends: Any) -> tuple[float, float]:
    begin, end = map(_number, ends)
    if not begin < end:
        raise ValueError(f"the interval from {begin:g} to {end:g} is none")
    return begin, end


def _number(value: Any) -> float:
    """Return a finite number of a file as float."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError(f"{quoted(value)} is no finite number")
    return float(value)


def _text(description: Mapping[str, Any], name: str) -> str:
    if not isinstance(description[name], str):
        raise TypeError(f"its {name} is no text")
    return str(description[name])


def _check_schema(description: Any) -> None:
    if not isinstance(description, Mapping) or not isinstance(description.get("schema"), int):
        raise CorruptFileError("This is no description of a trained solver: it has no schema number.")
    if (schema := description["schema"]) > SCHEMA:
        raise UsageError(f"It has schema {schema}, but this version of bnsbench reads up to {SCHEMA}: upgrade bnsbench.")


def _read(file: FilePath | str) -> Any:
    try:
        content = first_bytes(FilePath(file))
    except OSError as error:
        raise _UnreadableError(f"The solver file {file} cannot be read: {error.strerror}.") from error
    try:
        return parse_json(content)
    except CorruptFileError as error:
        raise ValueError(str(error)) from error


class _UnreadableError(UsageError):
    """A file that is not there; its sentence names it already."""


@contextmanager
def _told_with(file: FilePath | str) -> Iterator[None]:
    """Name the file in the errors of reading it."""
    try:
        yield
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise CorruptFileError(f"The solver file {file} is damaged: {error}.") from error
    except _UnreadableError as error:
        raise UsageError(str(error)) from error
    except BnsbenchError as error:
        raise type(error)(f"The solver file {file} cannot be used: {error}") from error


def load_solver(file: FilePath | str) -> NonStationarySolver:
    """Return the solver in a trained solver's file: ``load_solver("bns.json")(field, x0)`` samples.

    What else the file says is not looked at, its path among it: see `SolverArtefact.load`.

    Args:
        file: That `SolverArtefact.save` or `bnsbench train` wrote.

    Returns:
        The table. Its ``field(t, x)`` returns the velocity for states x [batch, ...] at one time t, 0-d in float64. One of
        split columns asks ``field.answers(t, x, guidance)`` for both answers [2, batch, ...] instead.

    Raises:
        UsageError: If there is no such file, or it is of a newer version.
        CorruptFileError: If it is damaged.
    """
    with _told_with(file):
        description = _read(file)
        _check_schema(description)
        return NonStationarySolver.from_dict(description.get("solver"))
