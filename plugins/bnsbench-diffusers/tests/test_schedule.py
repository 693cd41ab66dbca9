"""What schedulers say of their networks."""

from __future__ import annotations

import diffusers
import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.paths import CondOT
from bnsbench_diffusers.schedule import read_schedule

NOISE = [
    {},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"num_train_timesteps": 100},
]


@pytest.mark.parametrize("options", NOISE)
@pytest.mark.parametrize("name", ["DDIM", "DDPM", "DPMSolverMultistep", "EulerDiscrete", "PNDM"])
def test_the_path_goes_through_the_noise_levels(name, options):
    scheduler = getattr(diffusers, f"{name}Scheduler")(**options)
    schedule = read_schedule(scheduler)
    levels = scheduler.alphas_cumprod.double()
    times = 1 - torch.arange(len(levels), dtype=torch.float64) / (len(levels) - 1)
    torch.testing.assert_close(schedule.path.alpha(times), levels.sqrt(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(schedule.path.sigma(times), (1 - levels).sqrt(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(schedule.timestep(times), torch.arange(len(levels), dtype=torch.float64), rtol=0, atol=1e-9)
    assert schedule.prediction == "epsilon"


@pytest.mark.parametrize(("theirs", "ours"), [("epsilon", "epsilon"), ("v_prediction", "v"), ("sample", "x")])
def test_predictions(theirs, ours):
    assert read_schedule(diffusers.DDIMScheduler(prediction_type=theirs)).prediction == ours


def test_an_unknown_prediction():
    scheduler = diffusers.DDIMScheduler(prediction_type="sample")
    scheduler.register_to_config(prediction_type="score")
    with pytest.raises(UsageError, match="prediction type 'score'"):
        read_schedule(scheduler)


def test_zero_terminal_snr():
    """The last alpha is half of the one before, all others are the schedule's."""
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    alpha = read_schedule(scheduler).path.alpha(torch.tensor([0.0, 1 / 999, 0.5, 1.0], dtype=torch.float64))
    levels = scheduler.alphas_cumprod.double().sqrt()
    assert float(levels[-1]) == 0
    assert float(alpha[0]) == pytest.approx(float(levels[-2]) / 2)
    assert float(alpha[1]) == pytest.approx(float(levels[-2]))
    assert float(alpha[3]) == pytest.approx(float(levels[0]))


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        diffusers.FlowMatchHeunDiscreteScheduler(),
        diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
    ],
)
def test_flow_matching(scheduler):
    schedule = read_schedule(scheduler)
    assert (schedule.path, schedule.prediction) == (CondOT(), "velocity")
    assert schedule.timestep(torch.tensor([0.0, 0.75, 1.0])).tolist() == [1000, 250, 0]
    assert schedule.prediction_from(torch.tensor([2.0])).tolist() == [-2]


def test_other_schedulers_are_refused():
    with pytest.raises(UsageError, match="EDMEulerScheduler has no discrete noise levels"):
        read_schedule(diffusers.EDMEulerScheduler())
    with pytest.raises(UsageError, match="EulerDiscreteScheduler"):
        read_schedule(diffusers.EulerDiscreteScheduler(timestep_type="continuous", prediction_type="v_prediction"))
