from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import euler, midpoint
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Problem, TrainingStatus
from bnsbench.training.recipes.paper import PaperRecipe, precondition, train_paper
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import CHUNK
from tests.flows.toy import GaussianModel
from tests.training.toys import cross_source

SMALL = PaperRecipe(pairs=40, validation_pairs=64, batch=20, iterations=60, learning_rate=5e-3, check_every=20)


def test_the_numbers_are_the_paper_s() -> None:
    recipe = PaperRecipe()
    assert (recipe.pairs, recipe.validation_pairs, recipe.batch) == (520, 1024, 40)
    assert (recipe.iterations, recipe.learning_rate) == (15_000, 5e-4)


def test_the_recipe_improves_on_its_start_and_keeps_the_best() -> None:
    source = cross_source(guidance=1.0)
    table, record = train_paper(Problem(source), 4, SMALL)
    curve = record["curve"]
    assert [point["iteration"] for point in curve] == [0, 20, 40, 60]
    assert curve[-1]["psnr"] > curve[0]["psnr"] + 0.5
    assert record["psnr"] == pytest.approx(psnr(table, source.pairs("validation", 64), 2.0))
    assert record["psnr"] == pytest.approx(max(point["psnr"] for point in curve), abs=1e-3)
    assert record["objective"] == "log-mse"
    assert record["optimiser"] == "adam"
    assert (record["pairs"], record["learning_rate"]) == (40, 5e-3)


def test_the_start_is_the_best_of_euler_and_midpoint_under_every_sigma_0() -> None:
    source = cross_source()
    pairs = source.pairs("train", 40)
    for nfe, rules in ((4, {"euler": euler, "midpoint": midpoint}), (3, {"euler": euler})):
        _, record = train_paper(Problem(source), nfe, replace(SMALL, iterations=0))
        values = {}
        for name, rule in rules.items():
            for sigma_0 in (1.0, 2.0, 5.0, 10.0):
                table = trace(precondition(rule, sigma_0, nfe), CondOT()).with_open_gaps(1e-3)
                values[f"{name} sigma_0={sigma_0:g}"] = psnr(table, pairs, 2.0)
        assert record["start"]["name"] == max(values, key=lambda name: values[name])
        assert len(record["start"]["table"]["a"]) == nfe
        assert record["forwards"]["training"] == len(values) * nfe * 40


def test_the_forwards_are_three_per_step_and_sample_beside_the_start_s() -> None:
    source = cross_source(guidance=1.0)
    _, record = train_paper(Problem(source), 2, SMALL)
    assert record["forwards"]["training"] == 2 * (8 * 2 * 40 + 60 * 20 * 3 * 2)
    assert record["forwards"]["validation"] == 2 * 4 * 2 * 64
    counts: dict[Split, int] = {"train": 40, "validation": 64}
    truth = sum(source.pairs(split, count).nfe * CHUNK for split, count in counts.items())
    assert record["forwards"]["teacher"] == 2 * round(truth)


def test_preconditioning_by_one_changes_nothing() -> None:
    plain, same = (trace(sampler, CondOT()) for sampler in (lambda f, x: midpoint(f, x, 4), precondition(midpoint, 1.0, 4)))
    torch.testing.assert_close(same.times, plain.times)
    torch.testing.assert_close(same.b, plain.b)


@pytest.mark.parametrize("end", [1.0, 0.9])
@pytest.mark.parametrize(("rule", "order"), [(euler, 1), (midpoint, 2)])
def test_a_preconditioned_rule_solves_the_same_flow_in_other_steps(rule, order: int, end: float) -> None:
    model = GaussianModel()
    model.interval = (0.0, end)
    condition = torch.arange(6) % 3
    x0 = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth = model.flow(x0, condition, end=end)
    errors = []
    for nfe in (128, 256):
        found = precondition(rule, 3.0, nfe)(model.field(condition), x0)
        errors.append(float((found - truth).abs().max()))
    assert errors[1] < 0.05
    assert errors[0] / errors[1] > 0.85 * 2**order
    assert not torch.allclose(precondition(rule, 3.0, 8)(model.field(condition), x0), rule(model.field(condition), x0, 8))


def test_an_interrupted_recipe_goes_on_to_the_same_end(tmp_path: Path) -> None:
    source = cross_source(tolerance=1e-4, cache=tmp_path)
    whole, record = train_paper(Problem(source), 2, SMALL)

    def stop(status: TrainingStatus) -> None:
        if status.iteration == 40:
            raise KeyboardInterrupt

    kept = tmp_path / "training" / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        train_paper(Problem(source, progress=stop, checkpoint=kept), 2, SMALL)
    assert kept.exists()
    told: list[TrainingStatus] = []
    resumed, again = train_paper(Problem(source, progress=told.append, checkpoint=kept), 2, SMALL)
    assert [status.iteration for status in told] == [40, 60]
    assert torch.equal(resumed.rows, whole.rows)
    assert torch.equal(resumed.times, whole.times)
    assert again == record
    assert not kept.exists()
