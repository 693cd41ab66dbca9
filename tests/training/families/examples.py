"""One of every family that there is, and what tests of families need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsbench.flows.paths import EDM, VP, CondOT, Cosine, Path
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import retrace, trace
from bnsbench.solvers.adams_bashforth import ab2
from bnsbench.solvers.runge_kutta import euler, heun, midpoint
from bnsbench.solvers.unipc import unipc
from bnsbench.training.families.classic_rules import Anchored, Decoupled, Rule, RuleTimes
from bnsbench.training.families.parametrisation import (
    Block,
    Coefficients,
    FreeTable,
    LinearMultistep,
    Parametrisation,
    entries,
)
from bnsbench.training.families.scale_time import ScaleTime
from tests.flows.every_path import OTHERS
from tests.training.toys import random_split_table, random_table, uniform

Sampler = Callable[..., Tensor]


def nodes(times: Tensor) -> str:
    """The grid's name for these times."""
    return ":".join(["nodes", *map(repr, ((times[1:-1] - times[0]) / (times[-1] - times[0])).tolist())])


def rule_of(sampler: Sampler, stages: int = 1, path: Path | None = None) -> Rule:
    """A classic solver as a function of its time grid."""

    def on(times: Tensor) -> NonStationarySolver:
        nfe, grid = stages * (len(times) - 1), nodes(times)
        interval = float(times[0]), float(times[-1])
        return retrace(lambda field, x0: sampler(field, x0, nfe, grid=grid), path or CondOT(), interval, nfe)

    return on


def traced(sampler: Sampler, n: int, interval: tuple[float, float] = (0.0, 1.0)) -> NonStationarySolver:
    """A classic solver on its own grid."""
    return trace(lambda field, x0: sampler(field, x0, n), CondOT(), interval)


def late(n: int) -> NonStationarySolver:
    """A random table on an interval that neither begins at 0 nor ends at 1."""
    return NonStationarySolver.from_rows(0.2 + 0.7 * random_table(n).times, random_table(n).rows)


def up_to(end: float, n: int = 4) -> NonStationarySolver:
    """A random table on an interval from 0."""
    return NonStationarySolver.from_rows(end * random_table(n).times, random_table(n).rows)


def split_up_to(end: float, n: int = 4) -> NonStationarySolver:
    """A random table of split columns on an interval from 0."""
    table = random_split_table(n)
    return NonStationarySolver.from_rows(end * table.times, table.rows, table.guidance)


