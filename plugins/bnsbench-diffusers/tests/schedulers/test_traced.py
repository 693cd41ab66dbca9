"""Traced schedulers against the same schedulers stepping themselves on a U-Net, configuration by configuration."""

from __future__ import annotations

import json
import sys
import warnings

import diffusers
import numpy as np
import pytest
import torch

from bnsbench.paths import EDM, VP, CondOT, Cosine, DiscreteVP
from bnsbench.plugin import FunctionField, NotApplicableError, NotTraceableError, UsageError, to_noise, trace
from bnsbench_diffusers.schedulers.classes import find_class
from bnsbench_diffusers.schedulers.saved import scheduler_of
from bnsbench_diffusers.schedulers.traced import sample, table

pytestmark = pytest.mark.filterwarnings("ignore")

SCHEDULE = DiscreteVP.scaled_linear()
BETAS = (np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2).tolist()
LAST = float(((1 - SCHEDULE.alphas_cumprod[0]) / SCHEDULE.alphas_cumprod[0]) ** 0.5)

ENDS = {"final_sigmas_type": "sigma_min"}
DDIM = {"clip_sample": False, "set_alpha_to_one": False}
DIFFUSIONS = [
    ("DDIM", {**DDIM}, ""),
    ("DDIM", {**DDIM, "timestep_spacing": "trailing"}, "timestep_spacing=trailing"),
    ("DDIMParallel", {**DDIM, "timestep_spacing": "trailing"}, "timestep_spacing=trailing"),
    ("PNDM", {"skip_prk_steps": True}, "skip_prk_steps=true"),
    ("EulerDiscrete", ENDS, ""),
    ("EulerDiscrete", {**ENDS, "use_karras_sigmas": True}, "use_karras_sigmas=true"),
    ("LMSDiscrete", {}, ""),
    ("HeunDiscrete", {}, ""),
    ("KDPM2Discrete", {}, ""),
    ("DPMSolverMultistep", ENDS, ""),
    ("DPMSolverMultistep", {**ENDS, "use_karras_sigmas": True}, "use_karras_sigmas=true"),
    ("DPMSolverMultistep", {**ENDS, "solver_order": 3, "solver_type": "heun"}, "solver_order=3,solver_type=heun"),
    ("DPMSolverMultistep", {**ENDS, "algorithm_type": "dpmsolver"}, "algorithm_type=dpmsolver"),
    ("DPMSolverMultistep", {"final_sigmas_type": "zero"}, "final_sigmas_type=zero"),
    ("DPMSolverMultistep", {**ENDS, "use_lu_lambdas": True}, "use_lu_lambdas=true"),
    ("DPMSolverSinglestep", ENDS, ""),
    ("DPMSolverSinglestep", {**ENDS, "solver_order": 3, "lower_order_final": True}, "solver_order=3,lower_order_final=true"),
    ("DEISMultistep", {}, ""),
    ("DEISMultistep", {"solver_order": 3}, "solver_order=3"),
    ("UniPCMultistep", ENDS, ""),
    ("UniPCMultistep", {**ENDS, "solver_order": 3, "solver_type": "bh1"}, "solver_order=3,solver_type=bh1"),
    ("UniPCMultistep", {**ENDS, "use_karras_sigmas": True}, "use_karras_sigmas=true"),
]
FLOWS = [
    ("FlowMatchEulerDiscrete", {}, "", "own"),
    ("FlowMatchEulerDiscrete", {"shift": 3.0}, "shift=3", "linear"),
    ("FlowMatchHeunDiscrete", {}, "", "own"),
    ("UniPCMultistep", {"use_flow_sigmas": True, "flow_shift": 3.0}, "flow_shift=3", "own"),
    ("UniPCMultistep", {"use_flow_sigmas": True}, "", "linear"),
    ("DPMSolverMultistep", {"use_flow_sigmas": True}, "", "own"),
    ("DPMSolverSinglestep", {"use_flow_sigmas": True}, "", "own"),
    ("DEISMultistep", {"use_flow_sigmas": True}, "", "own"),
]
BUDGETS = (5, 8, 10)
ODD = {"HeunDiscrete", "KDPM2Discrete", "FlowMatchHeunDiscrete"}


def selector(name, options):
    return f"{name}[{options}]" if options else name


