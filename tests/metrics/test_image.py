from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from bnsbench.errors import DivergedError
from bnsbench.flows.psnr import psnr_per_sample
from bnsbench.metrics.image import Psnr, mean_interval


def noisy(n: int = 20, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    truth = torch.rand(n, 1, 8, 8, generator=g, dtype=dtype) * 2 - 1
    sizes = torch.logspace(-4, 0, n, dtype=dtype)[:, None, None, None]
    return truth + sizes * torch.randn(truth.shape, generator=g, dtype=dtype), truth


def test_summary_is_that_of_the_per_sample_values(sample_set):
    samples, truth = noisy()
    result = Psnr()(sample_set(samples, truth))
    values = np.array(result.per_sample)
    assert result.value == pytest.approx(values.mean())
    assert result.details["median"] == pytest.approx(np.median(values))
    assert result.details["p05"] == pytest.approx(np.quantile(values, 0.05))
    assert (result.details["n"], result.details["data_range"]) == (20, 2.0)
    interval = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))


def test_interval_covers_the_mean_as_often_as_it_says():
    g = torch.Generator().manual_seed(0)
    draws = torch.randn(2000, 12, generator=g, dtype=torch.float64)
    covered = [low < 0 < high for low, high in map(mean_interval, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("dtype", "cap"), [(torch.float32, 138.47), (torch.float64, 313.07), (torch.bfloat16, 42.14)])
def test_identical_samples_have_the_rounding_floor_of_their_dtype(sample_set, dtype, cap):
    truth = noisy(4, torch.float32)[1].to(dtype)
    result = Psnr()(sample_set(truth.clone(), truth))
    assert result.value == pytest.approx(cap, abs=0.01)
    assert result.per_sample == pytest.approx([cap] * 4, abs=0.01)


def test_constant_error_has_the_textbook_value(sample_set):
    truth = torch.zeros(3, 1, 8, 8, dtype=torch.float64)
    assert Psnr()(sample_set(truth + 0.2, truth)).value == pytest.approx(20 * math.log10(2 / 0.2))


def test_single_sample_has_a_value_and_no_interval(sample_set):
    samples, truth = noisy(1)
    result = Psnr()(sample_set(samples, truth))
    assert math.isfinite(result.value)
    assert (result.low, result.high) == (None, None)


def test_latents_count_and_not_what_they_decode_to(sample_set):
    samples, truth = noisy()
    result = Psnr()(sample_set(samples.clamp(-1, 1), truth, latents=2 * truth, truth_latents=truth))
    assert result.value == pytest.approx(float(psnr_per_sample(2 * truth, truth, 2.0).mean()))


def test_diverged_samples_raise(sample_set):
    samples, truth = noisy()
    samples[3, 0, 0, 0] = math.nan
    with pytest.raises(DivergedError, match="1 of 20"):
        Psnr()(sample_set(samples, truth))