def somewhere(family: Parametrisation, seed: int = 3) -> Tensor:
    """Parameters a little away from the start."""
    start = family.start()
    return start + 0.05 * torch.randn(len(start), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_differences(family: Parametrisation, theta: Tensor) -> Tensor:
    """d entries / d theta [entries, p] by central differences."""
    steps = 1e-6 * torch.eye(len(theta), dtype=torch.float64)
    return torch.stack([(entries(family.table(theta + h)) - entries(family.table(theta - h))) / 2e-6 for h in steps], dim=1)


@dataclass(frozen=True)
class Example:
    """A family, the table that it starts from, and what it says of itself.

    logarithms: besides the log-gaps.
    """

    family: Parametrisation
    start: NonStationarySolver
    last_row: bool = False
    differentiable: bool = True
    logarithms: int = 0


def _block(family: Parametrisation, free: list[int] | slice) -> Block:
    theta = family.start()
    return Block(family, theta, torch.arange(len(theta))[free])


_MULTISTEP = LinearMultistep(uniform(5))
_ANCHORED = Anchored(rule_of(unipc), uniform(5))
_VP_TIMES = RuleTimes(rule_of(unipc, path=VP()), 0.999 * uniform(5))

EXAMPLES: dict[str, Example] = {
    "free": Example(FreeTable(random_table(5)), random_table(5), last_row=True),
    **{
        f"free on {name}": Example(FreeTable(up_to(end), path), up_to(end), last_row=True)
        for name, (path, end) in OTHERS.items()
    },
    "free on cosine, from 0.2 to 0.9": Example(FreeTable(late(4), Cosine()), late(4), last_row=True),
    "free on vp, one evaluation": Example(FreeTable(up_to(0.999, 1), VP()), up_to(0.999, 1), last_row=True),
    "block of rows on edm": Example(_block(FreeTable(up_to(1.0), EDM()), slice(3, None)), up_to(1.0), last_row=True),
    "decoupled free on vp": Example(Decoupled(FreeTable(up_to(0.999), VP()), VP(), "epsilon"), up_to(0.999)),
    "free, of split columns": Example(FreeTable(random_split_table(4)), random_split_table(4), last_row=True),
    "free on vp, of split columns": Example(FreeTable(split_up_to(0.999), VP()), split_up_to(0.999), last_row=True),
    "coefficients of split columns": Example(Coefficients(random_split_table(4)), random_split_table(4), last_row=True),
    "coefficients": Example(Coefficients(random_table(5)), random_table(5), last_row=True),
    "multistep": Example(_MULTISTEP, traced(euler, 5)),
    "scale-time, order 1": Example(ScaleTime(5, (0.0, 1.0), 1), traced(euler, 5), logarithms=10),
    "scale-time, order 2": Example(ScaleTime(6, (0.0, 1.0), 2), traced(midpoint, 6), logarithms=12),
    "rule times": Example(RuleTimes(rule_of(unipc), uniform(5)), rule_of(unipc)(uniform(5)), differentiable=False),
    "rule times, two stages": Example(
        RuleTimes(rule_of(heun, 2), uniform(3) ** 1.5), rule_of(heun, 2)(uniform(3) ** 1.5), differentiable=False
    ),
    "anchored": Example(_ANCHORED, rule_of(unipc)(uniform(5)), last_row=True, differentiable=False),
    "anchored, two stages": Example(
        Anchored(rule_of(midpoint, 2), uniform(3)), rule_of(midpoint, 2)(uniform(3)), last_row=True, differentiable=False
    ),
    "decoupled rule": Example(
        Decoupled(_VP_TIMES, VP(), "epsilon"), rule_of(unipc, path=VP())(0.999 * uniform(5)), differentiable=False
    ),
    "decoupled x": Example(
        Decoupled(RuleTimes(rule_of(ab2), uniform(4)), CondOT(), "x"), rule_of(ab2)(uniform(4)), differentiable=False
    ),
    "decoupled multistep": Example(Decoupled(LinearMultistep(uniform(4)), Cosine(), "v"), traced(euler, 4)),
    "decoupled free": Example(Decoupled(FreeTable(random_table(4)), CondOT(), "x"), random_table(4)),
    "free, from 0.2 to 0.9": Example(FreeTable(late(4)), late(4), last_row=True),
    "multistep, from 0.2 to 0.9": Example(
        LinearMultistep(torch.linspace(0.2, 0.9, 5, dtype=torch.float64)), traced(euler, 4, (0.2, 0.9))
    ),
    "scale-time, order 1, from 0.2 to 0.9": Example(
        ScaleTime(5, (0.2, 0.9), 1), traced(euler, 5, (0.2, 0.9)), logarithms=10
    ),
    "scale-time, order 2, from 0.2 to 0.9": Example(
        ScaleTime(6, (0.2, 0.9), 2), traced(midpoint, 6, (0.2, 0.9)), logarithms=12
    ),
    "rule times, from 0.2 to 0.9": Example(
        RuleTimes(rule_of(unipc), 0.2 + 0.7 * uniform(4)), rule_of(unipc)(0.2 + 0.7 * uniform(4)), differentiable=False
    ),
    "decoupled x, from 0.2 to 0.9": Example(Decoupled(FreeTable(late(4)), CondOT(), "x"), late(4)),
    "decoupled velocity": Example(Decoupled(FreeTable(random_table(4)), CondOT(), "velocity"), random_table(4)),
    "block of times": Example(_block(FreeTable(random_table(5)), slice(4)), random_table(5)),
    "block of rows": Example(_block(FreeTable(random_table(5)), slice(4, None)), random_table(5), last_row=True),
    "block of some": Example(_block(FreeTable(random_table(5)), [1, 3, 4, 9, 17]), random_table(5)),
    "block of corrections": Example(
        _block(_ANCHORED, slice(4, None)), rule_of(unipc)(uniform(5)), last_row=True, differentiable=False
    ),
    "block of weights": Example(_block(_MULTISTEP, slice(4, None)), traced(euler, 5)),
    "block of scales": Example(_block(ScaleTime(5, (0.0, 1.0), 1), slice(8, 16)), traced(euler, 5), logarithms=6),
}
