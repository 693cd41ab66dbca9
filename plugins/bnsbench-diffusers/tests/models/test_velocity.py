"""The wrapped velocity of every kind against the pipeline's own components, called directly and converted by hand."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from scipy.interpolate import PchipInterpolator

from bnsbench.plugin import NotApplicableError
from bnsbench_diffusers.models.loading import load_pipeline
from bnsbench_diffusers.testing import KINDS

pytestmark = pytest.mark.filterwarnings("ignore:`past_key_values`:FutureWarning")  # AudioLDM2's own, of its GPT-2

COUNT = 3
PROMPTS = ("a red fox in the snow", "two boats", "an empty street at night")


def call_unet2d(pipe, x, timestep, indices):
    return pipe.unet(x, timestep).sample


def call_class_unet2d(pipe, x, timestep, indices):
    return pipe.unet(x, timestep, class_labels=indices % 6).sample.chunk(2, dim=1)[0]


def call_dit(pipe, x, timestep, indices):
    timesteps = torch.full((len(x),), timestep)
    return pipe.transformer(x, timestep=timesteps, class_labels=indices % 1000).sample.chunk(2, dim=1)[0]


def texts(indices):
    return [PROMPTS[int(i) % len(PROMPTS)] for i in indices]


def call_sd(pipe, x, timestep, indices):
    given, _ = pipe.encode_prompt(texts(indices), "cpu", 1, False)
    return pipe.unet(x, timestep, encoder_hidden_states=given).sample


def call_sdxl(pipe, x, timestep, indices):
    given, _, pooled, _ = pipe.encode_prompt(texts(indices), do_classifier_free_guidance=False)
    sizes = torch.tensor([[16.0, 16, 0, 0, 16, 16]]).repeat(len(x), 1)
    added = {"text_embeds": pooled, "time_ids": sizes}
    return pipe.unet(x, timestep, encoder_hidden_states=given, added_cond_kwargs=added).sample


def call_pixart(pipe, x, timestep, indices, length, added):
    given, mask, _, _ = pipe.encode_prompt(texts(indices), False, max_sequence_length=length)
    timesteps = torch.full((len(x),), timestep)
    output = pipe.transformer(
        x, timestep=timesteps, encoder_hidden_states=given, encoder_attention_mask=mask, added_cond_kwargs=added
    )
    return output.sample.chunk(2, dim=1)[0]


def call_pixart_alpha(pipe, x, timestep, indices):
    added = {"resolution": torch.full((len(x), 2), 256.0), "aspect_ratio": torch.ones(len(x), 1)}
    return call_pixart(pipe, x, timestep, indices, 120, added)


def call_pixart_sigma(pipe, x, timestep, indices):
    return call_pixart(pipe, x, timestep, indices, 300, {"resolution": None, "aspect_ratio": None})


def call_sd3(pipe, x, timestep, indices):
    prompts = texts(indices)
    given, _, pooled, _ = pipe.encode_prompt(prompts, prompts, prompts, do_classifier_free_guidance=False)
    timesteps = torch.full((len(x),), timestep)
    return pipe.transformer(x, given, pooled_projections=pooled, timestep=timesteps).sample


def call_flux(pipe, x, timestep, indices):
    prompts = texts(indices)
    given, pooled, text_ids = pipe.encode_prompt(prompts, prompts)
    output = pipe.transformer(
        pipe._pack_latents(x, len(x), 4, 8, 8),
        encoder_hidden_states=given,
        pooled_projections=pooled,
        timestep=torch.full((len(x),), timestep / 1000),
        img_ids=pipe._prepare_latent_image_ids(len(x), 4, 4, "cpu", x.dtype),
        txt_ids=text_ids,
        guidance=torch.full((len(x),), 3.5),
    )
    return pipe._unpack_latents(output.sample, 16, 16, 2)


def call_sana(pipe, x, timestep, indices):
    instruction = inspect.signature(pipe.__call__).parameters["complex_human_instruction"].default
    given, mask, _, _ = pipe.encode_prompt(texts(indices), False, complex_human_instruction=instruction)
    assert len(instruction) > 3
    timesteps = torch.full((len(x),), timestep)
    return pipe.transformer(x, encoder_hidden_states=given, encoder_attention_mask=mask, timestep=timesteps).sample


def call_audioldm2(pipe, x, timestep, indices):
    """One by one: in a batch, what GPT-2 makes of a prompt depends on the length of the longest."""
    outputs = []
    for text, state in zip(texts(indices), x, strict=True):
        given, mask, generated = pipe.encode_prompt(text, "cpu", 1, False)
        told = {"encoder_hidden_states_1": given, "encoder_attention_mask_1": mask}
        outputs.append(pipe.unet(state[None], timestep, encoder_hidden_states=generated, **told).sample)
    return torch.cat(outputs)


def call_stable_audio(pipe, x, timestep, indices):
    given = pipe.encode_prompt(texts(indices), "cpu", False)
    begin, end = pipe.encode_duration(0.0, 16 * 128 / 16000, "cpu", False, len(x))
    return pipe.transformer(
        x,
        torch.full((len(x),), timestep / COSINE_STEPS),
        encoder_hidden_states=torch.cat([given, begin, end], dim=1),
        global_hidden_states=torch.cat([begin, end], dim=2),
        rotary_embedding=get_1d_rotary_pos_embed(4, 17, use_real=True, repeat_interleave_real=False),
        return_dict=False,
    )[0]


def call_qwen_image(pipe, x, timestep, indices):
    """One by one, so that no prompt is filled up."""
    outputs = []
    for text, state in zip(texts(indices), x[:, None], strict=True):
        given, mask = pipe.encode_prompt([text])
        assert mask is None
        tokens = pipe._pack_latents(state, 1, 4, 8, 8)
        told = {"encoder_hidden_states": given, "img_shapes": [[(1, 4, 4)]]}
        output = pipe.transformer(tokens, timestep=torch.tensor([timestep / 1000]), **told).sample
        outputs.append(pipe._unpack_latents(output, 16, 16, 2)[:, :, 0])
    return torch.cat(outputs)


def call_z_image(pipe, x, timestep, indices):
    """Its network predicts data minus noise and is told how far the way from noise to data is done."""
    given, _ = pipe.encode_prompt(texts(indices), do_classifier_free_guidance=False)
    outputs = pipe.transformer(list(x[:, :, None]), torch.full((len(x),), 1 - timestep / 1000), given).sample
    return -torch.stack(outputs)[:, :, 0]


def call_wan(pipe, x, timestep, indices):
    given, _ = pipe.encode_prompt(texts(indices), do_classifier_free_guidance=False, max_sequence_length=512)
    network = pipe.transformer_2 if pipe.transformer_2 is not None and timestep < 600 else pipe.transformer
    shape = (len(x), 2 * 4 * 4) if pipe.config.expand_timesteps else (len(x),)
    return network(x, timestep=torch.full(shape, float(timestep)), encoder_hidden_states=given).sample


def call_ltx(pipe, x, timestep, indices):
    given, mask, _, _ = pipe.encode_prompt(texts(indices), do_classifier_free_guidance=False)
    output = pipe.transformer(
        pipe._pack_latents(x),
        given,
        torch.full((len(x),), float(timestep)),
        mask,
        num_frames=2,
        height=4,
        width=4,
        rope_interpolation_scale=(4 / 25, 8, 8),
    )
    return pipe._unpack_latents(output.sample, 2, 4, 4)


CALLS = {
    "ddpm": call_unet2d,
    "ddim": call_unet2d,
    "ddpm-class": call_class_unet2d,
    "dit": call_dit,
    "sd": call_sd,
    "sd-v": call_sd,
    "sdxl": call_sdxl,
    "pixart-alpha": call_pixart_alpha,
    "pixart-sigma": call_pixart_sigma,
    "sd3": call_sd3,
    "flux": call_flux,
    "sana": call_sana,
    "audioldm2": call_audioldm2,
    "stable-audio": call_stable_audio,
    "qwen-image": call_qwen_image,
    "z-image": call_z_image,
    "wan": call_wan,
    "wan-2": call_wan,
    "wan-tokens": call_wan,
    "ltx": call_ltx,
}
"""The output of each kind's network for samples ``indices`` at one timestep."""

