from __future__ import annotations

from dataclasses import replace

import pytest

from bnsbench.suite.estimate import (
    PAIRS,
    PEAK_TFLOPS,
    TEACHER_EVALUATIONS,
    TRAINING_PASSES,
    TRUTH_EVALUATIONS,
    UTILISATION,
    VALIDATION_PAIRS,
    estimate,
)
from bnsbench.suite.plan import make_plan
from bnsbench.suite.suitefile import read_suite


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
    teaching = TEACHER_EVALUATIONS * (PAIRS + VALIDATION_PAIRS)
    assert found.training == (teaching + (2 + 4) * TRAINING_PASSES * PAIRS) * forwards_of_both_scales


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


def test_pairs_of_the_solver_count(cells):
    few = [replace(cell, solver=replace(cell.solver, parameters={"pairs": 64})) if cell.trained else cell for cell in cells]
    fewer = (PAIRS - 64) * (TEACHER_EVALUATIONS + (2 + 4) * TRAINING_PASSES)
    assert estimate(cells).training - estimate(few).training == fewer * (1 + 2)
