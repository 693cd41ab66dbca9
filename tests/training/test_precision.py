from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bnsbench.flows.model import Model
from bnsbench.flows.paths import CondOT
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.training.precision import precision_limit
from bnsbench.training.problem import Problem
from bnsbench.training.recipes.bns import train_bns
from bnsbench.truth.pairs import PairSource
from bnsbench.truth.psnr import psnr_per_sample
from tests.training.toys import bend, cross_source, euler_table, plane_source


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