UNGUIDED = {"ddpm", "ddim", "ddpm-class", "flux"}
RESCALED = {"qwen-image"}
UNIPC_FLOWS = {"sana", "wan", "wan-2", "wan-tokens"}
VIDEOS = {"wan": (3, 3, 16, 16), "wan-2": (3, 3, 16, 16), "wan-tokens": (3, 3, 16, 16), "ltx": (3, 5, 32, 32)}
SOUNDS = {"audioldm2": (1024,), "stable-audio": (2, 2048)}
"""Of one decoded sample; all other kinds make images."""

COSINE_STEPS = 1001
"""What stands for 1 where networks are told numbers from 0 to 1."""


def diffusion_velocity(pipe, timestep, x, output):
    """u = alpha' x1 + sigma' epsilon, on the scheduler's noise levels interpolated in log(alpha / sigma).

    With alpha^2 + sigma^2 = 1 and l the log-SNR, alpha' = alpha sigma^2 l' and sigma' = -sigma alpha^2 l'.
    """
    levels = pipe.scheduler.alphas_cumprod.double().numpy()
    last = len(levels) - 1
    log_snr = 0.5 * np.log(levels / (1 - levels))
    slope = PchipInterpolator(np.arange(last + 1) / last, log_snr[::-1]).derivative()(1 - timestep / last)
    alpha, sigma = np.sqrt(levels[timestep]), np.sqrt(1 - levels[timestep])
    if pipe.scheduler.config.prediction_type == "v_prediction":
        noise, data = alpha * output + sigma * x, alpha * x - sigma * output
    else:
        noise, data = output, (x - sigma * output) / alpha
    return slope * alpha * sigma * (sigma * data - alpha * noise)


