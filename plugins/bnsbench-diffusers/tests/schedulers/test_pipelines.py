"""Unmodified pipelines with random weights under NonStationaryScheduler, against the engine on the same networks.

The fields are written out here, guidance included, from what the pipelines' documentation says; nothing is downloaded.
"""

from __future__ import annotations

import inspect
import json

import diffusers
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch import nn

from bnsbench.paths import CondOT
from bnsbench.plugin import SolverArtefact, UsageError
from bnsbench_diffusers.schedule import read_schedule
from bnsbench_diffusers.schedulers.conventions import path_of, prediction_type_of
from bnsbench_diffusers.schedulers.export import export
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler
from bnsbench_diffusers.schedulers.traced import table

pytestmark = pytest.mark.filterwarnings("ignore")

NFE = 4
LATENTS = (2, 4, 8, 8)


@pytest.fixture
def latents():
    return torch.randn(LATENTS)


@pytest.fixture
def ddpm():
    def make(prediction="epsilon"):
        unet = UNet2DModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=4,
        )
        return quiet(DDPMPipeline(unet.eval(), DDPMScheduler(prediction_type=prediction, clip_sample=False)))

    return make


@pytest.fixture
def autoencoder():
    return AutoencoderKL(
        latent_channels=4,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()


def quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(pipeline, **arguments):
    with torch.no_grad():
        return pipeline(num_inference_steps=NFE, return_dict=False, **arguments)[0]


def as_image(x):
    return (x / 2 + 0.5).clamp(0, 1)


def distance(found, expected):
    return float((torch.as_tensor(found) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_unconditional(prediction, ddpm, field_of, artefact_for, tmp_path):
    pipeline = ddpm(prediction)
    artefact = artefact_for(path_of(pipeline.scheduler), NFE)
    pipeline.scheduler = NonStationaryScheduler.from_artefact(artefact, pipeline.scheduler)
    found = run(pipeline, batch_size=2, output_type="pt", generator=torch.Generator().manual_seed(3))
    start = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    field = field_of(lambda x, t: pipeline.unet(x, t).sample, artefact.path, prediction)
    with torch.no_grad():
        expected = as_image(artefact.solver(field, start))
    assert distance(found, expected) < 1e-5
    pipeline.save_pretrained(tmp_path)
    again = quiet(DDPMPipeline.from_pretrained(tmp_path, local_files_only=True))
    assert isinstance(again.scheduler, NonStationaryScheduler)
    assert torch.equal(run(again, batch_size=2, output_type="pt", generator=torch.Generator().manual_seed(3)), found)


@pytest.mark.parametrize("scheduler", ["DDIM[timestep_spacing=trailing]", "DPMSolverMultistep"])
def test_a_traced_scheduler_makes_the_images_of_the_scheduler_itself(scheduler, ddpm):
    pipeline = ddpm()
    path = path_of(pipeline.scheduler)
    name, _, spaced = scheduler.partition("[")
    settings = {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "trailing"} if spaced else {}
    settings |= {} if spaced else {"final_sigmas_type": "sigma_min"}
    start = pipeline.scheduler
    images = []
    solver = table(path, (0.0, 1.0), NFE, scheduler).to_dict()
    for one in (
        getattr(diffusers, f"{name}Scheduler")(**settings),
        NonStationaryScheduler(solver, path.to_dict(), prediction_type=start.config.prediction_type),
    ):
        pipeline.scheduler = one
        images.append(run(pipeline, batch_size=2, output_type="pt", generator=torch.Generator().manual_seed(3)))
    assert distance(*images) < 1e-5


def test_class_conditional_with_guidance(autoencoder, field_of, artefact_for):
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        activation_fn="gelu-approximate",
    ).eval()
    for parameter in transformer.parameters():  # its last layers begin at zero
        nn.init.normal_(parameter, std=0.2)
    pipeline = quiet(DiTPipeline(transformer, autoencoder, DDIMScheduler(clip_sample=False)))
    artefact = artefact_for(path_of(pipeline.scheduler), NFE)
    pipeline.scheduler = NonStationaryScheduler.from_artefact(artefact, pipeline.scheduler)
    generator = torch.Generator().manual_seed(3)
    found = run(pipeline, class_labels=[5, 9], guidance_scale=3.0, output_type="pt", generator=generator)

    def network(x, t):
        labels = torch.tensor([5, 9, 1000, 1000])
        outputs = transformer(torch.cat([x, x]), timestep=t.expand(4), class_labels=labels).sample[:, :4]
        conditional, unconditional = outputs.chunk(2)
        return unconditional + 3.0 * (conditional - unconditional)

    start = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        x = artefact.solver(field_of(network, artefact.path, "epsilon"), start)
        expected = as_image(autoencoder.decode(x / autoencoder.config.scaling_factor).sample)
    assert distance(found, expected) < 1e-5


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_text_to_image_with_guidance(prediction, autoencoder, latents, field_of, artefact_for):
    pytest.importorskip("transformers")
    from diffusers import StableDiffusionPipeline

    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    ).eval()
    scheduler = EulerDiscreteScheduler(1000, 0.00085, 0.012, "scaled_linear", steps_offset=1, prediction_type=prediction)
    pipeline = quiet(
        StableDiffusionPipeline(autoencoder, None, None, unet, scheduler, None, None, requires_safety_checker=False)
    )
    artefact = artefact_for(path_of(scheduler), NFE)
    pipeline.scheduler = NonStationaryScheduler.from_artefact(artefact, pipeline.scheduler)
    text, empty = torch.randn(2, 2, 7, 16)
    found = run(
        pipeline,
        prompt_embeds=text,
        negative_prompt_embeds=empty,
        guidance_scale=3.0,
        latents=latents.clone(),
        output_type="latent",
    )

    def network(x, t):
        conditional, unconditional = (unet(x, t, encoder_hidden_states=each).sample for each in (text, empty))
        return unconditional + 3.0 * (conditional - unconditional)

    start = latents * pipeline.scheduler.init_noise_sigma
    with torch.no_grad():
        expected = artefact.solver(field_of(network, artefact.path, prediction), start)
    assert distance(found, expected) < 1e-5


def test_flow_whose_pipeline_passes_sigmas_and_a_shift(autoencoder, field_of, artefact_for):
    pytest.importorskip("transformers")
    from diffusers import FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    ).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipeline = quiet(FluxPipeline(scheduler, autoencoder, None, None, None, None, transformer))
    artefact = artefact_for(CondOT(), NFE)
    pipeline.scheduler = NonStationaryScheduler.from_artefact(artefact, scheduler)
    start, text, pooled = torch.randn(2, 16, 16), torch.randn(2, 5, 32), torch.randn(2, 32)
    size = 8 * pipeline.vae_scale_factor
    found = run(
        pipeline,
        height=size,
        width=size,
        latents=start.clone(),
        prompt_embeds=text,
        pooled_prompt_embeds=pooled,
        output_type="latent",
    )
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    places = torch.stack([torch.zeros(16), rows.reshape(-1), columns.reshape(-1)], dim=1)

    def network(x, t):
        return transformer(
            hidden_states=x,
            timestep=t.expand(2) / 1000,
            pooled_projections=pooled,
            encoder_hidden_states=text,
            txt_ids=torch.zeros(5, 3),
            img_ids=places,
        ).sample

    with torch.no_grad():
        expected = artefact.solver(field_of(network, artefact.path, "flow_prediction"), start)
    assert distance(found, expected) < 1e-5
    with pytest.raises(UsageError, match="num_inference_steps=4, not 6"):
        pipeline(prompt_embeds=text, pooled_prompt_embeds=pooled, height=size, width=size, num_inference_steps=6)


