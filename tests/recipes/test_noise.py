"""Recipes for networks that are told DDPM's timesteps: DiT, guided-diffusion, denoising-diffusion-pytorch."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnsbench
from bnsbench.flows.model import Model
from tests.recipes.networks import Network, Schedule, data, labelled, per_sample, shaken
from tests.recipes.page import Recipe, export, normal, package, same, sampled

BETAS = torch.linspace(1e-4, 0.02, 1000)
CUMULATIVE = torch.cumprod(1 - BETAS.double(), 0)
TIMESTEPS = [999, 800, 500, 200, 50, 0]


def nodes(last: int) -> str:
    """Return DDIM on the timesteps above, of a schedule of last + 1."""
    return "ddim[grid=nodes:" + ":".join(repr(1 - timestep / last) for timestep in TIMESTEPS[1:-1]) + "]"


def noise_in(x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    alpha, sigma = Schedule(CUMULATIVE)(t)
    denoised = data(x, alpha, sigma, 1.0 if y is None else labelled(y))
    return (x - per_sample(alpha, x) * denoised) / per_sample(sigma, x)


def ddim(epsilon: Any, x: Tensor) -> Tensor:
    """DDIM as its paper has it (eta = 0, nothing clipped), on whole timesteps alone."""
    for timestep, following in pairwise(TIMESTEPS):
        before, after = CUMULATIVE[timestep], CUMULATIVE[following]
        found = epsilon(x, torch.full([len(x)], timestep))
        denoised = (x - (1 - before).sqrt() * found) / before.sqrt()
        x = (after.sqrt() * denoised + (1 - after).sqrt() * found).to(x)
    return x


class DiT(Network):
    """A stand-in: forward(x, t, y) returns noise and variance; forward_with_cfg guides three channels of a doubled batch."""

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        found = noise_in(x, t, y)
        return self.one * torch.cat([found, torch.zeros_like(found)], 1)

    def forward_with_cfg(self, x: Tensor, t: Tensor, y: Tensor, cfg_scale: float) -> Tensor:
        half = x[: len(x) // 2]
        found = self(torch.cat([half, half]), t, y)
        cond, uncond = found[:, :3].chunk(2)
        mixed = uncond + cfg_scale * (cond - uncond)
        return torch.cat([torch.cat([mixed, mixed]), found[:, 3:]], 1)


def test_dit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    net = DiT()
    recipe = Recipe("DiT", dit=net)
    names = recipe.run()
    assert caplog.messages == []
    noise, y = normal(3, 4, 8, 8), torch.tensor([1, 4, 7])

    def by_hand(x: Tensor, t: Tensor) -> Tensor:
        cond, uncond = noise_in(x, t, y), noise_in(x, t, torch.full_like(y, 10))
        return torch.cat([uncond[:, :3] + 4 * (cond - uncond)[:, :3], cond[:, 3:]], 1)

    table = bnsbench.solver(nodes(999), 5, recipe.model)
    same(sampled(recipe.model, table, noise, y), ddim(by_hand, noise))
    plain = bnsbench.wrap(
        epsilon=lambda x, t, y: net(x, t, y)[:, :4],
        betas=names["betas"],
        shape=(4, 8, 8),
        conditions=10,
        null_condition=torch.tensor(10),
    )
    everywhere = table(plain.field(y, 3.0), noise)
    assert float((everywhere - ddim(by_hand, noise))[:, 3].abs().max()) > 0.01  # as the page says: another field
    table, _ = export(recipe.model, "kdiffusion", tmp_path, monkeypatch)
    end = float(recipe.model.path.alpha(1.0))
    same(recipe.run(noise=noise, y=y)["x"].detach() * end, sampled(recipe.model, table, noise, y))


class Diffusion:
    """A stand-in for guided-diffusion's, of which the page uses the betas alone, and k-diffusion their products."""

    def __init__(self) -> None:
        self.betas = np.linspace(1e-4, 0.02, 1000)
        self.alphas_cumprod = np.cumprod(1 - self.betas)


class LearnedVariance(Network):
    def forward(self, x: Tensor, timesteps: Tensor, y: Tensor) -> Tensor:
        found = noise_in(x, timesteps, y)
        return self.one * torch.cat([found, found], 1)


def test_guided_diffusion(caplog: pytest.LogCaptureFixture) -> None:
    recipe = Recipe("guided-diffusion", unet=LearnedVariance(), diffusion=Diffusion())
    recipe.run()
    assert caplog.messages == []
    noise, y = normal(3, 3, 8, 8), torch.tensor([1, 4, 7])
    expected = ddim(lambda x, t: noise_in(x, t, y), noise)
    same(sampled(recipe.model, bnsbench.solver(nodes(999), 5, recipe.model), noise, y), expected)


