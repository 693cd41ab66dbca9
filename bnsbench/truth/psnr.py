"""Peak signal-to-noise ratio between end states of the same noise, sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor


def decibels(mse: Tensor, data_range: float) -> Tensor:
    """Return 10 log10(range^2 / MSE) in dB for mean squared errors of any shape, in float64."""
    return 10.0 * torch.log10(data_range**2 / mse.double())


def psnr_per_sample(samples: Tensor, truth: Tensor, data_range: float) -> Tensor:
    """Return 10 log10(range^2 / MSE_s) in dB for each sample s of samples and truth [n, ...], float64 [n].

    The root mean squared error is not taken below range * eps of the coarser dtype, to which the states are rounded:
    identical samples have -20 log10(eps), 138.5 dB in float32 and 313.1 dB in float64.

    Args:
        samples: End states of a solver [n, ...].
        truth: The exact end states from the same noise, shaped like them.
        data_range: The data's largest value less the smallest.
    """
    floor = data_range * max(torch.finfo(samples.dtype).eps, torch.finfo(truth.dtype).eps)
    mse = (samples.double() - truth.double()).flatten(1).square().mean(dim=1)
    return decibels(mse.clamp_min(floor**2), data_range)
