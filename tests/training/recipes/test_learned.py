from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.paths import CondOT
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import euler
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Classic, Cost, Problem
from bnsbench.training.recipes import learned
from bnsbench.training.recipes.initial import start_grids
from bnsbench.training.teaching import LONG
from bnsbench.training.tuning.classics import best_grid, rule_on_grid
from bnsbench.training.tuning.tuned_classics import RULES, tuned_classics
from bnsbench.truth.pairs import TAUGHT_CHUNK, PairSource
from tests.training.toys import SMALL, cross_source, smooth_features

Trainer = Callable[..., SolverArtefact]
FAMILIES: dict[str, tuple[Trainer, str]] = {
    "bst": (learned.train_bst, "ScaleTime"),
    "dss": (learned.train_dss, "LinearMultistep"),
    "ld3": (partial(learned.train_ld3, rule="unipc"), "RuleTimes"),
    "s4s": (learned.train_s4s, "Coefficients"),
    "gs": (learned.train_gs, "Anchored"),
}
N = 4


def problem(source: PairSource, **more) -> Problem:
    """The problem of training for a source, validated on fewer pairs than a user's."""
    return Problem(source, effort=SMALL, **more)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return cross_source(guidance=1.0, cache=tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    source = PairSource(digits_gmm(), "digits-gmm", tolerance=1e-3, cache=tmp_path_factory.mktemp("digits"))
    for split in ("train", "validation", "test"):
        source.pairs(split, 64)
    return source


def on_best_grid(source: PairSource, rule: str) -> NonStationarySolver:
    """The rule on the start grid that suits it best."""
    on_grid, steps = rule_on_grid(problem(source), N, rule)
    grids = start_grids(source.model.path, source.model.interval, steps)
    return on_grid(best_grid(problem(source), on_grid, N, grids, Cost()))


@pytest.mark.parametrize(
    ("name", "rule", "gain"),
    [("bst", "midpoint", 3.0), ("dss", "euler", 8.0), ("ld3", "unipc", 0.5), ("s4s", "unipc", 5.0), ("gs", "dpm++3m", 5.0)],
)
def test_every_family_beats_the_rule_that_it_starts_from(digits: PairSource, name: str, rule: str, gain: float) -> None:
    train, family = FAMILIES[name]
    artefact = train(problem(digits), N, pairs=64, iterations=6)
    record = artefact.training
    assert artefact.name == name
    assert artefact.solver.nfe == N
    assert record["family"] == family
    assert record["objective"] == "log-mse"
    assert record["start"]["name"] == "the rule of its family"
    assert record["start"].get("rule") == (None if name == "bst" else rule)
    test = digits.pairs("test", 64)
    if name == "bst":
        on_grid, steps = rule_on_grid(problem(digits), N, rule)
        start = on_grid(torch.linspace(0, 1, steps + 1, dtype=torch.float64))
    else:
        start = on_best_grid(digits, rule)
    began = record["start"]["table"]
    torch.testing.assert_close(torch.tensor(began["times"]).double(), start.times)
    torch.testing.assert_close(torch.tensor(began["a"]).double(), start.rows[:, 0])
    assert psnr(artefact.solver, test, 2.0) > psnr(start, test, 2.0) + gain


OWN = {
    "bst": ("bound", "bound"),
    "dss": ("trajectory", "trajectory"),
    "ld3": ("soft-features", "soft-mse"),
    "s4s": ("soft-features", "soft-mse"),
    "gs": ("features", "mse"),
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("perceptual", [True, False], ids=["features", "no features"])
def test_its_own_objective_is_its_paper_s(source: PairSource, name: str, perceptual: bool) -> None:
    given = problem(source, features=smooth_features() if perceptual else None)
    iterations = 100 if name == "bst" else 4
    record = FAMILIES[name][0](given, N, objective="own", pairs=64, iterations=iterations).training
    assert record["objective"] == OWN[name][0 if perceptual else 1]
    assert record["optimiser"] == ("adam" if name == "bst" else "gauss-newton")
    assert record["loss"] <= record["curve"][0]["loss"]
    assert record["forwards"]["teacher"] > 0


def test_the_bound_of_bst_is_trained_on_trajectories_and_selected_by_the_error(source: PairSource) -> None:
    made = learned.train_bst(problem(source), N, objective="own", pairs=64, iterations=200, rate=0.01)
    curve = made.training["curve"]
    assert made.training["psnr"] > curve[0]["psnr"] + 3
    assert made.training["loss"] == pytest.approx(min(point["loss"] for point in curve), abs=1e-6)
    pairs = source.pairs("validation", 64)
    error = (made.solver(pairs.field, pairs.x0) - pairs.x1).square().mean().log()
    assert made.training["loss"] == pytest.approx(float(error), abs=0.01)  # trajectories are solved anew


def test_bst_is_offered_on_euler_s_rule_and_on_the_midpoint_rule(source: PairSource) -> None:
    for order, rule in ((1, "euler"), (2, "midpoint")):
        record = learned.train_bst(problem(source), N, order=order, pairs=40, iterations=2).training
        on_grid, steps = rule_on_grid(problem(source), N, rule)
        plain = on_grid(torch.linspace(0, 1, steps + 1, dtype=torch.float64))
        assert record["start"]["table"]["times"] == pytest.approx(plain.times.tolist())
        torch.testing.assert_close(torch.tensor(record["start"]["table"]["a"]).double(), plain.rows[:, 0])
    odd = learned.train_bst(problem(source), 3, order=1, pairs=40, iterations=1)
    assert odd.solver.nfe == 3


def test_decoupled_times_are_told_to_the_network_alone(source: PairSource) -> None:
    """At the start both are one; afterwards the table is none that the rule has on any grid."""
    made = learned.train_ld3(problem(source), N, "unipc", decoupled=True, pairs=64, iterations=5)
    plain = learned.train_ld3(problem(source), N, "unipc", pairs=64, iterations=5)
    assert made.training["family"] == "Decoupled"
    assert made.training["parameters"] == 2 * plain.training["parameters"] == 2 * (N - 1)
    began = [torch.tensor(found.training["start"]["table"]["times"]).double() for found in (made, plain)]
    torch.testing.assert_close(began[0], began[1])
    on_grid, _ = rule_on_grid(problem(source), N, "unipc")
    torch.testing.assert_close(plain.solver.rows, on_grid(plain.solver.times).rows, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(made.solver.rows, on_grid(made.solver.times).rows, atol=1e-3)
    assert made.training["loss"] < plain.training["curve"][0]["loss"]


def test_s4s_keeps_its_times_unless_it_alternates(digits: PairSource) -> None:
    fixed = learned.train_s4s(problem(digits), N, pairs=64, iterations=2)
    turned = learned.train_s4s(problem(digits), N, alternate=True, pairs=64, iterations=2)
    start = torch.tensor(fixed.training["start"]["table"]["times"], dtype=torch.float64)
    torch.testing.assert_close(fixed.solver.times, start)
    assert fixed.training["family"] == "Coefficients"
    assert turned.training["family"] == "Anchored"
    assert turned.training["parameters"] == fixed.training["parameters"] + N - 1
    assert not torch.allclose(turned.solver.times, start, atol=1e-3)
    assert turned.training["psnr"] > fixed.training["psnr"] + 0.5
    assert len(turned.training["curve"]) > len(fixed.training["curve"])


@pytest.mark.parametrize("name", ["ld3", "s4s", "gs"])
def test_the_rule_can_be_another_and_a_plugin_s(source: PairSource, name: str) -> None:
    train, _ = FAMILIES[name]
    made = train(problem(source), N, rule="ab2", pairs=32, iterations=1)
    assert made.training["start"]["table"]["times"] == pytest.approx(on_best_grid(source, "ab2").times.tolist())
    asked: list[str] = []

    def known(selector: str) -> Classic:
        asked.append(selector)
        return Classic(euler)

    made = train(problem(source, classic=known), N, rule="acme/fancy", pairs=32, iterations=1)
    assert asked == ["acme/fancy"]
    best = torch.tensor(made.training["start"]["table"]["times"], dtype=torch.float64)
    grid = ":".join(["nodes", *map(repr, best[1:-1].tolist())])
    expected = trace(lambda field, x0: euler(field, x0, N, grid=grid), CondOT())
    torch.testing.assert_close(torch.tensor(made.training["start"]["table"]["b"][-1]).double(), expected.b[-1])


@pytest.mark.parametrize("name", ["dss", "ld3", "s4s", "gs"])
def test_the_search_for_a_grid_is_paid_for(source: PairSource, name: str) -> None:
    record = FAMILIES[name][0](problem(source), N, pairs=16, iterations=1, derivative="backward").training
    grids, judged = len(start_grids(CondOT(), (0.0, 1.0), N)), 128
    assert record["curve"][0]["evaluations"] == grids * N * judged + N * 16


def test_the_truth_of_the_search_for_a_grid_is_paid_for_where_training_needs_another(source: PairSource) -> None:
    """An objective of whole trajectories never looks at the ends on which the grid was chosen."""
    truths = learned.train_dss(problem(source), N, objective="own", pairs=16, iterations=1).training["spent"]["truths"]
    assert truths["train, ends"] == source.pairs("train", 128).truth_evaluations
    (solved,) = [count for name, count in truths.items() if name.startswith("train, ") and f" at {LONG[0]} NFE" in name]
    assert solved == TAUGHT_CHUNK * LONG[0]


def test_the_best_rule_is_the_one_that_a_search_finds_and_is_paid_for(source: PairSource) -> None:
    given = problem(source)
    tuned = tuned_classics(given, N, [name for name in RULES if name not in learned.SINGLESTEP])
    record = learned.train_ld3(given, N, pairs=16, iterations=1, derivative="backward").training
    best = tuned.ranking.finalists[0]
    assert record["start"]["rule"] == best.rule
    torch.testing.assert_close(torch.tensor(record["start"]["table"]["b"][-1]).double(), best.table.rows[-1, 1:])
    assert record["curve"][0]["evaluations"] == tuned.cost.training + N * 16
    assert set(tuned.cost.truths) < set(record["spent"]["truths"])


@pytest.mark.parametrize("name", ["dss", "ld3", "s4s", "gs"])
def test_a_single_step_leaves_a_table_all_the_same(source: PairSource, name: str) -> None:
    """There is no time to choose, and for some no number at all."""
    made = FAMILIES[name][0](problem(source), 1, pairs=16, iterations=2)
    assert made.solver.nfe == 1
    assert round(made.training["loss"], 6) <= made.training["curve"][0]["loss"]  # which is rounded, too
    if name == "s4s":
        # Under one floor from the first iteration on, however many there are.
        fixed, turned = (
            learned.train_s4s(problem(source), 1, alternate=alternate, pairs=16, iterations=2, floor=1.0).training
            for alternate in (False, True)
        )
        assert turned["psnr"] == pytest.approx(fixed["psnr"], abs=0.01)


@pytest.mark.parametrize("name", FAMILIES)
def test_adam_trains_every_family(source: PairSource, name: str) -> None:
    rate = 0.02
    made = FAMILIES[name][0](problem(source), N, optimiser="adam", pairs=64, iterations=50, rate=rate)
    assert made.training["optimiser"] == "adam"
    assert made.training["loss"] <= made.training["curve"][0]["loss"]
    if name in {"bst", "dss"}:
        assert made.training["loss"] < made.training["curve"][0]["loss"] - 0.3


def test_what_cannot_be_learned_from_is_refused(source: PairSource) -> None:
    with pytest.raises(UsageError, match="no built-in solver 'magic'"):
        learned.train_ld3(problem(source), N, rule="magic")
    with pytest.raises(NotApplicableError, match="takes no time grid at 7 NFE"):
        learned.train_gs(problem(source), 7, rule="rk4")
    with pytest.raises(NotApplicableError, match="multiple of 2"):
        learned.train_bst(problem(source), 5)
    with pytest.raises(UsageError, match="soft teacher is offered with the optimiser gauss-newton"):
        learned.train_ld3(problem(source), N, objective="own", optimiser="adam", pairs=16)
    with pytest.raises(NotApplicableError, match="needs a feature extractor"):
        learned.train_gs(problem(source), N, objective="features", pairs=16)
    with pytest.raises(UsageError, match="no optimiser 'sgd'"):
        learned.train_dss(problem(source), N, optimiser="sgd")


def test_alternating_needs_gauss_newton(source: PairSource) -> None:
    with pytest.raises(UsageError, match="in turn by the optimiser gauss-newton only"):
        learned.train_s4s(problem(source), 4, alternate=True, optimiser="adam", pairs=32)