def steps_that_spend(name, nfe):
    """The budgets as papers and documentation state them: 2n - 1 for two-stage rules, n + 1 for PLMS."""
    if name in ODD:
        return (nfe + 1) / 2
    return nfe - 1 if name == "PNDM" else nfe


def unscaled(x, _timestep):
    return x


@torch.no_grad()
def pipeline_loop(scheduler, network, noise, told):
    """The loop of every pipeline; ``told`` gives what the network is told for a timestep's index."""
    x = noise * scheduler.init_noise_sigma
    for i, timestep in enumerate(scheduler.timesteps):
        output = network(scheduler.scale_model_input(x, timestep), told(scheduler, i))
        x = scheduler.step(output, timestep, x).prev_sample
    return x


@pytest.mark.parametrize(
    ("name", "settings", "options"), DIFFUSIONS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_on_a_diffusion(name, settings, options, unet, images, field_of, deviation):
    """The last of those schedulers that always end without noise is put where the schedule ends."""
    field = field_of(unet, SCHEDULE, "epsilon")
    for nfe in BUDGETS:
        steps = steps_that_spend(name, nfe)
        if steps != int(steps):
            with pytest.raises(NotApplicableError, match=rf"{name}Scheduler spends .*, not {nfe}"):
                table(SCHEDULE, (0.0, 1.0), nfe, selector(name, options))
            continue
        found = table(SCHEDULE, (0.0, 1.0), nfe, selector(name, options))
        assert found.nfe == nfe
        theirs = getattr(diffusers, f"{name}Scheduler")(trained_betas=BETAS, **settings)
        theirs.set_timesteps(int(steps))
        if name in {"HeunDiscrete", "KDPM2Discrete", "LMSDiscrete"}:
            theirs.sigmas[theirs.sigmas == 0] = LAST
            if hasattr(theirs, "sigmas_interpol"):
                theirs.sigmas_interpol[theirs.sigmas_interpol == 0] = LAST
        # What the network sees first: the state itself, of variance one.
        first = theirs.scale_model_input(images * theirs.init_noise_sigma, theirs.timesteps[0])
        expected = pipeline_loop(theirs, unet, images, lambda scheduler, i: scheduler.timesteps[i])
        relative = float(theirs.init_noise_sigma) != 1.0
        ends = float(SCHEDULE.alphas_cumprod[0] ** 0.5) if relative else 1.0
        with torch.no_grad():
            assert deviation(found(field, first), ends * expected) <= 1e-6, nfe


@pytest.mark.parametrize(
    ("name", "settings", "options", "sigmas"), FLOWS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_on_a_flow(name, settings, options, sigmas, unet, images, field_of, deviation):
    """Networks are told 1000 sigma, as their pipelines mean to, where some schedulers round it."""
    field = field_of(unet, CondOT(), "flow_prediction")
    for nfe in BUDGETS:
        steps = steps_that_spend(name, nfe)
        if steps != int(steps):
            continue
        found = table(CondOT(), (0.0, 1.0), nfe, selector(name, options), sigmas)
        flow = {"prediction_type": "flow_prediction"} if "use_flow_sigmas" in settings else {}
        theirs = getattr(diffusers, f"{name}Scheduler")(**settings, **flow)
        if sigmas == "linear":
            theirs.set_timesteps(sigmas=np.linspace(1, 1 / nfe, nfe))
        else:
            theirs.set_timesteps(int(steps))
        theirs.scale_model_input = getattr(theirs, "scale_model_input", unscaled)
        theirs.init_noise_sigma = 1.0
        expected = pipeline_loop(theirs, unet, images, lambda scheduler, i: 1000 * scheduler.sigmas[i])
        with torch.no_grad():
            assert deviation(found(field, images), expected) <= 1e-6, nfe


@pytest.mark.parametrize(
    ("path", "interval"),
    [
        (VP(), (0.0, 0.999)),
        (VP(), (0.0, 1.0)),
        (Cosine(), (0.0, 1.0)),
        (Cosine(), (0.00127, 1.0)),
        (EDM(0.002, 20.0), (0.0, 1.0)),
    ],
)
@pytest.mark.parametrize(
    "name", ["UniPCMultistep", "DPMSolverMultistep", "EulerDiscrete", "EDMDPMSolverMultistep", "EDMEuler"]
)
def test_a_single_data_point_is_reached_exactly(path, interval, name, deviation):
    """With one data point the prediction of the data never changes, so all these rules are exact up to their float32.

    They are only if start, levels, scales and end are converted right on each path.
    """
    if name.startswith("EDM") and path.log_snr(interval[0]) < -100:
        pytest.skip("it begins at an infinite sigma, which EDM's do not")
    point = 0.7

    def velocity(t, x):
        alpha, sigma, d_alpha, sigma_d_sigma = (
            float(f(t)) for f in (path.alpha, path.sigma, path.d_alpha, path.sigma_d_sigma)
        )
        return d_alpha * point + sigma_d_sigma / sigma**2 * (x - alpha * point)

    noise = torch.randn(64, 1, dtype=torch.float64)
    x0, truth = (float(path.alpha(t)) * point + float(path.sigma(t)) * noise for t in interval)
    solver = table(path, interval, 6, name)
    assert deviation(solver(FunctionField(velocity, path, interval), x0), truth) < 1e-5


REFUSED = [
    ("EulerAncestralDiscrete", SCHEDULE, "stochastic"),
    ("DDPM", SCHEDULE, "stochastic"),
    ("SASolver", SCHEDULE, "stochastic"),
    ("LCM", SCHEDULE, "stochastic"),
    ("DPMSolverMultistep[algorithm_type=sde-dpmsolver++]", SCHEDULE, "stochastic"),
    ("DPMSolverMultistep[thresholding=true]", SCHEDULE, "DPMSolverMultistepScheduler"),
    ("DDIM[clip_sample=true]", SCHEDULE, "not linear"),
    ("CosineDPMSolverMultistep", SCHEDULE, "stochastic"),
    ("IPNDM", SCHEDULE, "has the noise levels of the cosine path"),
    ("FlowMatchEulerDiscrete", SCHEDULE, "takes no noise levels of a diffusion"),
    ("DDIMInverse", SCHEDULE, "counts its timesteps up"),
    ("EulerDiscrete", CondOT(), "knows no flows"),
    ("FlowMatchEulerDiscrete[stochastic_sampling=true]", CondOT(), "stochastic"),
    ("FlowMatchEulerDiscrete[use_dynamic_shifting=true]", CondOT(), "mu"),
    ("UniPCMultistep[solver_type=bh9]", SCHEDULE, "cannot be driven like a scheduler: NotImplementedError"),
]


@pytest.mark.parametrize(("scheduler", "path", "reason"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_refusals_say_why(scheduler, path, reason):
    with pytest.raises(NotApplicableError, match=reason):
        table(path, (0.0, 1.0), 8, scheduler)


def test_sigmas_of_flows_on_a_diffusion():
    with pytest.raises(NotApplicableError, match="sigmas=linear is for flows"):
        table(SCHEDULE, (0.0, 1.0), 8, "UniPCMultistep", "linear")


@pytest.mark.parametrize(
    ("scheduler", "sentence"),
    [
        ("UniPC", "diffusers has no scheduler 'UniPC'; choose from .* UniPCMultistep"),
        ("DDIM[eta=0.5]", "DDIMScheduler has no option 'eta'"),
        ("", "needs a scheduler: write diffusers.scheduler="),
        ("no_such_package.Class", "There is no scheduler 'no_such_package.Class'"),
        ("os.system", "There is no scheduler 'os.system': it is no class of diffusers' SchedulerMixin"),
        ("subprocess.Popen[executable=/bin/true]", "There is no scheduler 'subprocess.Popen': it is no class"),
        ("ctypes.CDLL[name=evil.so]", "There is no scheduler 'ctypes.CDLL': it is no class"),
        ("diffusers.UNet2DModel", "There is no scheduler 'diffusers.UNet2DModel': it is no class"),
        (".Class", "There is no scheduler '.Class'"),
    ],
)
def test_unknown_names(scheduler, sentence):
    with pytest.raises(UsageError, match=sentence):
        table(SCHEDULE, (0.0, 1.0), 8, scheduler)


def test_ipndm_on_the_cosine_path(unet, images, field_of, deviation):
    """Its noise levels are its own; networks predict v and are told the angle."""
    field = field_of(unet, Cosine(), "v_prediction")
    for nfe in BUDGETS:
        theirs = diffusers.IPNDMScheduler()
        theirs.set_timesteps(nfe)
        expected = pipeline_loop(theirs, unet, images, lambda scheduler, i: scheduler.timesteps[i])
        with torch.no_grad():
            assert deviation(table(Cosine(), (0.0, 1.0), nfe, "IPNDM")(field, images), expected) <= 1e-6, nfe


def test_unknown_sigmas():
    with pytest.raises(UsageError, match="There are no sigmas 'mine'"):
        table(CondOT(), (0.0, 1.0), 8, "FlowMatchEulerDiscrete", "mine")


def test_classes_of_other_packages_need_no_code():
    found = find_class("diffusers.schedulers.scheduling_ddim.DDIMScheduler[timestep_spacing=trailing]")
    assert (found.type, dict(found.chosen)) == (diffusers.DDIMScheduler, {"timestep_spacing": "trailing"})


def test_option_values():
    chosen = find_class("DPMSolverMultistep[solver_order=3,use_karras_sigmas=TRUE,beta_end=2e-2,trained_betas=none]").chosen
    assert chosen == {"solver_order": 3, "use_karras_sigmas": True, "beta_end": 0.02, "trained_betas": None}


def test_the_suite_traces_the_solver_exactly():
    """What a cell does: it traces the target itself, without any allowance for rounding."""
    again = trace(lambda field, x0: sample(field, x0, 8, "UniPCMultistep"), SCHEDULE, (0.0, 1.0))
    torch.testing.assert_close(again.b, table(SCHEDULE, (0.0, 1.0), 8, "UniPCMultistep").b, rtol=1e-12, atol=1e-12)


def test_ddim_is_the_built_in_one_on_its_own_nodes():
    """Independent of any scheduler: the noise held constant from one timestep to the next."""
    found = table(SCHEDULE, (0.0, 1.0), 5, "DDIM[timestep_spacing=trailing]")
    timesteps = [999, 799, 599, 399, 199, 0]
    torch.testing.assert_close(
        SCHEDULE.timestep(found.times), torch.tensor(timesteps, dtype=torch.float64), atol=1e-9, rtol=0
    )
    x0 = x = torch.randn(3, 2, dtype=torch.float64)
    velocity = lambda t, x: torch.sin(3 * x) - t * x  # noqa: E731
    for now, then in zip(found.times[:-1], found.times[1:], strict=True):
        noise = to_noise(SCHEDULE, now, x, velocity(now, x))
        data = (x - SCHEDULE.sigma(now) * noise) / SCHEDULE.alpha(now)
        x = SCHEDULE.alpha(then) * data + SCHEDULE.sigma(then) * noise
    torch.testing.assert_close(found(velocity, x0), x, rtol=1e-4, atol=1e-4)  # diffusers keeps its levels in float32


def test_warnings_of_diffusers_are_kept_quiet(monkeypatch):
    step, spoken = diffusers.DEISMultistepScheduler.step, []

    def warning(self, *arguments, **options):
        spoken.append(self)
        warnings.warn("an old habit", stacklevel=1)
        return step(self, *arguments, **options)

    monkeypatch.setattr(diffusers.DEISMultistepScheduler, "step", warning)
    table.cache_clear()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = table(SCHEDULE, (0.0, 1.0), 6, "DEISMultistep[use_karras_sigmas=true]")
        warnings.warn("not by diffusers", stacklevel=1)
    assert found.nfe == 6
    assert len(spoken) >= 6
    assert [str(told.message) for told in heard] == ["not by diffusers"]


def test_not_traceable_stays_so():
    with pytest.raises(NotTraceableError):
        table(SCHEDULE, (0.0, 1.0), 8, "EulerAncestralDiscrete")


def test_modules_of_the_current_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with pytest.raises(UsageError, match="its module lies in the current folder"):
        find_class("stranger.evil.Class")
    assert not (tmp_path / "ran").exists()


def test_a_scheduler_is_found_by_its_dotted_name():
    assert find_class("diffusers.schedulers.EulerDiscreteScheduler").name == "EulerDiscreteScheduler"


@pytest.mark.parametrize("config", [3, [], {}, {"_class_name": 3}, {"_class_name": "UNet2DModel"}, {"_class_name": "utils"}])
def test_other_saved_schedulers_are_one_sentence(tmp_path, config):
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="holds no scheduler of diffusers"):
        scheduler_of(tmp_path)
