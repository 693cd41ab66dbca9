"""Wrong drivers are found out: each of these mistakes is one that a driver could make, and none of them offers a table."""

from __future__ import annotations

import math

import diffusers
import pytest
import torch

from bnsbench.paths import VP, CondOT, Cosine, DiscreteVP
from bnsbench.plugin import NotApplicableError
from bnsbench_diffusers.schedulers import noise, traced
from bnsbench_diffusers.schedulers.checks import EXACT, deviations_on_line, steps_on, tolerance_of
from bnsbench_diffusers.schedulers.classes import find_class
from bnsbench_diffusers.schedulers.drivers import driver_for, flows, preconditioned, timesteps
from bnsbench_diffusers.schedulers.traced import table

pytestmark = pytest.mark.filterwarnings("ignore")

PATH = DiscreteVP.scaled_linear()
WHOLE = (0.0, 1.0)


@pytest.fixture(autouse=True)
def _nothing_kept():
    traced.table.cache_clear()
    yield
    traced.table.cache_clear()


def refusal(path, scheduler, nfe=6):
    with pytest.raises(NotApplicableError) as caught:
        table(path, WHOLE, nfe, scheduler)
    return str(caught.value)


@pytest.mark.parametrize("scheduler", ["DDIM", "UniPCMultistep", "EulerDiscrete", "PNDM[skip_prk_steps=true]"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_outputs_of_another_prediction_type(scheduler, prediction, monkeypatch):
    right, other = timesteps.network_output, {"epsilon": "v_prediction", "v_prediction": "epsilon"}[prediction]
    monkeypatch.setattr(timesteps, "network_output", lambda path, _, *rest: right(path, other, *rest))
    options = scheduler.removesuffix("]").replace("[", ",").split(",")
    selector = f"{options[0]}[{','.join([*options[1:], f'prediction_type={prediction}'])}]"
    assert "is not the scheduler itself, which goes" in refusal(PATH, selector)
    assert repr(prediction) in refusal(PATH, selector)


def test_a_slightly_wrong_conversion(monkeypatch):
    right = timesteps.network_output
    monkeypatch.setattr(timesteps, "network_output", lambda *given: 1.0001 * right(*given))
    assert "is not the scheduler itself, which goes" in refusal(PATH, "UniPCMultistep")


def test_a_velocity_with_the_wrong_sign(monkeypatch):
    monkeypatch.setattr(flows.FlowDriver, "output", lambda _self, _at, _x, u: u)
    assert "is not the scheduler itself" in refusal(CondOT(), "FlowMatchEulerDiscrete")


def test_a_wrong_preconditioning(monkeypatch):
    right = preconditioned.PreconditionedDriver._preconditioning
    monkeypatch.setattr(
        preconditioned.PreconditionedDriver, "_preconditioning", lambda self, at: (right(self, at)[0], -right(self, at)[1])
    )
    assert "is not the scheduler itself" in refusal(PATH, "EDMEuler")


def test_other_noise_levels(monkeypatch):
    monkeypatch.setattr(noise, "noise_rates", lambda levels: (2e-3,) * len(levels))
    assert "its noise levels are not the path's: they are" in refusal(PATH, "DDIM")


@pytest.mark.parametrize("factor", [1.0004, 0.9])
@pytest.mark.parametrize("scheduler", ["EulerDiscrete", "DPMSolverMultistep", "DDIM"])
def test_end_states_on_another_scale(scheduler, factor, monkeypatch):
    right = timesteps.TimestepDriver.last
    monkeypatch.setattr(timesteps.TimestepDriver, "last", lambda self, one, x: factor * right(self, one, x))
    assert "does not solve the equation of the path 'discrete-vp'" in refusal(PATH, scheduler)


def test_the_last_noise_level_taken_for_none(monkeypatch):
    """The mistake by which end states were 0.04 % too small: x / alpha made x although it is the data already."""
    monkeypatch.setattr(timesteps.TimestepDriver, "_final_ratio", lambda *_: torch.tensor(0.0292, dtype=torch.float64))
    assert "does not solve the equation" in refusal(PATH, "EulerDiscrete[final_sigmas_type=zero]")


@pytest.mark.parametrize("scheduler", ["UniPCMultistep", "DDIM"])
def test_times_of_other_timesteps(scheduler, monkeypatch):
    right = timesteps.TimestepDriver.told
    monkeypatch.setattr(timesteps.TimestepDriver, "told", lambda self, one: 0.9 * right(self, one))
    assert "takes its state to have the noise level" in refusal(PATH, scheduler)


class Misled(diffusers.DDIMScheduler):
    """A scheduler of a later version that has become another one."""

    def step(self, model_output, timestep, sample, **options):
        found = super().step(model_output, timestep, sample, **options)
        found.prev_sample = 1.002 * found.prev_sample
        return found


def test_a_scheduler_that_does_not_solve_the_equation(monkeypatch):
    monkeypatch.setattr(diffusers, "MisledScheduler", Misled, raising=False)
    reason = refusal(PATH, "diffusers.MisledScheduler[timestep_spacing=trailing]")
    assert "Misled[timestep_spacing=trailing]: it does not solve the equation" in reason


def driven(path, scheduler, nfe):
    driver = driver_for(find_class(scheduler), path, WHOLE)
    return driver, driver.prepare(nfe)


@pytest.mark.parametrize(
    ("path", "scheduler"),
    [
        (PATH, "DDIM"),
        (PATH, "EulerDiscrete[final_sigmas_type=zero]"),
        (PATH, "UniPCMultistep[use_karras_sigmas=true,prediction_type=v_prediction]"),
        (PATH, "EDMEuler[prediction_type=v_prediction]"),
        (VP(), "DPMSolverMultistep[prediction_type=sample]"),
        (Cosine(), "EulerDiscrete"),
        (CondOT(), "UniPCMultistep"),
    ],
)
def test_a_state_of_the_same_data_and_noise_stays_so(path, scheduler):
    driver, prepared = driven(path, scheduler, 6)
    assert max(deviations_on_line(driver, prepared)) < 3e-3
    assert deviations_on_line(driver, prepared)[0] < 3e-5


def test_schedulers_that_converge_may_deviate():
    """DDIM's "linspace" spaces its timesteps by T / (n - 1) and steps by T / n."""
    driver, prepared = driven(PATH, "DDIM[timestep_spacing=linspace]", 6)
    assert max(deviations_on_line(driver, prepared)) > 0.1
    assert table(PATH, WHOLE, 6, "DDIM[timestep_spacing=linspace]").nfe == 6


def test_rounding_is_measured_and_clipping_is_none():
    exact, single = (steps_on(*driven(PATH, name, 5), "outputs") for name in ("DDIM", "EulerDiscrete"))
    assert exact.rounding < 1e-13
    assert 1e-9 < single.rounding < 1e-5
    driver, prepared = driven(PATH, "DDIM", 5)
    prepared.register_to_config(clip_sample=True)
    clipped = steps_on(driver, prepared, "outputs")
    assert clipped.rounding == 0.0
    assert tolerance_of(clipped) == EXACT
    assert math.isclose(tolerance_of(exact), EXACT, rel_tol=1e-6)
