from __future__ import annotations

import math

import pytest
import torch

from bnsbench.errors import BnsbenchError
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.models.digits_data import split_digits
from bnsbench.models.gates import check_gates, euler, mean_psnr, measure, midpoint, nearest_ratio
from bnsbench.models.weights import read_manifest


def growth(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    del t
    return x


@pytest.mark.parametrize(("solver", "factor"), [(euler, (1 + 1 / 8) ** 8), (midpoint, (1 + 1 / 4 + 1 / 32) ** 4)])
def test_solvers_take_uniform_steps(solver, factor):
    # For u = x one Euler step multiplies by 1 + h and one midpoint step by 1 + h + h^2 / 2.
    x = torch.ones(2, 3, dtype=torch.float64)
    torch.testing.assert_close(solver(FunctionField(growth, CondOT()), x, 8), factor * x)


def test_mean_psnr_averages_decibels_over_samples():
    truth = torch.zeros(2, 4)
    samples = torch.stack([torch.full((4,), 0.2), torch.full((4,), 0.002)])
    assert mean_psnr(samples, truth) == pytest.approx((20 + 60) / 2)


def test_nearest_ratio_is_zero_for_copies_and_one_for_held_out_digits():
    kept, held = split_digits()
    assert nearest_ratio(kept.images[:50]) == pytest.approx(0, abs=1e-3)
    assert nearest_ratio(held.images) == pytest.approx(1)


@pytest.mark.parametrize("name", ["digits-classifier", "digits-gmm"])
def test_shipped_weights_pass_their_gate(name):
    check_gates(name, measure(name))


def test_shipped_record_passes_every_gate():
    for name, entry in read_manifest().items():
        check_gates(name, entry["training"]["figures"])


def test_missed_gate_names_the_figure():
    with pytest.raises(BnsbenchError, match=r"accuracy 0\.500 < 0\.99"):
        check_gates("digits-classifier", {"accuracy": 0.5})
    with pytest.raises(BnsbenchError, match="nan"):
        check_gates("digits-classifier", {"accuracy": math.nan})
