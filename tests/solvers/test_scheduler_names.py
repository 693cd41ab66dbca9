"""Diffusers' schedulers by the names that specs give them, with their default settings and on our nodes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    KDPM2DiscreteScheduler,
    LMSDiscreteScheduler,
    SASolverScheduler,
    UniPCMultistepScheduler,
)

from bnsbench.flows.paths import EDM, CondOT, DiscreteVP
from bnsbench.flows.predictions import to_noise
from tests.solvers.names import FINITE, ours
from tests.solvers.schedulers import prepare, run

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`algorithm_type:FutureWarning"),
]

ALONE = {
    "EDMEulerScheduler (diffusers)",
    "DDIMScheduler (diffusers)",
    "IPNDMScheduler (diffusers)",
    "FlowMatchEulerDiscreteScheduler (diffusers)",
}

VARIANCE_PRESERVING: dict[str, Callable[..., Any]] = {
    "DPMSolverMultistepScheduler (diffusers)": DPMSolverMultistepScheduler,
    "DPMSolverMultistepScheduler[solver_order=3] (diffusers)": functools.partial(
        DPMSolverMultistepScheduler, solver_order=3
    ),
    "DPMSolverMultistepScheduler[lower_order_final=false,solver_type=heun] (diffusers)": functools.partial(
        DPMSolverMultistepScheduler, solver_type="heun", lower_order_final=False
    ),
    "UniPCMultistepScheduler (diffusers)": UniPCMultistepScheduler,
    "SASolverScheduler at tau 0 (diffusers)": functools.partial(SASolverScheduler, tau_func=lambda t: torch.zeros(())),
    "DEISMultistepScheduler[lower_order_final=false] (diffusers): deis[order=2,variable=logsnr]": functools.partial(
        DEISMultistepScheduler, lower_order_final=False
    ),
    "DPMSolverSinglestepScheduler (diffusers)": DPMSolverSinglestepScheduler,
}


@pytest.mark.parametrize("entry", VARIANCE_PRESERVING)
def test_diffusers_on_variance_preserving_paths(mixture, start, deviation, entry):
    path, interval = FINITE[0]
    field, x0 = mixture(path, interval), start(path, interval)
    table = ours(entry, field, 8)
    made = VARIANCE_PRESERVING[entry]
    scheduler = made(final_sigmas_type="sigma_min") if "DPM" in entry else made()
    prepare(scheduler, path, table.times)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0)) < 1e-6


def nodes_twice(values):
    """Noise levels as diffusers keeps them for two evaluations a step: inner ones twice."""
    return torch.cat([values[:1], values[1:-1].repeat_interleave(2), values[-1:], values[-1:]])


VARIANCE_EXPLODING: dict[str, tuple[Callable[[], Any], int]] = {
    "EulerDiscreteScheduler (diffusers)": (EulerDiscreteScheduler, 1),
    "LMSDiscreteScheduler (diffusers): deis[order=4,variable=rho]": (LMSDiscreteScheduler, 1),
    "HeunDiscreteScheduler (diffusers)": (HeunDiscreteScheduler, 2),
    "KDPM2DiscreteScheduler (diffusers)": (KDPM2DiscreteScheduler, 2),
}


@pytest.mark.parametrize("entry", VARIANCE_EXPLODING)
def test_diffusers_on_sigma_by_alpha(mixture, start, deviation, entry):
    """These keep x / alpha, and take the noise prediction of x."""
    made, evaluations = VARIANCE_EXPLODING[entry]
    path, interval = FINITE[0]
    field, x0 = mixture(path, interval), start(path, interval)
    table = ours(entry, field, 6 * evaluations)
    nodes = table.times[::evaluations]
    scheduler = made()
    prepare(scheduler, path, nodes)
    if evaluations == 2:
        levels = path.sigma(nodes) / path.alpha(nodes)
        scheduler.sigmas = nodes_twice(levels)
        middles = (levels[:-1] * levels[1:]).sqrt()
        scheduler.sigmas_interpol = torch.cat([middles[:1], middles.repeat_interleave(2), middles[-1:]])
        scheduler.timesteps = torch.arange(12, 0, -1, dtype=torch.float64)
    scheduler.is_scale_input_called = True
    x = x0 / path.alpha(interval[0])
    for t, timestep in zip(table.times[:-1], scheduler.timesteps, strict=True):
        unscaled = path.alpha(t) * x
        noise = to_noise(path, t, unscaled, field(t, unscaled))
        x = scheduler.step(noise, timestep, x).prev_sample
    # LMS integrates its polynomials to a relative error of 1e-4.
    assert deviation(table(field, x0), path.alpha(interval[1]) * x) < (1e-4 if "LMS" in entry else 1e-6)


def test_edm_euler_scheduler(mixture, start, denoise, deviation):
    """It takes what EDM's network predicts, from which its preconditioning makes the data prediction."""
    path = EDM(0.002, 80.0)
    field, x0 = mixture(path), start(path)
    table = ours("EDMEulerScheduler (diffusers)", field, 8)
    scheduler: Any = EDMEulerScheduler(sigma_data=0.5)
    prepare(scheduler, path, table.times)
    scheduler.is_scale_input_called = True
    x = x0
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        skip = 0.25 / (sigma**2 + 0.25)
        out = sigma * 0.5 / (sigma**2 + 0.25).sqrt()
        x = scheduler.step((denoise(x, float(sigma)) - skip * x) / out, timestep, x).prev_sample
    assert deviation(table(field, x0), x) < 1e-6


def test_ddim_scheduler(mixture, start, deviation):
    """Nine of ten steps; the tenth leaves the schedule for ``final_alpha_cumprod``."""
    scheduler: Any = DDIMScheduler(clip_sample=False)
    scheduler.alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    scheduler.set_timesteps(10)
    path = DiscreteVP(scheduler.alphas_cumprod.tolist())
    field = mixture(path, (1 - 900 / 999, 1.0))
    table = ours("DDIMScheduler (diffusers)", field, 9)
    x0 = x = start(path, field.interval)
    for t, timestep in zip(table.times[:-1], scheduler.timesteps[:-1], strict=True):
        x = scheduler.step(to_noise(path, t, x, field(t, x)), int(timestep), x).prev_sample
    assert deviation(table(field, x0), x) < 1e-9


def test_ipndm_scheduler(mixture, start, deviation):
    path, interval = FINITE[0]
    field, x0 = mixture(path, interval), start(path, interval)
    table = ours("IPNDMScheduler (diffusers)", field, 9)
    scheduler: Any = IPNDMScheduler()
    scheduler.set_timesteps(9)
    scheduler.alphas, scheduler.betas = path.alpha(table.times), path.sigma(table.times)
    scheduler.timesteps = torch.arange(9, 0, -1)
    scheduler.set_begin_index(0)

    def v(t, x, u):
        return (to_noise(path, t, x, u) - path.sigma(t) * x) / path.alpha(t)

    assert deviation(table(field, x0), run(scheduler, field, table.times, x0, v)) < 1e-10


def test_flow_match_euler_scheduler(mixture, start, deviation):
    field, x0 = mixture(CondOT()), start(CondOT())
    table = ours("FlowMatchEulerDiscreteScheduler (diffusers)", field, 8)
    scheduler: Any = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / 8, 8).tolist())
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0, lambda t, x, u: -u)) < 1e-6
