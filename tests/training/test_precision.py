from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bnsbench.flows.fields import FunctionField
from bnsbench.flows.model import Model
from bnsbench.flows.paths import CondOT
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.precision import precision_limit
from bnsbench.training.problem import Problem
from bnsbench.training.recipes.bns import train_bns
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.pairs import Pairs, PairSource
from bnsbench.truth.psnr import psnr_per_sample
from tests.training.toys import as_model_field, bend, cross_source, euler_table, plane_source


class Rounded(Model):
    """A field of many coordinates that computes in a coarse precision, step by step, as a network's layers do."""

    path = CondOT()
    shape = (32,)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        generator = torch.Generator().manual_seed(0)
        self.inner = torch.randn(32, 64, generator=generator) / 32**0.5
        self.outer = torch.randn(64, 32, generator=generator) / 64**0.5

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        del condition
        kind = self.dtype
        hidden = torch.tanh(x.to(kind) @ self.inner.to(kind) + t.to(kind).expand(len(x))[:, None])
        return hidden @ self.outer.to(kind) - 0.5 * x.to(kind)

    def fingerprint(self) -> str:
        return f"rounded-{self.dtype}"


def source(dtype: torch.dtype, **more) -> PairSource:
    return PairSource(Rounded(dtype), "rounded", **{"tolerance": 1e-4, **more})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("nfe", [3, 8])
def test_the_limit_is_what_separates_the_rounded_field_from_the_one_that_is_not(dtype: torch.dtype, nfe: int) -> None:
    coarse, exact = source(dtype), source(torch.float64, tolerance=1e-9)
    pairs, fine = coarse.pairs("test", 48), exact.pairs("test", 48)
    torch.testing.assert_close(pairs.x0.double(), fine.x0, rtol=1e-6, atol=1e-6)
    table = euler_table(nfe)
    limit, _ = precision_limit(table, pairs, dtype, coarse.truth_tolerance, 2.0)

    students, truths = (table(part.field, part.x0).double() for part in (pairs, fine)), (pairs.x1.double(), fine.x1)
    rounding = [rough - smooth for rough, smooth in (tuple(students), truths)]
    error = sum(difference.square().mean(1) for difference in rounding)
    measured = float(psnr_per_sample(torch.as_tensor(error)[:, None].sqrt(), torch.zeros(48, 1).double(), 2.0).mean())
    assert limit == pytest.approx(measured, abs=3.0)
    assert 30 < limit < 90


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("factor", [0.0, 1.0, 3.0])
def test_the_limit_on_a_field_that_does_nothing_has_a_closed_form(dtype: torch.dtype, factor: float) -> None:
    """A table that multiplies by ``factor`` and a truth that is its noise, rounded by half a unit at most, evenly spread.

    Two values that are off by r x_0 / 2, r from -eps to eps, are eps^2 x_0^2 / 12 apart in the mean square, half of it each
    one's own, for the table and for the truth alike.
    """
    x0 = torch.randn(16, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    still = as_model_field(FunctionField(lambda t, x: torch.zeros_like(x), CondOT()))
    rows = torch.tensor([[factor, 0.0]], dtype=torch.float64)
    table = NonStationarySolver.from_rows(torch.tensor([0.0, 1.0], dtype=torch.float64), rows)
    limit, nfe = precision_limit(table, Pairs(x0, x0, still, 0.0), dtype, 1e-3, 2.0)
    errors = (factor**2 + 1) / 2 * torch.finfo(dtype).eps ** 2 / 12 * x0.square().mean(1)
    assert limit == pytest.approx(float((10 * torch.log10(4.0 / errors)).mean()), abs=0.05)
    assert nfe == solve(still, x0, 1e-3)[1] > 0


def test_a_finer_precision_allows_more_by_the_ratio_of_the_units() -> None:
    limits = {}
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        pairs = source(dtype, tolerance=1e-6).pairs("test", 32)
        limits[dtype], _ = precision_limit(euler_table(4), pairs, dtype, 1e-6, 2.0)
    assert limits[torch.float16] - limits[torch.bfloat16] == pytest.approx(18.06, abs=4.0)  # three bits more
    assert limits[torch.float32] > limits[torch.float16] + 30


def test_the_limit_is_reproducible_and_follows_the_range() -> None:
    pairs = source(torch.bfloat16).pairs("test", 16)
    first, again = (precision_limit(euler_table(3), pairs, torch.bfloat16, 1e-3, 2.0)[0] for _ in range(2))
    assert first == again
    wider, _ = precision_limit(euler_table(3), pairs, torch.bfloat16, 1e-3, 4.0)
    assert wider - first == pytest.approx(6.0206, abs=1e-3)


def test_a_coarse_network_s_record_says_its_limit_and_that_it_has_been_reached() -> None:
    coarse = train_bns(Problem(source(torch.bfloat16)), 8, pairs=64, iterations=3).training
    assert 30 < coarse["precision_limit"] < 70
    assert coarse["psnr"] > coarse["precision_limit"] - 7
    assert coarse["stopped"].startswith("the network's bfloat16 arithmetic")
    assert f"{coarse['precision_limit']:.1f} dB" in coarse["stopped"]
    far = train_bns(Problem(source(torch.bfloat16)), 1, pairs=64, iterations=3).training
    assert far["psnr"] < far["precision_limit"] - 7
    assert "arithmetic" not in far["stopped"]


def test_models_in_float32_and_float64_get_no_limit() -> None:
    single = digits_gmm().to("cpu", torch.float32)
    for given in (PairSource(single, "digits-gmm", tolerance=1e-2), cross_source(), plane_source(bend)):
        record = train_bns(Problem(given), 2, pairs=16, iterations=1).training
        assert "precision_limit" not in record
        assert "arithmetic" not in record["stopped"]
