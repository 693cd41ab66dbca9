"""What schedulers say of their networks."""

from __future__ import annotations

import diffusers
import pytest
import torch

from bnsbench.paths import CondOT, Cosine, DiscreteVP
from bnsbench.plugin import NonStationarySolver, UsageError
from bnsbench_diffusers.schedule import read_schedule, times_of
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler

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


@pytest.mark.parametrize("name", ["EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep", "DDPM"])
def test_zero_terminal_snr_is_one_path(name):
    """Where one scheduler keeps a level of 0, another keeps 2^-24, for a network that is the same."""
    options = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "beta_schedule": "scaled_linear"}
    path = read_schedule(getattr(diffusers, f"{name}Scheduler")(**options)).path
    assert path == read_schedule(diffusers.DDIMScheduler(**options)).path


@pytest.mark.parametrize(
    ("path", "interval", "theirs", "ours"),
    [
        (DiscreteVP.linear(), (0.0, 1.0), "v_prediction", "v"),
        (CondOT(), (0.0, 1.0), "flow_prediction", "velocity"),
        (Cosine(), (0.00127, 1.0), "v_prediction", "v"),
    ],
)
def test_a_scheduler_that_holds_a_solver(path, interval, theirs, ours):
    times = torch.tensor([interval[0], interval[1]], dtype=torch.float64)
    solver = NonStationarySolver(times, torch.ones(1), torch.ones(1, 1))
    scheduler = NonStationaryScheduler(solver.to_dict(), path.to_dict(), interval, theirs)
    schedule = read_schedule(scheduler)
    assert (schedule.path, schedule.interval, schedule.prediction, schedule.timesteps) == (path, interval, ours, 1000)


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


def test_stable_audio():
    """From sigma_max to the data on the cosine path, told (2 / pi) atan(sigma / alpha)."""
    scheduler = diffusers.CosineDPMSolverMultistepScheduler(sigma_max=80.0)
    schedule = read_schedule(scheduler)
    assert (schedule.path, schedule.prediction) == (Cosine(), "v")
    begin, end = schedule.interval
    assert float(schedule.path.sigma(begin) / schedule.path.alpha(begin)) == pytest.approx(80.0)
    assert end == 1.0
    times = torch.tensor([begin, 0.3, 0.9], dtype=torch.float64)
    ratio = schedule.path.sigma(times) / schedule.path.alpha(times)
    torch.testing.assert_close(schedule.timestep(times), scheduler.precondition_noise(ratio))
    scheduler.set_timesteps(7)
    assert float(times_of(schedule.path, scheduler.timesteps[0], 1000)) == pytest.approx(begin, abs=1e-7)


@pytest.mark.parametrize("options", [{"sigma_data": 0.5}, {"prediction_type": "epsilon"}])
def test_other_networks_under_the_scheduler_of_stable_audio(options):
    with pytest.raises(UsageError, match="known for networks of 'v_prediction' with sigma_data 1, not"):
        read_schedule(diffusers.CosineDPMSolverMultistepScheduler(**options))


def test_other_schedulers_are_refused():
    with pytest.raises(UsageError, match="EDMEulerScheduler has no discrete noise levels"):
        read_schedule(diffusers.EDMEulerScheduler())
    with pytest.raises(UsageError, match="EulerDiscreteScheduler"):
        read_schedule(diffusers.EulerDiscreteScheduler(timestep_type="continuous", prediction_type="v_prediction"))
