from __future__ import annotations

from dataclasses import replace

import pytest

from bnsbench.suite.estimate import PEAK_TFLOPS, TRUTH_EVALUATIONS, UTILISATION, estimate
from bnsbench.suite.plan import make_plan
from bnsbench.suite.suitefile import Suite, read_suite
from bnsbench.training.recipes.forecast import forecast, task_of


@pytest.fixture
def cells(suite_file, host):
    """One model under two guidance scales, three solvers of which one is trained, NFE 2 and 4, 40 samples."""
    return [cell for cell in make_plan(read_suite(suite_file), host) if cell.model.name == "tiny"]


def test_forwards_by_purpose(cells):
    found = estimate(cells)
    assert {(cell.guidance, cell.samples) for cell in cells} == {(0.0, cells[0].samples), (1.0, cells[0].samples)}
    n, forwards_of_both_scales = cells[0].samples, 1 + 2
    assert found.sampling == 3 * (2 + 4) * n * forwards_of_both_scales
    assert found.truth == TRUTH_EVALUATIONS * n * forwards_of_both_scales
    two, four = (forecast(task_of("learned", nfe, {})) for nfe in (2, 4))
    # Both learn from the same truth.
    once = max(two.truth, four.truth) + two.total - two.truth + four.total - four.truth
    assert found.training == once * forwards_of_both_scales


def test_what_is_skipped_costs_nothing(cells):
    skipped = [replace(cell, skip="because") for cell in cells]
    found = estimate(skipped)
    assert (found.sampling, found.truth, found.training, found.hours) == (0, 0, 0, None)


def test_hours_need_the_operations_of_every_model(cells):
    assert estimate(cells).hours is None
    counted = [replace(cell, gflops=100.0) for cell in cells]
    assert estimate([*counted[1:], cells[0]]).hours is None


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_hours_are_operations_by_speed(cells, dtype):
    counted = [replace(cell, gflops=100.0, dtype=dtype) for cell in cells]
    found = estimate(counted)
    forwards = found.sampling + found.truth + found.training
    speed = UTILISATION * PEAK_TFLOPS[dtype or "float32"] * 1e12
    assert found.hours == pytest.approx(forwards * 100e9 / speed / 3600)


def test_what_the_solver_is_told_counts(cells):
    """Its pairs, and its name's family where that is known."""

    def with_solver(**changes):
        return [replace(cell, solver=replace(cell.solver, **changes)) if cell.trained else cell for cell in cells]

    few, none = estimate(with_solver(parameters={"pairs": 16})), estimate([cell for cell in cells if not cell.trained])
    assert none.training == 0 < few.training < estimate(cells).training
    rule = estimate(with_solver(name="ld3[rule=euler]", parameters={"rule": "euler"}))
    forecasts = [forecast(task_of("ld3", nfe, {"rule": "euler"})) for nfe in (2, 4)]
    once = max(found.truth for found in forecasts) + sum(found.total - found.truth for found in forecasts)
    assert rule.training == once * (1 + 2)


def test_shipped_solvers_cost_no_training_unless_it_is_asked_for(host):
    content = {"name": "s", "models": ["digits-ot"], "nfe": [8, 9], "solvers": ["bns"], "metrics": ["psnr"], "samples": 16}
    eight, nine = make_plan(Suite.parse(content, "here"), host)
    assert (eight.shipped, nine.shipped) == (True, False)
    assert estimate([eight]).training == 0 < estimate([eight], retrain=True).training
    assert estimate([nine]) == estimate([nine], retrain=True)
    assert estimate([eight]).sampling == 8 * 16
