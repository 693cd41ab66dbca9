from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from bnsbench.truth.psnr import decibels, psnr_per_sample


def noisy(n: int = 20, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    truth = torch.rand(n, 1, 8, 8, generator=g, dtype=dtype) * 2 - 1
    sizes = torch.logspace(-4, 0, n, dtype=dtype)[:, None, None, None]
    return truth + sizes * torch.randn(truth.shape, generator=g, dtype=dtype), truth


@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_each_sample_agrees_with_scikit_image(data_range):
    samples, truth = noisy()
    expected = [
        peak_signal_noise_ratio(t.double().numpy(), s.double().numpy(), data_range=data_range)
        for s, t in zip(samples, truth, strict=True)
    ]
    np.testing.assert_allclose(psnr_per_sample(samples, truth, data_range).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize(("dtype", "cap"), [(torch.float32, 138.47), (torch.float64, 313.07)])
def test_identical_samples_have_the_rounding_floor(dtype, cap):
    truth = torch.ones(2, 3, dtype=dtype)
    assert psnr_per_sample(truth, truth, 2.0).tolist() == pytest.approx([cap, cap], abs=0.01)


def test_decibels_of_an_error():
    assert decibels(torch.tensor([4.0, 0.04]), 2.0).tolist() == pytest.approx([0.0, 20.0])


def test_the_floor_is_that_of_the_coarser_precision():
    truth = torch.ones(1, 3, dtype=torch.float64)
    assert psnr_per_sample(truth.float(), truth, 2.0).item() == pytest.approx(138.47, abs=0.01)
    assert psnr_per_sample(truth, truth.float(), 2.0).item() == pytest.approx(138.47, abs=0.01)