def edm_velocity(pipe, timestep, x, output):
    """The ODE dy/ds = (y - x1) / s of Karras et al. 2022 in the scheduler's own terms, carried over to x.

    With x = y / sqrt(s^2 + 1); the network is told c = (2 / pi) atan s = 1 - t, so ds/dt = -(pi / 2) (s^2 + 1).
    """
    s = math.tan(math.pi / 2 * timestep / COSINE_STEPS)
    norm = math.sqrt(s**2 + 1)
    x, y = x.double(), x.double() * norm
    assert float(pipe.scheduler.precondition_noise(s)) == pytest.approx(timestep / COSINE_STEPS)
    torch.testing.assert_close(pipe.scheduler.precondition_inputs(y, s), x)
    data = pipe.scheduler.precondition_outputs(y, output.double(), s)
    return -math.pi / 2 * norm**2 * ((y - data) / s / norm - y * s / norm**3)


def expected_velocity(kind, pipe, timestep, x, indices):
    with torch.no_grad():
        output = CALLS[kind](pipe, x, timestep, indices)
    if "FlowMatch" in type(pipe.scheduler).__name__ or kind in UNIPC_FLOWS:
        return -output
    if kind == "stable-audio":
        return edm_velocity(pipe, timestep, x, output)
    return diffusion_velocity(pipe, timestep, x, output)


def time_of(model, timestep):
    last = {"condot": 1000, "discrete-vp": 999, "cosine": COSINE_STEPS}[model.path.name]
    return torch.tensor(1 - timestep / last, dtype=torch.float64)


def states(model):
    return torch.randn(COUNT, *model.shape, generator=torch.Generator().manual_seed(5))


def test_every_kind_is_tested():
    assert set(CALLS) == set(KINDS)


@pytest.mark.parametrize("timestep", [999, 617, 4])
@pytest.mark.parametrize("kind", CALLS)
def test_the_velocity_is_the_networks(kind, timestep, tiny, load):
    model, pipe = load(kind), load_pipeline(tiny(kind))
    x, indices = states(model), torch.arange(COUNT)
    with torch.no_grad():
        found = model.field(model.conditions(indices))(time_of(model, timestep), x)
    expected = expected_velocity(kind, pipe, timestep, x, indices)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=2e-5, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", CALLS)
def test_conditions_make_a_difference(kind, load):
    model = load(kind)
    conditions = model.conditions(torch.arange(2))
    if conditions is None:
        pytest.skip("unconditional")
    x = states(model)[:1].expand(2, *model.shape)
    first, second = model.field(conditions)(torch.tensor(0.4), x)
    assert float((first - second).norm() / first.norm()) > 1e-3


@pytest.mark.parametrize("kind", sorted(set(CALLS) - UNGUIDED - RESCALED))
def test_guidance_is_two_predictions(kind, load):
    model = load(kind)
    x, t, condition = states(model), torch.tensor(0.3), model.conditions(torch.arange(COUNT))
    with torch.no_grad():
        found = model.field(condition, 2.0)(t, x)
        given, without = (model.field(each)(t, x) for each in (condition, model.null_condition(condition)))
    assert float((given - without).norm() / given.norm()) > 1e-4
    torch.testing.assert_close(found, 3 * given - 2 * without, rtol=1e-4, atol=1e-4 * float(given.abs().max()))
    assert model.forwards_per_evaluation(2.0) == 2


def test_guidance_of_qwen_image_keeps_the_length_of_tokens(load):
    """Which its pipeline calls true CFG: a token is a square of four latents of four channels."""
    model = load("qwen-image")
    x, t, condition = states(model), torch.tensor(0.3), model.conditions(torch.arange(COUNT))
    scales = torch.tensor([0.0, 2.0, 5.0], dtype=torch.float64)
    with torch.no_grad():
        found = model.field(condition, scales)(t, x)
        given, without = (model.field(each)(t, x) for each in (condition, model.null_condition(condition)))
    mixed = given + scales.float().view(-1, 1, 1, 1) * (given - without)
    lengths = [part.unfold(2, 2, 2).unfold(3, 2, 2).square().sum((1, 4, 5)).sqrt() for part in (given, mixed)]
    factor = (lengths[0] / lengths[1]).repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
    torch.testing.assert_close(found, mixed * factor, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0], given[0], rtol=1e-4, atol=1e-5)
    assert float((found - mixed)[1:].abs().max()) > 1e-3
    with pytest.raises(NotApplicableError, match="no table can weigh its answers apart"):
        model.field(condition, 2.0).answers(t, x, 2.0)