PROMPTS = ["a red fox in the snow", "two boats"]
SCALE = 3.0


@pytest.fixture
def tiny(tmp_path):
    pytest.importorskip("transformers")
    from bnsbench_diffusers.models.loading import load_pipeline
    from bnsbench_diffusers.testing import make_tiny_pipeline

    return lambda kind: quiet(load_pipeline(make_tiny_pipeline(kind, tmp_path / kind)))


def as_made(pipeline, artefact_for, field_of, network, start, **arguments):
    """A pipeline's latents under a solver, and those of the engine with the guided network written out."""
    schedule = read_schedule(pipeline.scheduler)
    prediction = prediction_type_of(pipeline.scheduler)
    artefact = artefact_for(schedule.path, NFE, schedule.interval)
    pipeline.scheduler = NonStationaryScheduler.from_artefact(artefact, pipeline.scheduler)
    found = run(pipeline, prompt=PROMPTS, guidance_scale=SCALE, latents=start.clone(), output_type="latent", **arguments)

    def guided(x, t):
        without, given = network(torch.cat([x, x]), t).chunk(2)
        return without + SCALE * (given - without)

    with torch.no_grad():
        x0 = start * pipeline.scheduler.init_noise_sigma
        return found, artefact.solver(field_of(guided, schedule.path, prediction), x0)


def test_audioldm2(tiny, field_of, artefact_for):
    pipeline = tiny("audioldm2")
    states, mask, generated = pipeline.encode_prompt(PROMPTS, "cpu", 1, True)
    told = {"encoder_hidden_states": generated, "encoder_hidden_states_1": states, "encoder_attention_mask_1": mask}
    start = torch.randn(2, 4, 8, 4)
    found, expected = as_made(
        pipeline, artefact_for, field_of, lambda x, t: pipeline.unet(x, t, **told).sample, start, audio_length_in_s=0.064
    )
    assert distance(found, expected) < 1e-5


