"""Small networks that know the best prediction for data around two points, and real ones with random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POINT, WIDTH = 0.5, 0.1
"""Every number of the data is POINT or -POINT, plus a Gaussian of this width."""


def per_sample(values: Tensor | float, x: Tensor) -> Tensor:
    """Return one value for each sample of x as something to multiply it by."""
    return torch.as_tensor(values).to(x).expand(len(x)).reshape(-1, *(1,) * (x.ndim - 1))


def data(x: Tensor, alpha: Tensor | float, sigma: Tensor | float, weight: Tensor | float = 1.0) -> Tensor:
    """E[data | alpha data + sigma noise = x] for each number, by Bayes' rule; ``weight`` moves the two points."""
    alpha, sigma, point = per_sample(alpha, x), per_sample(sigma, x), POINT * per_sample(weight, x)
    variance = (alpha * WIDTH) ** 2 + sigma**2
    return (alpha * WIDTH**2 * x + sigma**2 * point * torch.tanh(alpha * point * x / variance)) / variance


class Network(nn.Module):
    """A network in evaluation mode, with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))
        self.eval()


class Schedule:
    """alpha and sigma of a DDPM schedule at fractional timesteps, linear in log SNR between whole ones."""

    def __init__(self, alphas_cumprod: Tensor) -> None:
        cumulative = alphas_cumprod.double()
        self.log_snr = 0.5 * (cumulative.log() - torch.log1p(-cumulative))

    def __call__(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        below = timestep.double().floor().long().clamp(0, len(self.log_snr) - 2)
        part = timestep - below
        log_snr = (1 - part) * self.log_snr[below] + part * self.log_snr[below + 1]
        return torch.sigmoid(2 * log_snr).sqrt(), torch.sigmoid(-2 * log_snr).sqrt()


def labelled(label: Tensor) -> Tensor:
    """Return what a label weighs: 1 for none (10), else between 0.9 and 1.08."""
    return torch.where(label == 10, 1.0, 0.9 + 0.02 * label)


def shaken(network: nn.Module, scale: float = 0.05) -> nn.Module:
    """Return a network with random weights, since those of many end in zeros when they are new."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return network.eval()
