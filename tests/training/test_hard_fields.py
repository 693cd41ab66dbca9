from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.errors import DivergedError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.storage.plain_data import as_plain_data
from bnsbench.training.distil import Choices, distil
from bnsbench.training.families.classic_rules import RuleTimes
from bnsbench.training.families.parametrisation import LogGaps, Parametrisation
from bnsbench.training.objectives import make_objective
from bnsbench.training.optimisers.gauss_newton import GaussNewton
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Cost
from bnsbench.training.recipes import learned
from bnsbench.training.recipes.bns import train_bns
from bnsbench.training.teaching import Teaching
from bnsbench.training.tuning.classics import rule_on_grid
from bnsbench.truth.pairs import PairSource
from bnsbench.truth.teacher import Adaptive
from tests.training.toys import N, euler_table, free, plane_source, problem, taught, uniform


def test_a_start_that_diverges_is_no_end(source: PairSource) -> None:
    """Its gradient is not finite, so nothing can be done but say so."""
    table = NonStationarySolver.from_rows(uniform(N), 1e200 * euler_table(N).rows)
    with pytest.raises(DivergedError, match="No table of 3 NFE for cross at w=1 gave finite samples"):
        distil(problem(source), N, LinearRows(table), Choices(pairs=40), Cost())


class LinearRows(Parametrisation):
    """The times of a table whose rows are given: a family that holds no last row."""

    def __init__(self, table: NonStationarySolver) -> None:
        self._table = table
        self._gaps = LogGaps(table.times)
        self.log_gaps = table.nfe - 1

    def start(self) -> Tensor:
        return self._gaps.start

    def table(self, theta: Tensor) -> NonStationarySolver:
        return NonStationarySolver.from_rows(self._gaps.times(theta), self._table.rows)


def test_steps_that_have_closed_leave_a_solver_or_are_turned_away_from(source: PairSource) -> None:
    """Logarithms of gaps may grow until rounding closes a gap, be it the last one."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        theta = free().start()
        theta[: N - 1] = 40 + 5 * torch.randn(N - 1, generator=generator, dtype=torch.float64)
        solver = free().table(theta).validated()  # which refuses times beyond its last
        assert solver.times[-1] == 1
    rule, _ = rule_on_grid(problem(source), N, "unipc")
    family = RuleTimes(rule, uniform(N))
    for closed in ((60.0, 0.0), (-745.0, 0.0), (30.0, -30.0), (800.0, 800.0)):
        newton = GaussNewton(family, make_objective("mse", None), source.pairs("train", 16), Cost())
        assert newton.evaluate(torch.tensor(closed, dtype=torch.float64)).loss == math.inf
        assert newton.rejected == 1


Trainer = Callable[..., SolverArtefact]


TRAINERS: dict[str, tuple[Trainer, dict[str, Any]]] = {
    "bns": (train_bns, {}),
    "bns forward": (train_bns, {"derivative": "forward"}),
    "bns difference": (train_bns, {"derivative": "difference"}),
    "bns soft": (train_bns, {"objective": "soft-mse"}),
    "bns trajectory": (train_bns, {"objective": "trajectory"}),
    "bns adam": (train_bns, {"optimiser": "adam", "iterations": 30}),
    "bns paper": (train_bns, {"recipe": "paper", "iterations": 20}),
    "bns euler": (train_bns, {"init": "euler"}),
    "bst": (learned.train_bst, {}),
    "bst own": (learned.train_bst, {"objective": "own", "iterations": 30}),
    "dss": (learned.train_dss, {"objective": "own"}),
    "ld3": (learned.train_ld3, {"decoupled": True}),
    "s4s": (learned.train_s4s, {"alternate": True, "iterations": 1}),
    "gs": (learned.train_gs, {}),
}


Function = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(scope="module")
def source_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Function], PairSource]:
    """Returns the source of a field in the plane, whose pairs are solved once for all trainers."""
    folders: dict[Function, Path] = {}

    def source(function: Function) -> PairSource:
        if function not in folders:
            folders[function] = tmp_path_factory.mktemp("pairs")
        return plane_source(function, cache=folders[function])

    return source


def trained(source: PairSource, trainer: str) -> SolverArtefact:
    train, settings = TRAINERS[trainer]
    return train(problem(source), 4, **{"pairs": 24, "iterations": 3, **settings})


def found_psnr(made: SolverArtefact, source: PairSource) -> float:
    """The PSNR on fresh noise and its finest truth, of a table that is finite and whose file can be written."""
    json.dumps(as_plain_data(made.to_dict()), allow_nan=False)
    return psnr(made.solver, source.pairs("test", 32), 2.0)


def broken(t: Tensor, x: Tensor) -> Tensor:
    """A field that is NaN beyond t = 0.5."""
    return torch.where(t > 0.5, torch.nan, -x)


def runaway(t: Tensor, x: Tensor) -> Tensor:
    """A field that runs away before t = 1 from noise that is not near zero."""
    return 30.0 * x.sign() * (x.abs() - 1.9).relu() ** 3


@pytest.mark.parametrize("function", [broken, runaway], ids=["broken", "runaway"])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_fields_without_a_ground_truth_end_with_a_sentence(
    trainer: str, function: Function, source_of: Callable[[Function], PairSource]
) -> None:
    with pytest.raises(DivergedError, match=r"^The ground truth of [^\n]* cannot be solved to tolerance[^\n]*\.$"):
        trained(source_of(function), trainer)


def nothing(t: Tensor, x: Tensor) -> Tensor:
    """A field that does nothing."""
    return torch.zeros_like(x)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_field_that_does_nothing_gets_the_table_that_does_nothing(
    trainer: str, source_of: Callable[[Function], PairSource]
) -> None:
    """Whatever the loss is there, the best table so far is the identity's."""
    source = source_of(nothing)
    assert found_psnr(trained(source, trainer), source) > 150


