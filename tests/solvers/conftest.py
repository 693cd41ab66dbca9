"""What the tests of the solvers share: a field with a known posterior, and solvers by name."""

from __future__ import annotations

import pytest
import torch

from bnsbench.flows.fields import FunctionField
from tests.solvers.names import solver_by_name

MEANS = torch.tensor([[1.0, 0.6], [-0.8, 0.4], [0.1, -1.0]], dtype=torch.float64)
SPREAD = 0.5


def mixture_field(path, interval=(0.0, 1.0)):
    """The exact velocity for data from three Gaussians in the plane: not linear in x, nor in t, and finite everywhere."""

    def velocity(t, x):
        alpha, sigma, d_alpha, sigma_d_sigma = (
            float(part(t)) for part in (path.alpha, path.sigma, path.d_alpha, path.sigma_d_sigma)
        )
        variance = alpha**2 * SPREAD**2 + sigma**2
        means = MEANS.to(x)
        distance = x[:, None] - alpha * means
        share = torch.softmax(-distance.square().sum(-1) / (2 * variance), 1)[..., None]
        data = (share * (means + alpha * SPREAD**2 / variance * distance)).sum(1)
        noise_by_sigma = (share * distance / variance).sum(1)
        return sigma_d_sigma * noise_by_sigma + d_alpha * data

    return FunctionField(velocity, path, interval)


def denoised(x, sigma):
    """The same data's posterior mean for x / alpha at the noise level sigma / alpha, whatever the path."""
    variance = SPREAD**2 + sigma**2
    distance = x[:, None] - MEANS
    share = torch.softmax(-distance.square().sum(-1) / (2 * variance), 1)[..., None]
    return (share * (MEANS + SPREAD**2 / variance * distance)).sum(1)


def initial_states(path, interval=(0.0, 1.0), count=12):
    noise = torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    return float(path.sigma(interval[0])) * noise


@pytest.fixture(scope="session")
def mixture():
    return mixture_field


@pytest.fixture(scope="session")
def denoise():
    return denoised


@pytest.fixture(scope="session")
def start():
    return initial_states


@pytest.fixture(scope="session")
def solver():
    return solver_by_name


@pytest.fixture(scope="session")
def deviation():
    """Relative deviation of two results."""
    return lambda found, expected: float((found - expected).norm() / expected.norm())
