"""Recipes for networks that return data: EDM and EDM2, k-diffusion, azula, PhysicsNeMo."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import bnsbench
from tests.recipes.networks import Network, Schedule, data, labelled, per_sample
from tests.recipes.page import Recipe, export, normal, package, same, sampled

CUMULATIVE = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000).double(), 0)


def karras(steps: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Tensor:
    """Noise levels of Karras et al. 2022, Eq. 5, without the last step to 0, in float64."""
    return torch.linspace(high ** (1 / rho), low ** (1 / rho), steps, dtype=torch.float64) ** rho


def heun(denoiser: Any, x: Tensor, sigmas: Tensor) -> Tensor:
    """Algorithm 1 of Karras et al. 2022 between noise levels, in float64."""
    x = x.double()
    for sigma, following in pairwise(sigmas):
        slope = (x - denoiser(x.float(), sigma.float().expand(len(x))).double()) / sigma
        ahead = x + (following - sigma) * slope
        back = (ahead - denoiser(ahead.float(), following.float().expand(len(x))).double()) / following
        x = x + (following - sigma) * (slope + back) / 2
    return x


class EDM(Network):
    """A stand-in for networks of EDM and EDM2: D(x, sigma, class_labels), one-hot rows or zeros, float32 inside."""

    sigma_min, sigma_max = 0.0, math.inf

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        x, sigma = x.float(), sigma.float().reshape(-1)
        label = 10 * torch.ones(len(x)) if class_labels is None else self.number(class_labels)
        return self.one * data(x, 1.0, sigma, labelled(label))

    @staticmethod
    def number(rows: Tensor) -> Tensor:
        return torch.where(rows.sum(1) == 0, 10, rows.argmax(1))


def test_edm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    net = EDM()
    recipe = Recipe("EDM and EDM2", net=net)
    names = recipe.run()
    assert caplog.messages == []
    noise, rows = normal(3, 3, 8, 8), names["labels"][[1, 4, 7]]
    with torch.no_grad():
        expected = heun(lambda x, sigma: net(x, sigma, rows), 80 * noise, karras(6))
    same(sampled(recipe.model, bnsbench.solver("edm-heun", 10, recipe.model), noise, rows), expected)
    guided = 3 * net(80 * noise, torch.full([3], 80.0), rows) - 2 * net(80 * noise, torch.full([3], 80.0))
    field = recipe.model.field(rows, 2.0)
    slope = float(recipe.model.path.d_sigma(0.0))
    torch.testing.assert_close(field(torch.tensor(0.0), 80 * noise) * 80 / slope, 80 * noise - guided.detach())
    table, _ = export(recipe.model, "kdiffusion", tmp_path, monkeypatch)
    found = recipe.run(noise=noise.double(), class_labels=rows)["images"].detach()
    same(found, sampled(recipe.model, table, noise.double(), rows))


class Noise(Network):
    """A DDPM network for k-diffusion: the noise at fractional timesteps."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = Schedule(CUMULATIVE)(t)
        denoised = data(x, alpha, sigma)
        return self.one * (x - per_sample(alpha, x) * denoised) / per_sample(sigma, x)


def test_k_diffusion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    sampling = package("k_diffusion.sampling")
    recipe = Recipe("k-diffusion", net=Noise().double(), alphas_cumprod=CUMULATIVE)
    names = recipe.run()
    assert caplog.messages == []
    model, den, noise = recipe.model, names["den"], normal(5, 2).double()
    low, high = float(den.sigma_min), float(den.sigma_max)
    sigmas = sampling.get_sigmas_karras(9, low, high)[:-1]
    for name, sampler, nfe in (("euler", "sample_euler", 8), ("edm-heun", "sample_heun", 16)):
        table = bnsbench.solver(f"{name}[grid=edm]", nfe, model)
        own = getattr(sampling, sampler)(den, high * noise, sigmas, disable=True)
        same(sampled(model, table, noise), own, 1e-4)
    table, _ = export(model, "kdiffusion", tmp_path, monkeypatch)
    same(recipe.run(noise=noise)["x"].detach(), sampled(model, table, noise))
    names = recipe.run()
    own = sampling.sample_lms(den, high * noise, sampling.get_sigmas_karras(9, low, high)[:-1], disable=True)
    same(sampled(model, names["table"], noise), own, 1e-4)


def test_denoisers_of_k_diffusion_for_v(caplog: pytest.LogCaptureFixture) -> None:
    external = package("k_diffusion.external")

    class Velocity(Network):
        """v at the time atan(sigma) 2 / pi, for VDenoiser."""

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            alpha, sigma = torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)
            denoised = data(x, alpha, sigma)
            return self.one * (per_sample(alpha, x) * x - denoised) / per_sample(sigma, x)

    den, x, sigma = external.VDenoiser(Velocity()).eval(), normal(3, 2), torch.tensor([0.05, 1.0, 40.0])
    torch.testing.assert_close(den(x, sigma), data(x, 1.0, sigma), rtol=1e-4, atol=1e-4)
    bnsbench.wrap(denoiser=den, sigma_min=0.01, sigma_max=80.0, shape=(2,))
    model = bnsbench.wrap(v=den.inner_model, path="cosine", time="1 to 0", shape=(2,), interval=(0.01, 0.99))
    t = torch.tensor(0.3)
    alpha, level = model.path.alpha(t), model.path.sigma(t)
    found = alpha * x - level * model.predict(t, x, None)
    expected = den(x / alpha.float(), (level / alpha).float().expand(3))
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-4)
    assert caplog.messages == []


