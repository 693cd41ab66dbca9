"""What a class-conditional network is trained to predict on which path, and the loss by which it learns that."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from bnsbench.flows.paths import Path
from bnsbench.flows.predictions import Prediction

LOG_SNR_SCALE = 5.0


@dataclass(frozen=True)
class Variant:
    """The setting of one network: its path, its prediction type, the end of its times, and the clock that it gets."""

    path: Path
    prediction: Prediction
    end: float = 1.0
    reads_log_snr: bool = False

    def clock(self, t: Tensor) -> Tensor:
        """Return the network's input for time t, about -1 at noise and 1 at data, in float64."""
        if self.reads_log_snr:
            return self.path.log_snr(t) / LOG_SNR_SCALE
        return 2.0 * t.to(torch.float64) - 1.0


class ConditionalNetwork(Protocol):
    """A prediction network, of which ``null`` is the label that stands for no condition."""

    null: int

    def __call__(self, clock: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """Return the prediction [n, ...] for clocks [n], states [n, ...] and labels [n]."""


def variant_fingerprint(variant: Variant, weights: str) -> str:
    """Return the hash of the weights' hash, the path, the prediction type, the interval and the clock."""
    facts = [weights, variant.path.to_dict(), variant.prediction, variant.end, variant.reads_log_snr]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def prediction_loss(
    network: ConditionalNetwork, generator: torch.Generator, x1: Tensor, labels: Tensor, *, variant: Variant, drop: float
) -> Tensor:
    """Return the mean squared error of the prediction on one batch at stratified uniform times.

    The target at x_t = sigma x_0 + alpha x_1 is the velocity sigma' x_0 + alpha' x_1, the noise x_0 or
    v = alpha x_0 - sigma x_1, as the variant predicts.

    Args:
        network: The network in training.
        generator: Of the noise, the times and the dropped labels; all is drawn on its device.
        x1: Samples of the data [n, ...].
        labels: Their classes [n].
        variant: Path, prediction type and clock.
        drop: The share of dropped labels.
    """
    n, device = len(x1), generator.device

    def uniform() -> Tensor:
        return torch.rand(n, generator=generator, device=device)

    def per_sample(coefficients: Tensor) -> Tensor:
        return coefficients.float().reshape(n, *(1,) * (x1.ndim - 1))

    x0 = torch.randn(x1.shape, generator=generator, device=device)
    t = variant.end * (torch.arange(n, device=device) + uniform()) / n
    alpha, sigma = per_sample(variant.path.alpha(t)), per_sample(variant.path.sigma(t))
    dropped = uniform() < drop
    prediction = network(variant.clock(t).float(), sigma * x0 + alpha * x1, labels.masked_fill(dropped, network.null))
    if variant.prediction == "velocity":
        d_alpha, d_sigma = per_sample(variant.path.d_alpha(t)), per_sample(variant.path.d_sigma(t))
        return mse_loss(prediction, d_sigma * x0 + d_alpha * x1)
    return mse_loss(prediction, x0 if variant.prediction == "epsilon" else alpha * x0 - sigma * x1)
