"""Options of schedulers that say something about the model: honoured where they say the same, and refused where not."""

from __future__ import annotations

import diffusers
import pytest
import torch

from bnsbench.paths import EDM, VP, CondOT, Cosine, DiscreteVP
from bnsbench.plugin import NotApplicableError, UsageError
from bnsbench_diffusers.schedule import read_schedule
from bnsbench_diffusers.schedulers.traced import sample, table

pytestmark = pytest.mark.filterwarnings("ignore")

PATH = DiscreteVP.scaled_linear()
WHOLE = (0.0, 1.0)
LATENT = "beta_start=0.00085,beta_end=0.012,beta_schedule=scaled_linear"
ZERO = read_schedule(diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")).path

CONTRADICTIONS = [
    (PATH, "DDIM[beta_start=0.001]", "gets its noise levels from the model's path, and with beta_start=0.001 they would be"),
    (PATH, "UniPCMultistep[beta_schedule=squaredcos_cap_v2]", "with beta_schedule=squaredcos_cap_v2 they would be others"),
    (PATH, "DDIM[num_train_timesteps=500]", "with num_train_timesteps=500 they would be others"),
    (PATH, f"EulerDiscrete[{LATENT},rescale_betas_zero_snr=true]", "rescale_betas_zero_snr=True they would be others"),
    (PATH, "CogVideoXDDIM[snr_shift_scale=3]", "with snr_shift_scale=3 they would be others"),
    (VP(), "DDIM[beta_start=0.0001,beta_end=0.02]", "beta_end=0.02 and beta_start=0.0001 they would be others"),
    (PATH, "DPMSolverMultistep[use_flow_sigmas=true]", r"the noise levels of a flow are not those of the path"),
    (PATH, "UniPCMultistep[prediction_type=flow_prediction]", "networks on the path 'discrete-vp' predict epsilon"),
    (ZERO, "DDIM[prediction_type=epsilon]", "the model's network predicts 'v_prediction'"),
    (ZERO, "DDIM[rescale_betas_zero_snr=false]", "rescale_betas_zero_snr=False they would be others"),
    (PATH, "EulerDiscrete[timestep_type=continuous,prediction_type=v_prediction]", "told timesteps of the path"),
    (PATH, "DPMSolverMultistep[variance_type=learned_range]", "the variance, is left out by the model already"),
    (PATH, "EulerDiscrete[use_karras_sigmas=true,sigma_max=20]", "evaluation 1 is at the timestep 999 but takes its state"),
    (EDM(0.002, 80.0), "EDMEuler[sigma_max=20]", "the model's noise levels decide, whose sigma_max is 80"),
    (EDM(0.002, 80.0), "EDMEuler[sigma_min=0.02]", "the model's noise levels decide, whose sigma_min is 0.002"),
    (CondOT(), "UniPCMultistep[use_flow_sigmas=false]", "are those of a flow"),
    (CondOT(), "DPMSolverMultistep[prediction_type=epsilon]", "networks on the path 'condot' predict 'flow_prediction'"),
    (CondOT(), "UniPCMultistep[beta_start=0.001]", "beta_start is of diffusions, and the model is a flow"),
    (CondOT(), "FlowMatchEulerDiscrete[num_train_timesteps=500]", "the model's network has 1000 timesteps"),
    (CondOT(), "FlowMatchEulerDiscrete[mu=1]", "mu is without effect unless use_dynamic_shifting=true"),
    (PATH, "UniPCMultistep[mu=1]", "mu is for flows"),
    (Cosine(), "IPNDM[num_train_timesteps=500]", "its noise levels are fixed"),
    (Cosine(), "DDIM[prediction_type=epsilon,timestep_spacing=trailing]", "'epsilon' does not determine the velocity"),
]


@pytest.mark.parametrize(("path", "scheduler", "reason"), CONTRADICTIONS, ids=[name for _, name, _ in CONTRADICTIONS])
def test_contradictions_say_what_decides(path, scheduler, reason):
    with pytest.raises(NotApplicableError, match=reason):
        table(path, WHOLE, 6, scheduler)


@pytest.mark.parametrize("scheduler", ["DDIM", "UniPCMultistep", "HeunDiscrete"])
def test_noise_levels_that_are_the_model_s(scheduler):
    said, left_out = (table(PATH, WHOLE, 5, name) for name in (f"{scheduler}[{LATENT}]", scheduler))
    torch.testing.assert_close(said.b, left_out.b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", ["DDIM", "EulerDiscrete", "UniPCMultistep", "PNDM"])
def test_a_prediction_type_is_honoured(name, prediction, network, noise, field_of, deviation, run_loop):
    if name == "PNDM" and prediction == "sample":
        return
    options = {"skip_prk_steps": True} if name == "PNDM" else {}
    theirs = getattr(diffusers, f"{name}Scheduler")(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction, **options,
        **({"clip_sample": False, "set_alpha_to_one": False} if name == "DDIM" else {}),
        **({"final_sigmas_type": "sigma_min"} if name in {"EulerDiscrete", "UniPCMultistep"} else {}),
    )  # fmt: skip
    steps = 5 if name == "PNDM" else 6
    expected = run_loop(theirs, network, noise, steps)
    theirs.set_timesteps(steps)
    first = theirs.scale_model_input(noise * theirs.init_noise_sigma, theirs.timesteps[0])
    words = ",".join([f"prediction_type={prediction}", *(f"{key}=true" for key in options)])
    with torch.no_grad():
        found = sample(field_of(network, PATH, prediction), first, 6, f"{name}[{words}]")
    ends = float(PATH.alphas_cumprod[0] ** 0.5) if name == "EulerDiscrete" else 1.0
    assert deviation(found, ends * expected) < 2e-6


def test_large_noise_levels_round_and_do_not_clip(network, noise, field_of, deviation, run_loop):
    """States of 4096 in float32, of which a network's epsilon leaves a difference of one."""
    theirs = diffusers.EulerDiscreteScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    path = read_schedule(theirs).path
    expected = run_loop(theirs, network, noise, 5)
    with torch.no_grad():
        found = sample(field_of(network, path, "epsilon"), noise, 5, "EulerDiscrete[final_sigmas_type=zero]")
    assert deviation(found, expected) < 1e-3


@pytest.mark.parametrize("path", [PATH, CondOT()])
def test_sa_solver_without_noise(path, network, noise, field_of, deviation, run_loop):
    flow = isinstance(path, CondOT)
    told = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"} if flow else {}
    levels = {} if flow else {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    theirs = diffusers.SASolverScheduler(tau_func=lambda _: 0.0, **told, **levels)
    kind = "flow_prediction" if flow else "epsilon"
    asked = (lambda x, _: network(x, 1000 * theirs.sigmas[theirs.step_index or 0].double())) if flow else network
    expected = run_loop(theirs, asked, noise, 6)
    with torch.no_grad():
        found = sample(field_of(network, path, kind), noise, 6, "SASolver[tau=0]")
    assert deviation(found, expected) < 1e-6
    for stochastic in ("SASolver", "SASolver[tau=0.5]", "DPMSolverMultistep[algorithm_type=sde-dpmsolver++]"):
        with pytest.raises(NotApplicableError, match="stochastic"):
            table(path, WHOLE, 6, stochastic)


@pytest.mark.parametrize("option", ["tau=much", "tau=true"])
def test_tau_is_a_number(option):
    with pytest.raises(UsageError, match="The option tau is a number"):
        table(PATH, WHOLE, 6, f"SASolver[{option}]")


class TestFlows:
    SHIFTS = ("FlowMatchEulerDiscrete", "UniPCMultistep", "DPMSolverMultistep", "DEISMultistep")

    @pytest.mark.parametrize("name", SHIFTS)
    @pytest.mark.parametrize("kind", ["option", "parameter"])
    def test_a_shift_for_the_size(self, name, kind, network, noise, field_of, deviation):
        told = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"} if name != self.SHIFTS[0] else {}
        theirs = getattr(diffusers, f"{name}Scheduler")(use_dynamic_shifting=True, **told)
        theirs.set_timesteps(6, mu=0.8)
        x = noise
        with torch.no_grad():
            for i, timestep in enumerate(theirs.timesteps):
                x = theirs.step(network(x, 1000 * theirs.sigmas[i].double()), timestep, x).prev_sample
            field, scheduler = field_of(network, CondOT(), "flow_prediction"), f"{name}[use_dynamic_shifting=true]"
            if kind == "option":
                found = sample(field, noise, 6, scheduler.replace("]", ",mu=0.8]"))
            else:
                found = sample(field, noise, 6, scheduler, mu=0.8)
        assert deviation(found, x) < 1e-6

    @pytest.mark.parametrize("name", SHIFTS)
    def test_no_shift_where_one_is_needed(self, name):
        with pytest.raises(NotApplicableError, match="needs mu, the shift for the size of a sample: set mu=NUMBER"):
            table(CondOT(), WHOLE, 6, f"{name}[use_dynamic_shifting=true]")

    def test_a_shift_that_is_none(self):
        with pytest.raises(UsageError, match="The option mu is a number"):
            table(CondOT(), WHOLE, 6, "UniPCMultistep[mu=much]")
        with pytest.raises(UsageError, match="DDIMScheduler takes no mu"):
            table(CondOT(), WHOLE, 6, "DDIM[mu=1]")

    def test_a_time_that_is_not_a_number(self):
        """The grid is stretched to end at 0.1, and one that has but one level has nothing to stretch."""
        scheduler = "FlowMatchEulerDiscrete[shift_terminal=0.1]"
        with pytest.raises(NotApplicableError, match=r"\[shift_terminal=0.1\]: with 1 evaluations .* is not a number"):
            table(CondOT(), WHOLE, 1, scheduler)
        assert table(CondOT(), WHOLE, 2, scheduler).nfe == 2

    def test_noise_levels_beyond_those_of_a_flow(self):
        with pytest.raises(NotApplicableError, match=r"outside of \[0, 1\]"):
            table(CondOT(), WHOLE, 6, "DPMSolverMultistep[use_karras_sigmas=true]")


@pytest.mark.parametrize("option", ["steps_offset=1001", "steps_offset=-1"])
def test_timesteps_that_the_network_does_not_know(option):
    """The time is not put into the interval in silence."""
    with pytest.raises(NotApplicableError, match=r"is at the timestep .*, which is the time .* outside of \[0, 1\]"):
        table(PATH, WHOLE, 6, f"DDIM[{option}]")


def test_a_first_timestep_that_occurs_twice():
    path = read_schedule(diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2")).path
    with pytest.raises(NotApplicableError, match=r"has its first timestep, 99\d, twice, begins with the second"):
        table(path, WHOLE, 16, "DPMSolverMultistep[use_karras_sigmas=true]")
