"""What the tests of the schedulers share: a network, its velocity for the engine, and the loop of every pipeline."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bnsbench.paths import CondOT, DiscreteVP, Path
from bnsbench.plugin import FunctionField, NonStationarySolver, SolverArtefact, combine
from bnsbench_diffusers.testing.images import unet2d


class Waves(nn.Module):
    """A smooth network of a vector and a timestep, neither linear in the one nor in the other."""

    def __init__(self, size: int = 6) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(size + 2, 24), nn.Linear(24, size)
        self.double()

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        phase = timestep.to(x.dtype).reshape(-1, 1).expand(len(x), 1) / 1000
        return self.second(torch.tanh(self.first(torch.cat([x, torch.sin(3 * phase), phase], dim=1))))


def velocity_field(network, path: Path, prediction: str, interval=(0.0, 1.0)) -> FunctionField:
    """The velocity of a network told diffusers' timesteps: from x and the output, written out per prediction type."""

    def velocity(t: Tensor, x: Tensor) -> Tensor:
        alpha, sigma, d_alpha, d_sigma = (part(t) for part in (path.alpha, path.sigma, path.d_alpha, path.d_sigma))
        told = path.timestep(t) if isinstance(path, DiscreteVP) else (1000 if isinstance(path, CondOT) else 1) * (1 - t)
        output = network(x, told.to(torch.promote_types(x.dtype, torch.float32)))
        if prediction == "flow_prediction":
            return -output
        noise_and_data = {
            "epsilon": lambda: (output, combine(1 / alpha, x, -sigma / alpha, output)),
            "sample": lambda: (combine(1 / sigma, x, -alpha / sigma, output), output),
            "v_prediction": lambda: (combine(sigma, x, alpha, output), combine(alpha, x, -sigma, output)),
        }
        noise, data = noise_and_data[prediction]()
        return combine(d_sigma, noise, d_alpha, data)

    return FunctionField(velocity, path, interval)


def perturbed_table(nfe: int, interval=(0.0, 1.0), seed: int = 5) -> NonStationarySolver:
    """A table as training makes them: Euler's steps on uneven times, with changes everywhere."""
    generator = torch.Generator().manual_seed(seed)
    times = interval[0] + (interval[1] - interval[0]) * torch.linspace(0, 1, nfe + 1, dtype=torch.float64) ** 1.2
    steps = times.diff().expand(nfe, nfe).tril()
    b = steps + 0.02 * torch.randn(nfe, nfe, generator=generator, dtype=torch.float64).tril()
    return NonStationarySolver(times, 1 + 0.01 * torch.randn(nfe, generator=generator, dtype=torch.float64), b)


def artefact(path: Path, nfe: int = 5, interval=(0.0, 1.0)) -> SolverArtefact:
    return SolverArtefact(
        solver=perturbed_table(nfe, interval),
        path=path,
        interval=interval,
        model="tiny",
        fingerprint="f" * 64,
        guidance=0.5,
        name="bns",
    )


@torch.no_grad()
def loop(scheduler, network, noise: Tensor, steps: int) -> Tensor:
    """What every pipeline does with its scheduler."""
    scheduler.set_timesteps(steps)
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.step(network(scheduler.scale_model_input(x, t), t), t, x).prev_sample
    return x


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(4, 6, dtype=torch.float64)


@pytest.fixture
def network() -> Waves:
    return Waves()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, dtype=torch.float64)


@pytest.fixture(scope="session")
def unet():
    """A U-Net of diffusers in float64, as (x, timestep) -> output."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        made = unet2d().double().eval()
    return lambda x, timestep: made(x, timestep).sample


@pytest.fixture(scope="session")
def field_of():
    return velocity_field


@pytest.fixture(scope="session")
def artefact_for():
    return artefact


@pytest.fixture(scope="session")
def run_loop():
    return loop


@pytest.fixture(scope="session")
def deviation():
    """Relative deviation of two results."""
    return lambda found, expected: float((found.double() - expected.double()).norm() / expected.double().norm())