class Predicting(Network):
    """A network for lucidrains' GaussianDiffusion, whose data predictions lie in [-1, 1]."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.channels, self.out_dim, self.self_condition = kind, 3, 3, False
        self.random_or_learned_sinusoidal_cond = False
        self.schedule: Schedule | None = None

    def forward(self, x: Tensor, t: Tensor, x_self_cond: Tensor | None = None) -> Tensor:
        assert self.schedule is not None
        alpha, sigma = self.schedule(t)
        denoised = data(x, alpha, sigma)
        alpha, sigma = per_sample(alpha, x), per_sample(sigma, x)
        noise = (x - alpha * denoised) / sigma
        return self.one * {"pred_v": alpha * noise - sigma * denoised, "pred_noise": noise, "pred_x0": denoised}[self.kind]


def gaussian_diffusion(network: nn.Module, **options: Any) -> Any:
    made = package("denoising_diffusion_pytorch").GaussianDiffusion(network, image_size=8, **options)
    if isinstance(network, Predicting):
        network.schedule = Schedule(made.alphas_cumprod)
    return made


def lucid(diffusion: Any, model: Model, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return the state of its own DDIM at its last timestep, in [-1, 1], and ours.

    N steps go from timestep 999 by about 1000 / N to 1000 / N - 1, and from there to the data prediction.
    """
    real = torch.randn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda shape, **_: noise if tuple(shape) == tuple(noise.shape) else real(shape))
        states = diffusion.sample(batch_size=len(noise), return_all_timesteps=True)
    steps = torch.linspace(-1, 999, diffusion.sampling_timesteps + 1).int().tolist()[:0:-1]
    end = 1 - steps[-1] / 999
    grid = "ddim[grid=nodes:" + ":".join(repr((1 - step / 999) / end) for step in steps[1:-1]) + "]"
    table = bnsbench.solver(grid, len(steps) - 1, path=model.path, interval=(0.0, end))
    return 2 * states[:, -2] - 1, sampled(model, table, noise)


@pytest.mark.parametrize("objective", ["pred_v", "pred_noise", "pred_x0"])
def test_denoising_diffusion_pytorch(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = "linear" if objective == "pred_noise" else "sigmoid"
    network = Predicting(objective)
    diffusion = gaussian_diffusion(network, objective=objective, beta_schedule=schedule, sampling_timesteps=9)
    recipe = Recipe("denoising-diffusion-pytorch", diffusion=diffusion)
    if objective == "pred_v":
        recipe.run()
        model: Model = recipe.model
    else:
        kind = {"pred_noise": "epsilon", "pred_x0": "x"}[objective]
        model = bnsbench.wrap(
            alphas_cumprod=diffusion.alphas_cumprod,
            shape=(3, 8, 8),
            **{kind: network},  # type: ignore[arg-type]
        )
    assert caplog.messages == []
    noise = normal(3, 3, 8, 8)
    expected, found = lucid(diffusion, model, noise)
    same(found, expected, 1e-4)
    if objective == "pred_v":
        table, _ = export(model, "kdiffusion", tmp_path, monkeypatch)
        end = float(model.path.alpha(1.0))
        same(recipe.run(noise=noise)["x"].detach() * end, sampled(model, table, noise))


def test_its_own_unet_is_told_times_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = package("denoising_diffusion_pytorch")
    diffusion = gaussian_diffusion(shaken(networks.Unet(dim=8, dim_mults=(1, 2))), sampling_timesteps=4)
    recipe = Recipe("denoising-diffusion-pytorch", diffusion=diffusion)
    recipe.run()
    noise = normal(2, 3, 8, 8)
    table, _ = export(recipe.model, "kdiffusion", tmp_path, monkeypatch)
    end = float(recipe.model.path.alpha(1.0))
    same(recipe.run(noise=noise)["x"].detach() * end, sampled(recipe.model, table, noise))


def test_what_clips_is_another_sampler() -> None:
    """Where data predictions leave [-1, 1], the package's DDIM, which clips, is not the ODE's, as the page says."""
    network = Predicting("pred_x0")
    diffusion = gaussian_diffusion(network, objective="pred_x0", beta_schedule="linear", sampling_timesteps=9)
    with torch.no_grad():
        network.one.fill_(3.0)
    model = bnsbench.wrap(x=network, alphas_cumprod=diffusion.alphas_cumprod, shape=(3, 8, 8), check=False)
    noise = normal(3, 3, 8, 8)
    expected, found = lucid(diffusion, model, noise)
    assert float((found - expected).abs().max()) > 0.3