def azula_denoiser(schedule: Any) -> Any:
    base = package("azula.denoise")

    class Denoiser(base.Denoiser):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.one, self.schedule = torch.nn.Parameter(torch.ones(())), schedule
            self.eval()

        def forward(self, x_t: Tensor, t: Tensor) -> Any:
            return base.DiracPosterior(mean=self.one * data(x_t, *self.schedule(t)))

    return Denoiser()


@pytest.mark.parametrize("name", ["VPSchedule", "CosineSchedule", "RectifiedSchedule", "VESchedule"])
def test_azula(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    noises, samplers = package("azula.noise"), package("azula.sample")
    denoiser = azula_denoiser(getattr(noises, name)())
    recipe = Recipe("azula", denoiser=denoiser)
    recipe.run()
    assert caplog.messages == []
    model, noise = recipe.model, normal(5, 2)
    begin = float(model.path.sigma(0.0))
    with torch.no_grad():
        own = samplers.DDIMSampler(denoiser, steps=12, silent=True)(begin * noise)
    same(sampled(model, bnsbench.solver("ddim", 12, model), noise), own, 1e-4)
    table, _ = export(model, "kdiffusion", tmp_path, monkeypatch)
    with torch.no_grad():
        found = recipe.run(noise=noise.double())["x"] * float(model.path.alpha(1.0))
    same(found, sampled(model, table, noise.double()))


def physicsnemo_or_stand_in(patch: pytest.MonkeyPatch) -> Any:
    """Return PhysicsNeMo's EDM schedule, or what the recipe uses of it, written from its interface."""
    try:
        schedulers = package("physicsnemo.diffusion.noise_schedulers")
        package("physicsnemo.diffusion.samplers")
    except pytest.skip.Exception:
        for name in ("physicsnemo", "physicsnemo.diffusion"):
            patch.setitem(sys.modules, name, ModuleType(name))
        samplers = ModuleType("physicsnemo.diffusion.samplers")
        samplers.sample = stand_in  # type: ignore[attr-defined]
        patch.setitem(sys.modules, samplers.__name__, samplers)
        return None
    return schedulers


def stand_in(denoiser: Any, x: Tensor, scheduler: Any, steps: int, *, solver: Any, time_steps: Tensor) -> Tensor:
    """sample(denoiser, xN, noise_scheduler, num_steps, solver, time_steps): one step(x, t_cur, t_next) a time."""
    for now, following in pairwise(time_steps):
        x = solver.step(x, now.expand(len(x)), following.expand(len(x)))
    return x


def test_physicsnemo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    schedulers = physicsnemo_or_stand_in(monkeypatch)

    class Predictor(Network):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.one * data(x, 1.0, t)

    predictor = Predictor()
    recipe = Recipe("NVIDIA PhysicsNeMo", predictor=predictor)
    recipe.run()
    assert caplog.messages == []
    model, noise = recipe.model, normal(3, 3, 8, 8)
    if schedulers is not None:
        sample = package("physicsnemo.diffusion.samplers").sample
        scheduler = schedulers.EDMNoiseScheduler()
        denoiser = scheduler.get_denoiser(x0_predictor=predictor)
        for name, nfe in (("euler", 8), ("heun", 16)):
            with torch.no_grad():
                own = sample(denoiser, 80 * noise, scheduler, 0, solver=name, time_steps=karras(9))
            ours = bnsbench.solver(f"{name if name == 'euler' else 'edm-heun'}[grid=edm]", nfe, model)
            same(sampled(model, ours, noise), own, 1e-4)
    table, _ = export(model, "kdiffusion", tmp_path, monkeypatch)
    with torch.no_grad():
        found = recipe.run(noise=noise.double(), scheduler=None)["x"]
    same(found, sampled(model, table, noise.double()))


def test_vp_of_physicsnemo() -> None:
    """The line of the page for other schedulers."""
    schedulers = package("physicsnemo.diffusion.noise_schedulers")
    scheduler = schedulers.VPNoiseScheduler()

    class Predictor(Network):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.one * data(x, scheduler.alpha(t), scheduler.sigma(t))

    predictor = Predictor()
    model = bnsbench.wrap(
        x=predictor,
        time="1 to 0",
        path=(lambda t: scheduler.alpha(1 - t), lambda t: scheduler.sigma(1 - t)),
        interval=(0.0, 0.999),
        shape=(2,),
    )
    x, t = normal(3, 2), torch.tensor([0.9, 0.5, 0.1])
    slope = scheduler.get_denoiser(x0_predictor=predictor)(x, t)
    torch.testing.assert_close(model.field(None)(1 - t.double(), x), -slope.detach(), rtol=1e-3, atol=1e-3)
