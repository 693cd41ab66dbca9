"""Schedulers on the path of a pipeline: what they inherit from its scheduler, and its scheduler itself."""

from __future__ import annotations

import copy
import json

import diffusers
import pytest
import torch

from bnsbench.paths import CondOT, DiscreteVP
from bnsbench.plugin import NotApplicableError, UsageError
from bnsbench_diffusers.models.base import Options
from bnsbench_diffusers.models.loading import load_pipeline
from bnsbench_diffusers.models.packed import pack, unpack
from bnsbench_diffusers.models.registry import diffusers_model, wrap
from bnsbench_diffusers.origin import Origin, attach, origin_of
from bnsbench_diffusers.schedule import read_schedule
from bnsbench_diffusers.schedulers.classes import find_class
from bnsbench_diffusers.schedulers.drivers import driver_for
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler
from bnsbench_diffusers.schedulers.traced import sample, table

pytestmark = pytest.mark.filterwarnings("ignore")

WHOLE = (0.0, 1.0)
LATENT = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STABLE_DIFFUSION = {**LATENT, "steps_offset": 1, "clip_sample": False, "set_alpha_to_one": False}


def path_with(scheduler):
    return read_schedule(scheduler).path


class TestInheritance:
    @pytest.mark.parametrize("name", ["DDIM", "UniPCMultistep", "EulerDiscrete", "HeunDiscrete"])
    def test_options_are_those_of_from_config(self, name, network, noise, field_of, deviation, run_loop):
        """Timesteps that are moved by one change the end state by parts in a hundred, and more so at few evaluations."""
        theirs = diffusers.DDIMScheduler(**STABLE_DIFFUSION, timestep_spacing="leading")
        path, kind = path_with(theirs), getattr(diffusers, f"{name}Scheduler")
        made = kind.from_config(theirs.config)
        if "final_sigmas_type" in made.config:
            made = kind.from_config(made.config, final_sigmas_type="zero")
        end = "[final_sigmas_type=zero]" if "final_sigmas_type" in made.config else ""
        expected = run_loop(made, network, noise, 3 if name == "HeunDiscrete" else 5)
        made.set_timesteps(3 if name == "HeunDiscrete" else 5)
        first = made.scale_model_input(noise * made.init_noise_sigma, made.timesteps[0])
        with torch.no_grad():
            found = sample(field_of(network, path, "epsilon"), first, 5, name + end)
        if name != "HeunDiscrete":  # which ends where the model does
            assert deviation(found, expected) < 2e-6
        assert float(path.timestep(table(path, WHOLE, 5, name).times[0])) == float(made.timesteps[0])

    def test_what_is_chosen_goes_first(self):
        path = path_with(diffusers.DDIMScheduler(**STABLE_DIFFUSION))
        inherited, chosen = (table(path, WHOLE, 5, name).times[0] for name in ("DDIM", "DDIM[steps_offset=0]"))
        assert [float(path.timestep(t)) for t in (inherited, chosen)] == pytest.approx([801, 800])

    def test_a_chosen_grid_replaces_an_inherited_one(self):
        path = path_with(diffusers.EulerDiscreteScheduler(**LATENT, use_karras_sigmas=True))
        found = table(path, WHOLE, 5, "UniPCMultistep[use_exponential_sigmas=true]")
        assert not torch.equal(found.b, table(path, WHOLE, 5, "UniPCMultistep").b)
        assert find_class("UniPCMultistep", origin_of(path)).inherited["use_karras_sigmas"] is True

    def test_ends_and_clipping_stay_those_of_the_equation(self):
        path = path_with(diffusers.DDIMScheduler(**LATENT, clip_sample=True, set_alpha_to_one=True, steps_offset=0))
        torch.testing.assert_close(
            table(path, WHOLE, 5, "DDIM").b, table(DiscreteVP(path.alphas_cumprod.tolist()), WHOLE, 5, "DDIM").b
        )

    def test_options_that_nobody_has_set_are_no_inheritance(self):
        origin = origin_of(path_with(diffusers.DDIMScheduler(**LATENT)))
        assert origin is not None
        assert "timestep_spacing" in origin.options
        assert "timestep_spacing" not in origin.set_options

    def test_of_another_pipeline_on_the_same_path(self):
        """Tables are kept, and equal paths must not share them."""
        one, other = (path_with(diffusers.DDIMScheduler(**LATENT, steps_offset=offset)) for offset in (0, 1))
        assert one == other
        assert not torch.equal(table(one, WHOLE, 5, "DDIM").times, table(other, WHOLE, 5, "DDIM").times)

    def test_a_path_without_a_pipeline(self):
        assert origin_of(DiscreteVP.linear()) is None
        with pytest.raises(NotApplicableError, match="scheduler=pipeline needs a model that is a pipeline"):
            table(DiscreteVP.linear(), WHOLE, 5, "pipeline")


