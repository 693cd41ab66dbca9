"""Small problems for the training tests: models in the plane, features, and sources whose pairs are solved once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from bnsbench.flows.fields import HasAnswers, VelocityField
from bnsbench.flows.model import Model, ModelField
from bnsbench.flows.paths import CondOT, Path
from bnsbench.models.mixtures import Mixture, MixtureModel
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.families.classic_rules import Anchored
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.problem import Cost, Effort, Problem, TrainingStatus
from bnsbench.training.teaching import Teaching
from bnsbench.training.tuning.classics import rule_on_grid
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import Pairs, PairSource
from bnsbench.truth.source import Source

SMALL = Effort(parts=(32,), searched=0, starts=3)
"""Starts on the known grids without a search, and a first leg that a test can afford."""


class PlaneModel(Model):
    """A velocity field in the plane from a plain function u(t [n], x [n, 2]), in float64."""

    path = CondOT()
    shape = (2,)
    dtype = torch.float64

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        del condition
        return self.function(t.to(x).expand(len(x))[:, None], x)

    def fingerprint(self) -> str:
        return "plane"


class Cramped(PlaneModel):
    """A network in the plane of which so many samples fit into memory, by what is done to it.

    values, tangents, gradients: samples at once when evaluated, evaluated with dual numbers, and where a graph is kept.
    recomputed: as gradients, where it computes activations once more; 0 if it cannot.
    """

    def __init__(
        self, values: int = 99, tangents: int = 99, gradients: int = 99, recomputed: int = 0, function=None
    ) -> None:
        super().__init__(function or bend)
        self.values, self.tangents, self.gradients, self.recomputed = values, tangents, gradients, recomputed
        self.recomputes, self.largest = False, 0

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        fits = self.values
        if forward_ad.unpack_dual(x).tangent is not None:
            fits = min(fits, self.tangents)
        if torch.is_grad_enabled() and x.requires_grad:
            fits = min(fits, self.recomputed if self.recomputes else self.gradients)
        if len(x) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        self.largest = max(self.largest, len(x))
        return super().predict(t, x, condition)

    def recompute(self, on: bool) -> bool:
        self.recomputes = on and self.recomputed > 0
        return self.recomputed > 0


def plane_source(function: Callable[[Tensor, Tensor], Tensor], **more) -> PairSource:
    """Return the pairs of a field in the plane."""
    return PairSource(PlaneModel(function), "plane", **{"tolerance": 1e-5, **more})


def bend(t: Tensor, x: Tensor) -> Tensor:
    """A smooth, non-linear, time-dependent field that turns and contracts."""
    return torch.sin(2 * x + 3 * t) - x.roll(1, -1) * torch.cos(4 * t) - 0.5 * x


def cross(path: Path | None = None, end: float = 1.0) -> MixtureModel:
    """Return four round Gaussians in the plane, in two classes of two: exact on every path, non-linear and guidable."""
    means = torch.tensor([[0.8, 0.0], [0.0, 0.8], [-0.8, 0.0], [0.0, -0.8]], dtype=torch.float64)
    factors = 0.15 * torch.eye(2, dtype=torch.float64).expand(4, 2, 2)
    mixture = Mixture(torch.full((4,), 0.25, dtype=torch.float64), means, factors, 2)
    return MixtureModel(mixture, path or CondOT(), (2,), end)


def cross_source(path: Path | None = None, end: float = 1.0, **more) -> PairSource:
    """Return the pairs of `cross`."""
    return PairSource(cross(path, end), "cross", **{"tolerance": 1e-5, **more})


SOURCE = cross_source(guidance=1.0)


def blobs(dim: int = 36) -> Mixture:
    """Return three Gaussians, each of another width in every direction, in so many dimensions that trainings are short."""
    generator = torch.Generator().manual_seed(0)
    means = 0.5 * torch.randn(3, dim, generator=generator, dtype=torch.float64)
    widths = 0.1 + 0.3 * torch.rand(3, dim, generator=generator, dtype=torch.float64)
    return Mixture(torch.full((3,), 1 / 3, dtype=torch.float64), means, widths.diag_embed())


def blobs_source(path: Path | None = None, end: float = 1.0, **more) -> PairSource:
    """Return the pairs of `blobs`."""
    return PairSource(MixtureModel(blobs(), path or CondOT(), (36,), end), "blobs", **{"tolerance": 1e-5, **more})


def as_model_field(field: VelocityField) -> ModelField:
    """Return a field itself, as that of a model for types: what trains on pairs asks no more of theirs than of any field."""
    return cast("ModelField", field)


def smooth_features(dim: int = 2, width: int = 4, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Return a small random network with smooth activations, from [n, dim] to [n, width]."""
    generator = torch.Generator().manual_seed(seed)
    inner = torch.randn(dim, 8, generator=generator, dtype=torch.float64)
    outer = torch.randn(8, width, generator=generator, dtype=torch.float64)
    return lambda x: torch.tanh(x.flatten(1) @ inner + 0.3) @ outer