def test_stable_audio(tiny, field_of, artefact_for):
    """Its scheduler keeps x / alpha, begins at 500 and is told 2 / pi atan(sigma / alpha); ours keeps x and begins at 1."""
    pipeline = tiny("stable-audio")
    given = pipeline.encode_prompt(PROMPTS, "cpu", False)
    begin, end = pipeline.encode_duration(0.0, 0.1, "cpu", False, 2)
    states, duration = torch.cat([given, begin, end], dim=1), torch.cat([begin, end], dim=2)
    told = {
        "encoder_hidden_states": torch.cat([torch.zeros_like(states), states]),
        "global_hidden_states": torch.cat([duration, duration]),
        "rotary_embedding": get_1d_rotary_pos_embed(4, 17, use_real=True, repeat_interleave_real=False),
    }

    def network(x, t):
        return pipeline.transformer(x, t.reshape(1), **told, return_dict=False)[0]

    start = torch.randn(2, 4, 16)
    assert pipeline.scheduler.init_noise_sigma > 500
    found, expected = as_made(
        pipeline, artefact_for, field_of, network, start, audio_end_in_s=0.1, generator=torch.Generator()
    )
    assert pipeline.scheduler.init_noise_sigma == pytest.approx(1.0, abs=1e-5)
    assert float(pipeline.scheduler.timesteps.max()) < 1
    assert distance(found, expected) < 1e-5


def test_sana(tiny, field_of, artefact_for):
    pipeline = tiny("sana")
    instruction = inspect.signature(pipeline.__call__).parameters["complex_human_instruction"].default
    given, mask, without, no_mask = pipeline.encode_prompt(PROMPTS, complex_human_instruction=instruction)
    told = {"encoder_hidden_states": torch.cat([without, given]), "encoder_attention_mask": torch.cat([no_mask, mask])}
    size = {"height": 32, "width": 32, "use_resolution_binning": False}
    found, expected = as_made(
        pipeline,
        artefact_for,
        field_of,
        lambda x, t: pipeline.transformer(x, timestep=t.expand(4), **told, return_dict=False)[0],
        torch.randn(2, 4, 8, 8),
        **size,
    )
    assert distance(found, expected) < 1e-5


def test_a_pipeline_that_asks_for_other_steps(ddpm, artefact_for):
    pipeline = ddpm()
    pipeline.scheduler = NonStationaryScheduler.from_artefact(
        artefact_for(path_of(pipeline.scheduler), NFE), pipeline.scheduler
    )
    with pytest.raises(UsageError, match="num_inference_steps=4, not 1000"):
        pipeline()


class TestExport:
    @pytest.fixture
    def folder(self, ddpm, tmp_path):
        ddpm("v_prediction").scheduler.save_pretrained(tmp_path / "pipeline/scheduler")
        return tmp_path / "pipeline"

    @pytest.fixture
    def artefact(self, ddpm, artefact_for):
        return artefact_for(path_of(ddpm().scheduler), NFE)

    def test_asks_the_pipeline(self, folder, artefact, tmp_path):
        file = export(artefact, tmp_path / "out", pipeline=str(folder))
        assert file == tmp_path / "out/scheduler_config.json"
        assert json.loads(file.read_text())["prediction_type"] == "v_prediction"
        assert NonStationaryScheduler.from_pretrained(tmp_path / "out").table.nfe == NFE

    def test_asks_the_pipeline_that_the_model_is(self, folder, artefact, tmp_path):
        facts = {**artefact.to_dict(), "model": f"diffusers[path={folder}]"}
        file = export(SolverArtefact.from_dict(facts), tmp_path / "out")
        assert json.loads(file.read_text())["prediction_type"] == "v_prediction"

    def test_without_a_pipeline(self, artefact, artefact_for, tmp_path):
        export(artefact, tmp_path / "told", prediction_type="epsilon")
        assert NonStationaryScheduler.from_pretrained(tmp_path / "told").prediction_type == "epsilon"
        export(artefact_for(CondOT()), tmp_path / "flow")
        assert NonStationaryScheduler.from_pretrained(tmp_path / "flow").prediction_type == "flow_prediction"
        with pytest.raises(UsageError, match=r"pass pipe\.scheduler, or prediction_type"):
            export(artefact, tmp_path / "untold")

    def test_another_prediction_type_than_the_pipeline_s(self, folder, artefact, tmp_path):
        with pytest.raises(UsageError, match="'epsilon', but the pipeline's predicts 'v_prediction'"):
            export(artefact, tmp_path / "out", pipeline=str(folder), prediction_type="epsilon")

    def test_no_pipeline_there(self, artefact, tmp_path):
        with pytest.raises(UsageError, match="holds no scheduler of diffusers"):
            export(artefact, tmp_path / "out", pipeline=str(tmp_path))