ZERO = {**LATENT, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
OWN = [
    ("DDIM", STABLE_DIFFUSION, 7),
    ("DDIM", {**ZERO, "clip_sample": False}, 7),
    ("PNDM", {**LATENT, "skip_prk_steps": True, "steps_offset": 1, "prediction_type": "v_prediction"}, 6),
    ("UniPCMultistep", {**LATENT, "solver_order": 3, "use_karras_sigmas": True}, 7),
    ("DPMSolverMultistep", {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}, 7),
    ("EulerDiscrete", {**LATENT, "timestep_spacing": "leading", "steps_offset": 1}, 7),
    ("LMSDiscrete", LATENT, 7),
    ("KDPM2Discrete", LATENT, 4),
    ("CogVideoXDDIM", {**ZERO, "clip_sample": False}, 7),
]


class TestOwnScheduler:
    @pytest.mark.parametrize(("name", "options", "steps"), OWN, ids=[f"{name}-{len(options)}" for name, options, _ in OWN])
    def test_ends_where_it_ends_itself(self, name, options, steps, network, noise, field_of, deviation, run_loop):
        scheduler = getattr(diffusers, f"{name}Scheduler")(**options)
        schedule = read_schedule(scheduler)
        expected = run_loop(scheduler, network, noise, steps)
        scheduler.set_timesteps(steps)
        first = scheduler.scale_model_input(noise * scheduler.init_noise_sigma, scheduler.timesteps[0])
        with torch.no_grad():
            field = field_of(network, schedule.path, scheduler.config.prediction_type)
            assert deviation(sample(field, first, 7, "pipeline"), expected) < 3e-6

    def test_options_may_be_changed(self):
        path = path_with(diffusers.DDIMScheduler(**STABLE_DIFFUSION))
        found = table(path, WHOLE, 5, "pipeline[timestep_spacing=trailing]")
        assert float(path.timestep(found.times[0])) == 999

    def test_clipping_is_named(self):
        path = path_with(diffusers.DDIMScheduler(**LATENT))
        with pytest.raises(NotApplicableError, match=r"clip_sample=true is not linear .*; clip_sample=false leaves it out"):
            table(path, WHOLE, 5, "pipeline")
        assert table(path, WHOLE, 5, "pipeline[clip_sample=false]").nfe == 5

    def test_stochastic_ones_stay_refused(self):
        with pytest.raises(NotApplicableError, match="stochastic"):
            table(path_with(diffusers.DDPMScheduler(**LATENT, clip_sample=False)), WHOLE, 5, "pipeline")


def test_one_path_for_one_network():
    """Zero terminal SNR, whatever the scheduler keeps in the place of a level of 0."""
    options = {**LATENT, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    names = ("DDIM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep", "DDPM")
    schedulers = [getattr(diffusers, f"{name}Scheduler")(**options) for name in names]
    assert len({float(one.alphas_cumprod[-1]) for one in schedulers}) > 1
    paths = [path_with(one) for one in schedulers]
    assert all(path == paths[0] for path in paths)
    torch.testing.assert_close(
        table(paths[0], WHOLE, 5, "DPMSolverMultistep[timestep_spacing=trailing]").b,
        table(paths[2], WHOLE, 5, "DPMSolverMultistep[timestep_spacing=trailing]").b,
    )


def test_levels_that_happen_to_be_small_are_kept():
    rates = [1e-3] * 999 + [1 - 2.0**-24 / (1 - 1e-3) ** 999]
    path = path_with(diffusers.EulerDiscreteScheduler(trained_betas=rates))
    assert float(path.alphas_cumprod[-1]) < 1e-7


class TestPipelines:
    def pair(self, folder, scheduler, **options):
        """A pipeline with that scheduler, and the model that it is."""
        pytest.importorskip("transformers")
        first, second = load_pipeline(folder), load_pipeline(folder)
        first.scheduler, second.scheduler = scheduler, copy.deepcopy(scheduler)
        return first, wrap(second, Options(prompts=("a fox",), **options))

    def run(self, pipeline, noise, **arguments):
        """What the pipeline itself makes of this noise, without guidance."""
        pipeline.set_progress_bar_config(disable=True)
        told = {"num_inference_steps": 5, "output_type": "latent", "return_dict": False, **arguments}
        with torch.no_grad():
            return pipeline("a fox", latents=noise.clone(), **told)[0]

    def solved(self, model, noise, scheduler, sigmas="own"):
        with torch.no_grad():
            field = model.field(model.conditions(torch.tensor([0])))
            return table(model.path, model.interval, 5, scheduler, sigmas)(field, noise)

    def test_of_flux_with_its_shift(self, tiny, deviation):
        """Its pipeline passes sigmas, and mu by the number of tokens."""
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_image_seq_len=4)
        pipeline, model = self.pair(tiny("flux"), scheduler, size=32)
        noise = torch.randn(1, *model.shape)
        expected = unpack(self.run(pipeline, pack(noise), height=32, width=32), *model.shape[1:])
        assert deviation(self.solved(model, noise, "pipeline"), expected) < 1e-5
        assert deviation(self.solved(model, noise, "FlowMatchEulerDiscrete", "linear"), expected) < 1e-5
        assert deviation(self.solved(model, noise, "FlowMatchEulerDiscrete"), expected) > 1e-3

    def test_of_stable_diffusion_3_with_its_shift(self, tiny, deviation):
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
        pipeline, model = self.pair(tiny("sd3"), scheduler)
        noise, side = torch.randn(1, *model.shape), model.shape[-1] * pipeline.vae_scale_factor
        expected = self.run(pipeline, noise, guidance_scale=1.0, height=side, width=side)
        for scheduler in ("pipeline", "FlowMatchEulerDiscrete"):
            assert deviation(self.solved(model, noise, scheduler), expected) < 1e-5

    def test_of_sana_whose_scheduler_rounds_timesteps(self, tiny, deviation):
        """The pipeline's network is told the rounded ones, and so it is here; solvers are otherwise told the time itself."""
        options = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
        pipeline, model = self.pair(tiny("sana"), diffusers.DPMSolverMultistepScheduler(**options))
        noise, size = torch.randn(1, *model.shape), {"height": 32, "width": 32, "use_resolution_binning": False}
        expected = self.run(pipeline, noise, guidance_scale=1.0, **size)
        assert deviation(self.solved(model, noise, "pipeline"), expected) < 1e-5
        assert deviation(self.solved(model, noise, "DPMSolverMultistep"), expected) > 1e-5

    def test_saved_with_a_solver(self, tiny, tmp_path):
        pipeline = load_pipeline(tiny("ddpm"))
        model = wrap(pipeline)
        solver = table(model.path, model.interval, 4, "DDIM")
        pipeline.scheduler = NonStationaryScheduler(
            solver.to_dict(), model.path.to_dict(), prediction_type="v_prediction", num_train_timesteps=1000
        )
        pipeline.save_pretrained(tmp_path)
        again = diffusers_model(str(tmp_path))
        assert (again.path, again.prediction, again.interval) == (model.path, "v", WHOLE)
        assert again.fingerprint() == model.fingerprint()
        torch.testing.assert_close(table(again.path, WHOLE, 4, "pipeline").b, solver.b, rtol=0, atol=0)
        with pytest.raises(NotApplicableError, match="holds a solver that spends 4 evaluations, not 5"):
            table(again.path, WHOLE, 5, "pipeline")
        torch.testing.assert_close(table(again.path, WHOLE, 4, "DDIM[timestep_spacing=leading]").b, solver.b)


def test_the_shift_is_the_line_of_the_configuration():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_image_seq_len=100, max_image_seq_len=300, base_shift=1.0, max_shift=2.0
    )
    path = read_schedule(scheduler).path
    origin = origin_of(path)
    assert origin is not None
    assert origin.shift(scheduler.config) is None
    told = Origin(origin.scheduler, origin.configuration, origin.prediction_type, tokens=150)
    assert told.shift(scheduler.config) == pytest.approx(1.25)
    attach(path, told)
    scheduler.set_timesteps(6, mu=1.25)
    found = table(path, WHOLE, 6, "FlowMatchEulerDiscrete")
    torch.testing.assert_close(1 - found.times[:-1], scheduler.sigmas[:-1].double(), atol=1e-6, rtol=0)
    other = table(path, WHOLE, 6, "FlowMatchEulerDiscrete", mu=0.3)
    assert float((found.times - other.times).abs().max()) > 0.01


def test_a_configuration_is_plain():
    rates = torch.linspace(1e-4, 0.02, 1000).numpy()
    origin = origin_of(path_with(diffusers.DDIMScheduler(trained_betas=rates)))
    assert origin is not None
    assert len(json.loads(origin.configuration)["trained_betas"]) == 1000
    hash(origin)


@pytest.mark.parametrize("text", ["pipeline[no_such=1]", "pipeline[eta=1]"])
def test_options_that_the_own_scheduler_has_not(text):
    with pytest.raises(UsageError, match="DDIMScheduler has no option"):
        table(path_with(diffusers.DDIMScheduler(**STABLE_DIFFUSION)), WHOLE, 5, text)


def test_the_prediction_type_is_the_network_s():
    path = path_with(diffusers.DDIMScheduler(**STABLE_DIFFUSION, prediction_type="sample"))
    driver = driver_for(find_class("UniPCMultistep", origin_of(path)), path, WHOLE, origin=origin_of(path))
    assert driver.make().config.prediction_type == "sample"
    assert isinstance(read_schedule(diffusers.FlowMatchEulerDiscreteScheduler()).path, CondOT)