def random_table(n: int, seed: int = 0) -> NonStationarySolver:
    """Return a table whose times increase and whose rows are none of a known rule."""
    generator = torch.Generator().manual_seed(seed)
    gaps = torch.rand(n, generator=generator, dtype=torch.float64) + 0.2
    times = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumsum(gaps / gaps.sum(), 0)])
    times[-1] = 1.0
    rows = torch.tril(torch.randn(n, n + 1, generator=generator, dtype=torch.float64) * 0.2, 1)
    rows[:, 0] = 1.0
    return NonStationarySolver.from_rows(times, rows)


def uniform(n: int) -> Tensor:
    """Return n equal steps from 0 to 1."""
    return torch.linspace(0, 1, n + 1, dtype=torch.float64)


def euler_table(n: int) -> NonStationarySolver:
    """Return Euler's method with n equal steps."""
    rows = torch.tril(torch.full((n, n + 1), 1 / n, dtype=torch.float64), 1)
    rows[:, 0] = 1
    return NonStationarySolver.from_rows(uniform(n), rows)


N = 3


def free() -> FreeTable:
    """Return a free table of N evaluations, Euler's at first."""
    return FreeTable(euler_table(N))


def plain_states(table: NonStationarySolver, field: Callable[[Tensor, Tensor], Tensor], x0: Tensor) -> list[Tensor]:
    """Return the states x_1 .. x_n of a table as the paper writes them, one sum after the other."""
    x, velocities, states = x0, [], []
    for i in range(table.nfe):
        velocities.append(field(table.times[i], x))
        x = table.rows[i, 0] * x0 + sum(table.rows[i, j + 1] * u for j, u in enumerate(velocities))
        states.append(x)
    return states


def random_split_table(n: int, seed: int = 0, guidance: float = 2.0) -> NonStationarySolver:
    """Return a table of split columns that no table of velocities is."""
    base, generator = random_table(n, seed), torch.Generator().manual_seed(100 + seed)
    b, c = (torch.randn(n, n, generator=generator, dtype=torch.float64).tril() * 0.15 for _ in range(2))
    return NonStationarySolver(base.times, base.a, b, c=c, guidance=guidance)


def states_of_answers(table: NonStationarySolver, field: HasAnswers, x0: Tensor) -> list[Tensor]:
    """Return the states x_1 .. x_n of a table of split columns as its equation has them, one term after the other."""
    assert table.c is not None
    assert table.guidance is not None
    x, answers, states = x0, [], []
    for i in range(table.nfe):
        answers.append(field.answers(table.times[i], x, table.guidance))
        terms = [table.b[i, j] * own + table.c[i, j] * null for j, (own, null) in enumerate(answers)]
        x = table.a[i] * x0 + sum(terms)
        states.append(x)
    return states


def problem(source: Source, *, effort: Effort = SMALL, **more) -> Problem:
    """The problem of training for a source, with fewer pairs to validate on than a user's."""
    return Problem(source, effort=effort, **more)


def taught(record: Mapping[str, Any], source: Source, split: Split = "validation", count: int = 64) -> Pairs:
    """The pairs of a training, by the teacher that its record names."""
    every = itertools.chain(*Teaching(Problem(source), Cost()).levels)
    (teacher,) = [each for each in every if each.name == record["teacher"]]
    return source.taught(teacher).pairs(split, count)


def anchored(source: Source, nfe: int) -> tuple[Anchored, tuple[Tensor, ...]]:
    """A family whose rows and times are descended over in turn."""
    rule, _ = rule_on_grid(problem(source), nfe, "unipc")
    family = Anchored(rule, uniform(nfe))
    parameters = torch.arange(len(family.start()))
    return family, (parameters[family.log_gaps :], parameters[: family.log_gaps])


def interrupting(seen: list[TrainingStatus], stop: int) -> Callable[[TrainingStatus], None]:
    """Return a listener that keeps what it is told in ``seen``, and interrupts after ``stop`` reports as a user does."""

    def told(status: TrainingStatus) -> None:
        seen.append(status)
        if len(seen) == stop + 1:
            raise KeyboardInterrupt

    return told
