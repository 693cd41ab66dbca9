"""Fields on which trainings get stuck: exact mixtures of few dimensions, elongated or nearly singular, on any path.

A plugin of one file, so that the benchmarks name them as they name the package's own models.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bnsbench.models.mixtures import Mixture, MixtureModel, mixture_path
from bnsbench.plugin import ModelSpec, hookimpl


@hookimpl
def bnsbench_models() -> Iterator[ModelSpec]:
    """Yield the models; ``path`` is read as that of the package's mixtures."""
    for name, summary in (
        ("three1", "Three Gaussians on a line."),
        ("long8", "Six elongated Gaussians in 8 dimensions, deviations 0.5 to 0.01."),
        ("thin32", "Eight nearly singular Gaussians in 32 dimensions, deviations 0.3 and 0.0003."),
    ):
        target = f"{__name__}:{name}"
        yield ModelSpec(name, target, summary, version="1", modality="points", parameters={"path": "condot"})


def three1(path: str = "condot") -> MixtureModel:
    """Return three Gaussians on a line."""
    means = torch.tensor([[-1.0], [0.2], [0.9]], dtype=torch.float64)
    factors = torch.tensor([0.1, 0.05, 0.2], dtype=torch.float64).view(3, 1, 1)
    return _model(means, factors, path)


def long8(path: str = "condot") -> MixtureModel:
    """Return six elongated Gaussians in 8 dimensions."""
    return _rotated(6, 0.6 * torch.ones(8, dtype=torch.float64), torch.logspace(-0.3, -2, 8, dtype=torch.float64), path)


def thin32(path: str = "condot") -> MixtureModel:
    """Return eight nearly singular Gaussians in 32 dimensions."""
    deviations = torch.cat([torch.full((4,), 0.3), torch.full((28,), 3e-4)]).double()
    return _rotated(8, 0.5 * torch.ones(32, dtype=torch.float64), deviations, path)


def _rotated(count: int, spread: Tensor, deviations: Tensor, path: str) -> MixtureModel:
    """Return Gaussians with random means and axes, whose deviations along the axes are given."""
    size = len(deviations)
    generator = torch.Generator().manual_seed(size)
    means = spread * torch.randn(count, size, generator=generator, dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(count, size, size, generator=generator, dtype=torch.float64))[0]
    covariances = axes @ torch.diag(deviations.square()) @ axes.mT
    return _model(means, torch.linalg.cholesky(0.5 * (covariances + covariances.mT)), path)


def _model(means: Tensor, factors: Tensor, path: str) -> MixtureModel:
    made, (begin, end) = mixture_path(path)
    weights = torch.full((len(means),), 1 / len(means), dtype=torch.float64)
    return MixtureModel(Mixture(weights, means, factors), made, (means.shape[1],), end, begin)
