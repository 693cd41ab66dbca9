"""Tables with their field, compiled: by torch.compile, or as one CUDA graph of all steps.

A field is refused where it cannot be traced or captured as a whole, or where its samples come out otherwise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError, UsageError, one_line
from bnsbench.flows.fields import Columns, VelocityField
from bnsbench.flows.paths import Path
from bnsbench.nonstationary.engine import columns_of, placed, run

How = Literal["auto", "network", "sampler", "graph"]
"""What is compiled; see `bnsbench.nonstationary.table.NonStationarySolver.compiled`."""

BACKEND = "inductor"
"""Of torch.compile."""

WARM_UPS = 3
"""Times that a table runs on a stream of its own before it is captured, so that libraries have what they need."""

CLOSE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""The largest difference of samples, relative to the largest number in them, by the precision of states."""

CLOSE_BELOW = 0.05
"""The same for precisions below float32."""


class Kind(NamedTuple):
    """What all states of a compiled table have in common."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, x: Tensor) -> Kind:
        """Return the kind of some states."""
        return cls(x.shape, x.dtype, x.device)

    def __str__(self) -> str:
        return f"states {list(self.shape)} in {str(self.dtype).removeprefix('torch.')} on {self.device}"


@dataclass(frozen=True)
class CompiledSampler:
    """A table with its field for states of one kind; it is called with initial states [batch, ...].

    how: what was compiled; "" if nothing could be, so that the table runs as it always does. reason: why not. difference: of
    the samples of the first states from those of the table, relative to the largest number in them.
    """

    run: Callable[[Tensor], Tensor]
    kind: Kind
    how: str
    reason: str = ""
    difference: float = 0.0

    def __call__(self, x0: Tensor) -> Tensor:
        """Return the last state for initial states x0 [batch, ...]; UsageError if these are of another kind."""
        if Kind.of(x0) != self.kind:
            raise UsageError(f"This sampler was compiled for {self.kind}, not for {Kind.of(x0)}: compile another one.")
        with torch.no_grad():
            return self.run(x0)


@dataclass(frozen=True)
class Placed:
    """A table with its field: times, 0-d each, and rows [n, 1 + n columns] where the states lie."""

    times: Sequence[Tensor]
    rows: Tensor
    field: VelocityField
    guidance: float | None

    def __call__(self, x0: Tensor) -> Tensor:
        """Return the last state for initial states x0 [batch, ...]."""
        return run(self.times, self.rows, self.field, x0, self.guidance)


def compiled(
    table: tuple[Tensor, Tensor, float | None], field: VelocityField, x0: Tensor, how: How = "auto", *, strict: bool = False
) -> CompiledSampler:
    """Return a table with its field, compiled for states like x0.

    Args:
        table: Its times [n + 1] and rows [n, 1 + n columns], both float64 on the CPU, and the scale of two columns.
        field: The velocity field.
        x0: Initial states [batch, ...].
        how: What is compiled.
        strict: Whether to refuse what cannot be.

    Raises:
        UsageError: For another ``how``, or a graph of states that do not lie on a CUDA device.
        NotApplicableError: If strict, for a field that cannot be compiled.
    """
    chosen = _chosen(how, x0.device)
    plain = Placed(*placed(*table[:2], x0), field, table[2])
    with torch.no_grad():
        expected = plain(x0)
        try:
            made = _MADE[chosen](plain, x0)
            difference = _difference(made(x0), expected)
            reason = "" if difference <= CLOSE.get(x0.dtype, CLOSE_BELOW) else f"its samples differ by {difference:.1%}"
        except Exception as error:  # noqa: BLE001 (compilers raise anything)
            reason = one_line(error)[:300] or type(error).__name__
    if not reason:
        return CompiledSampler(made, Kind.of(x0), chosen, difference=difference)
    told = f"This field cannot be compiled as {chosen!r} ({reason})"
    if strict:
        raise NotApplicableError(f"{told}.")
    warnings.warn(f"{told}: the table runs as it always does.", stacklevel=3)
    return CompiledSampler(plain, Kind.of(x0), "", reason)


def _chosen(how: str, device: torch.device) -> str:
    if how not in get_args(How):
        raise UsageError(f"Nothing that can be compiled is called {how!r}: choose {', '.join(get_args(How))}.")
    if how == "graph" and device.type != "cuda":
        raise UsageError(f"A CUDA graph needs states on a CUDA device, not on {device}: choose 'network' or 'sampler'.")
    if how == "auto":
        return "graph" if device.type == "cuda" else "network"
    return how


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest number; inf where something is not finite."""
    if found.shape != expected.shape or not bool(found.isfinite().all()):
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny))


class _CompiledField:
    """A field each call of which is one compiled function of time and state."""

    def __init__(self, field: VelocityField, guidance: float | None) -> None:
        self.path: Path = field.path
        self.interval = field.interval
        self._columns = torch.compile(Columns(field, guidance).__call__, fullgraph=True, dynamic=False, backend=BACKEND)

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        return self._columns(t, x)[0]

    def answers(self, t: Tensor, x: Tensor, guidance: float) -> Tensor:
        """Return both answers, under the guidance for which they were compiled."""
        del guidance
        return self._columns(t, x)


def _network(plain: Placed, x0: Tensor) -> Callable[[Tensor], Tensor]:
    del x0
    return Placed(plain.times, plain.rows, _CompiledField(plain.field, plain.guidance), plain.guidance)


def _sampler(plain: Placed, x0: Tensor) -> Callable[[Tensor], Tensor]:
    del x0
    steps = partial(_unrolled, plain, Columns(plain.field, plain.guidance), plain.rows.tolist())
    return torch.compile(steps, fullgraph=True, dynamic=False, backend=BACKEND)


def _unrolled(plain: Placed, seen: Columns, rows: Sequence[Sequence[float]], x0: Tensor) -> Tensor:
    """Return the last state, every sum of a step spelt out, which a compiler makes one loop of."""
    columns, state, basis = columns_of(plain.rows), x0, [x0.to(plain.rows.dtype)]
    for i, row in enumerate(rows):
        basis += seen(plain.times[i], state).to(plain.rows.dtype).unbind()
        total = row[0] * basis[0]
        for weight, column in zip(row[1 : 1 + (i + 1) * columns], basis[1:], strict=True):
            total = total + weight * column
        state = total.to(x0.dtype)
    return state


def _graph(plain: Placed, x0: Tensor) -> Callable[[Tensor], Tensor]:
    """Capture all steps: every call copies its states to where the first ones lay, and launches the same work again."""
    start = x0.clone()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            plain(start)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        end = plain(start)

    def replay(x: Tensor) -> Tensor:
        start.copy_(x)
        graph.replay()
        return end.clone()

    return replay


_MADE: dict[str, Callable[[Placed, Tensor], Callable[[Tensor], Tensor]]] = {
    "network": _network,
    "sampler": _sampler,
    "graph": _graph,
}