def test_the_second_network_of_wan_has_guidance_of_its_own(load):
    model, alike = load("wan-2", guidance_scale_2=2.5), load("wan-2")
    assert model.jumps == pytest.approx((0.4,))
    x, condition = states(model), model.conditions(torch.arange(COUNT))
    with torch.no_grad():
        for t, w in ((0.4, 3.0), (0.41, 1.5)):
            found = model.field(condition, 3.0)(torch.tensor(t, dtype=torch.float64), x)
            expected = alike.field(condition, w)(torch.tensor(t, dtype=torch.float64), x)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        mixed = model.field(condition, torch.tensor([3.0, 0.0, 1.0]))(torch.tensor([0.2, 0.7, 0.7]), x)
        each = [alike.field(condition[i : i + 1], w)(torch.tensor(t), x[i : i + 1]) for i, (t, w) in enumerate(PLACES)]
    torch.testing.assert_close(mixed, torch.cat(each), rtol=1e-4, atol=1e-5)
    assert model.fingerprint() != alike.fingerprint()
    assert alike.field(condition, 3.0).answers(torch.tensor(0.7), x, 3.0).shape == (2, *x.shape)
    with pytest.raises(NotApplicableError, match="no table can weigh its answers apart"):
        model.field(condition, 3.0).answers(torch.tensor(0.7), x, 3.0)


PLACES = ((0.2, 3.0), (0.7, 0.0), (0.7, 1.5))
"""Times of three samples and their guidance; without any of the first network the second has none either."""


@pytest.mark.parametrize("kind", sorted(set(CALLS)))
def test_a_part_of_a_batch_is_treated_alike(kind, load):
    model = load(kind)
    x, t = states(model), torch.tensor([0.2, 0.5, 0.9])
    guidance = 0.0 if kind in UNGUIDED else 1.5
    field = model.field(model.conditions(torch.arange(COUNT)), guidance)
    with torch.no_grad():
        whole = field(t, x)
        parts = torch.cat([field.part(slice(i, i + 1))(t[i : i + 1], x[i : i + 1]) for i in range(COUNT)])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))


@pytest.mark.parametrize("kind", CALLS)
def test_times_and_states_have_gradients(kind, load):
    model = load(kind)
    x = states(model).requires_grad_()
    t = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    model.field(model.conditions(torch.arange(COUNT)))(t, x).square().sum().backward()
    assert bool(x.grad.isfinite().all())
    assert float(x.grad.abs().max()) > 0
    assert abs(float(t.grad)) > 0
    assert all(parameter.grad is None for parameter in model.network.parameters())


@pytest.mark.parametrize(("kind", "shape"), SOUNDS.items())
def test_decoded_sounds(kind, shape, load):
    model = load(kind)
    with torch.no_grad():
        sounds = model.decode(states(model))
    assert sounds.shape == (COUNT, *shape)
    assert sounds.dtype == torch.float32
    assert model.sample_rate == 16000
    assert model.modality("image") == "audio"
    assert float(sounds.std()) > 0.01


@pytest.mark.parametrize(("kind", "shape"), VIDEOS.items())
def test_decoded_videos(kind, shape, load):
    model = load(kind)
    with torch.no_grad():
        videos = model.decode(20 * states(model))
    assert videos.shape == (COUNT, *shape)
    assert videos.dtype == torch.float32
    assert model.modality("image") == "video"
    assert float(videos.abs().max()) <= 1
    assert float(videos.std()) > 0.01


@pytest.mark.parametrize("kind", sorted(set(CALLS) - set(SOUNDS) - set(VIDEOS)))
def test_decoded_images(kind, load):
    model = load(kind)
    with torch.no_grad():
        images = model.decode(20 * states(model))
    assert images.shape[:2] == (COUNT, 3)
    assert images.shape[2] == images.shape[3]
    assert images.dtype == torch.float32
    assert float(images.min()) >= -1
    assert float(images.max()) <= 1
    assert float(images.std()) > 0.01


@pytest.mark.parametrize("kind", CALLS)
def test_the_fingerprint_changes_with_a_weight(kind, tiny, load, tmp_path):
    pipe = load_pipeline(tiny(kind))
    network = next(getattr(pipe, name) for name in ("unet", "transformer_2", "transformer") if getattr(pipe, name, None))
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] += 1e-3
    pipe.save_pretrained(tmp_path / "other")
    first, again, other = load(kind), load(kind), load(kind, tmp_path / "other")
    assert first.fingerprint() == again.fingerprint()
    assert first.fingerprint() != other.fingerprint()
