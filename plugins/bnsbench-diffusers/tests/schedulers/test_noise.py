"""Noise levels that schedulers are given, against those that they then have."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch

from bnsbench.paths import VP, DiscreteVP
from bnsbench_diffusers.schedulers.classes import find_class
from bnsbench_diffusers.schedulers.drivers import driver_for
from bnsbench_diffusers.schedulers.noise import noise_rates

pytestmark = pytest.mark.filterwarnings("ignore")

SCHEDULES = [
    {},
    {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "sigmoid"},
    {"num_train_timesteps": 100, "beta_end": 0.2},
]


@pytest.mark.parametrize("options", SCHEDULES)
def test_levels_come_back_to_a_rounding(options):
    """Without a rate making up for the rounding of those before it, they drift by thousands of roundings."""
    levels = diffusers.DDPMScheduler(**options).alphas_cumprod
    again = diffusers.DDPMScheduler(trained_betas=noise_rates(tuple(levels.double().tolist()))).alphas_cumprod
    assert float(((again - levels) / levels).abs().max()) <= 2.0**-23
    assert torch.equal(again[0], levels[0])


@pytest.mark.parametrize("name", ["DDIM", "PNDM", "EulerDiscrete", "DEISMultistep", "DPMSolverSinglestep", "CogVideoXDDIM"])
@pytest.mark.parametrize("path", [DiscreteVP.linear(), DiscreteVP.scaled_linear(timesteps=200)])
def test_schedulers_get_those_of_the_path(name, path):
    found = driver_for(find_class(name), path, (0.0, 1.0)).make().alphas_cumprod
    np.testing.assert_allclose(found.numpy(), path.alphas_cumprod, rtol=3e-7)


def test_levels_below_a_floor_are_kept():
    """The squared cosine ends at 2e-9, below what stands for zero elsewhere."""
    levels = diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
    assert float(levels[-1]) < 1e-8
    made = driver_for(find_class("HeunDiscrete"), DiscreteVP(levels.tolist()), (0.0, 1.0)).make()
    assert float(made.alphas_cumprod[-1]) == pytest.approx(float(levels[-1]), rel=1e-6)


def test_the_squared_cosine_is_named():
    """DPM-Solver rounds the timesteps of Karras' levels on all other schedules."""
    levels = diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double().tolist()
    for path, name in ((DiscreteVP(levels), "squaredcos_cap_v2"), (DiscreteVP.linear(), "linear"), (VP(), "linear")):
        made = driver_for(find_class("DPMSolverMultistep"), path, (0.0, 1.0)).make()
        assert made.config.beta_schedule == name