def step(t: Tensor, x: Tensor) -> Tensor:
    """A field that changes all at once at t = 0.37."""
    return torch.where(t < 0.37, -x, 2.0 + x.roll(1, -1))


def wall(t: Tensor, x: Tensor) -> Tensor:
    """A field that is NaN where its own flow never comes, but a bad table may."""
    return torch.where(x.abs() > 4, torch.nan, torch.sin(5 * x + 3 * t) - x)


@pytest.mark.parametrize("function", [step, wall], ids=["step", "wall"])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_fields_that_are_hard_to_differentiate_end_with_the_best_table_so_far(
    trainer: str, function: Function, source_of: Callable[[Function], PairSource]
) -> None:
    source = source_of(function)
    made = trained(source, trainer)
    record = made.training
    if "teacher" in record:  # the one that the training ended with
        assert record["psnr"] == pytest.approx(psnr(made.solver, taught(record, source), 2.0), abs=1e-3)
    if record["optimiser"] == "adam":  # whose truth is one and the same from the beginning
        curve = record["curve"]
        assert record["psnr"] == pytest.approx(curve[_least(curve)]["psnr"], abs=1e-3)
    assert found_psnr(made, source) > 8


def stiff(t: Tensor, x: Tensor) -> Tensor:
    """Explicit steps overshoot and grow, tables overflow, and steps of a grid close."""
    return -50.0 * x**3


def stiffest(t: Tensor, x: Tensor) -> Tensor:
    return -1000.0 * x**3


@pytest.mark.parametrize("function", [stiff, stiffest], ids=["50", "1000"])
@pytest.mark.parametrize("trainer", ["bns", "bst", "ld3", "gs"])
def test_stiff_fields_whose_tables_run_away_end_with_the_best_table_so_far(
    trainer: str, function: Function, source_of: Callable[[Function], PairSource]
) -> None:
    source = source_of(function)
    made = trained(source, trainer)
    assert made.training["loss"] <= made.training["curve"][0]["loss"] + 1e-6  # which is rounded
    assert math.isfinite(made.training["psnr"])
    assert made.training["psnr"] == pytest.approx(found_psnr(made, source), rel=0.3, abs=10)


def test_where_long_tables_run_away_the_adaptive_rule_gives_the_truth(source_of: Callable[[Function], PairSource]) -> None:
    """dx/dt = -c x^3 has the solution x / sqrt(1 + 2 c x^2)."""
    source, cost = source_of(stiffest), Cost()
    teaching = Teaching(problem(source), cost)
    first = teaching.teacher
    assert teaching.error() == -math.inf
    found = teaching.pairs("validation", 64)
    exact = found.x0 / (1 + 2000.0 * found.x0**2).sqrt()
    torch.testing.assert_close(found.x1, exact, rtol=1e-3, atol=1e-4)
    assert teaching.teacher.name == Adaptive(1e-5, canonical=True).name != first.name
    assert torch.equal(teaching.pairs("train", 32).x0, source.pairs("train", 32).x0)
    assert {name.split(", ")[0] for name in cost.truths if first.name not in name} >= {"validation", "train"}


def _least(curve: list[dict[str, Any]]) -> int:
    losses = [point["loss"] for point in curve]
    return losses.index(min(losses))
