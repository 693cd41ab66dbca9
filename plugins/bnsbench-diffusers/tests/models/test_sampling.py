"""Our engine against the pipelines' own calls: the same noise, timesteps and guidance give the same end states.

The tiny pipelines' schedulers space timesteps so that the first is the last of the schedule and the final step ends at
timestep 0, which are the ends of our interval. Network and scheduler compute in float32, as users have it.
"""

from __future__ import annotations

import functools
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_utils import SchedulerOutput

from bnsbench.plugin import NonStationarySolver, combine, to_data, to_noise, trace
from bnsbench_diffusers.models.loading import load_pipeline
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler
from bnsbench_diffusers.testing import SMALLEST

pytestmark = pytest.mark.filterwarnings("ignore:`past_key_values`:FutureWarning")  # AudioLDM2's own, of its GPT-2

PROMPTS = ("a red fox in the snow", "two boats", "an empty street at night")
STEPS = 5
TOLERANCE = 5e-6
"""Relative deviation of end states."""


def euler(field, x, times):
    """Each step goes along the velocity at its beginning."""
    for s, t in pairwise(times):
        x = x + (t - s) * field(s, x)
    return x


def ddim(field, x, times):
    """Each step keeps what the network says at its beginning of noise and data (Song et al. 2021)."""
    path = field.path
    for s, t in pairwise(times):
        u = field(s, x)
        x = combine(path.alpha(t), to_data(path, s, x, u), path.sigma(t), to_noise(path, s, x, u))
    return x


def ours(model, sampler, noise, inner, guidance=0.0, first=0):
    """End states of samples from ``first`` on, by a table traced from a sampler with these inner times."""
    begin, end = model.interval
    times = torch.tensor([begin, *inner, end], dtype=torch.float64)
    table = trace(functools.partial(sampler, times=times), model.path, model.interval)
    indices = torch.arange(first, first + len(noise))
    with torch.no_grad():
        return table(model.field(model.conditions(indices), guidance), noise)


def recorded(pipe, call):
    """The state after the last step of a pipeline's call, before it is decoded, clamped and rounded."""
    found = []
    step = pipe.scheduler.step

    def record(*args, **options):
        result = step(*args, **options)
        found.append(result[0] if isinstance(result, tuple) else result.prev_sample)
        return result

    pipe.scheduler.step = record
    pipe.set_progress_bar_config(disable=True)
    call(pipe)
    return found[-1]


def ddim_times(pipe):
    pipe.scheduler.set_timesteps(STEPS)
    return 1 - pipe.scheduler.timesteps[1:].double() / 999


def deviation(found, expected):
    return float((found - expected).norm() / expected.norm())


def start(model, count=2):
    return torch.randn(count, *model.shape, generator=torch.Generator().manual_seed(3))


def test_ddim_of_pixels(tiny, load):
    model, pipe = load("ddim"), load_pipeline(tiny("ddim"))
    generator = torch.Generator().manual_seed(3)
    expected = recorded(pipe, lambda pipe: pipe(2, generator, num_inference_steps=STEPS, output_type="pt"))
    found = ours(model, ddim, start(model), ddim_times(pipe))
    assert deviation(found, expected) < TOLERANCE


def test_a_ddpm_pipeline_under_ddim(tiny, load):
    """The scheduler that a pipeline was saved with does not matter, only its noise levels."""
    model, saved, other = load("ddpm"), load_pipeline(tiny("ddpm")), load_pipeline(tiny("ddim"))
    other.scheduler.register_to_config(prediction_type=saved.scheduler.config.prediction_type)
    pipe = DDIMPipeline(saved.unet, other.scheduler)
    generator = torch.Generator().manual_seed(3)
    expected = recorded(pipe, lambda pipe: pipe(2, generator, num_inference_steps=STEPS, output_type="pt"))
    assert deviation(ours(model, ddim, start(model), ddim_times(pipe)), expected) < TOLERANCE


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_ddim_of_dit(tiny, load, guidance):
    model, pipe = load("dit"), load_pipeline(tiny("dit"))
    generator = torch.Generator().manual_seed(3)
    options = {"guidance_scale": 1 + guidance, "generator": generator, "num_inference_steps": STEPS, "output_type": "pt"}
    images = []
    states = recorded(pipe, lambda pipe: images.append(pipe([0, 1], **options).images))
    found = ours(model, ddim, start(model), ddim_times(pipe), guidance)
    assert deviation(found, states[:2]) < TOLERANCE
    torch.testing.assert_close(model.decode(states[:2]) / 2 + 0.5, images[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("guidance", [0.0, 3.0])
@pytest.mark.parametrize("kind", ["sd", "sd-v", "sdxl", "pixart-alpha", "pixart-sigma"])
def test_ddim_of_text_to_image(tiny, load, kind, guidance):
    model, pipe = load(kind), load_pipeline(tiny(kind))
    options = {"use_resolution_binning": False, "clean_caption": False} if kind.startswith("pixart") else {}
    noise = start(model)
    expected = pipe_call(pipe, noise, guidance, **options)
    found = ours(model, ddim, noise, ddim_times(pipe), guidance)
    assert deviation(found, expected) < TOLERANCE


def pipe_call(pipe, latents, guidance, **options):
    pipe.set_progress_bar_config(disable=True)
    shared = {"latents": latents.clone(), "num_inference_steps": STEPS, "output_type": "latent"}
    scale = {} if guidance is None else {"guidance_scale": 1 + guidance}
    return pipe(list(PROMPTS[: len(latents)]), **scale, **shared, **options)[0]


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_euler_of_stable_diffusion_3(tiny, load, guidance):
    model, pipe = load("sd3"), load_pipeline(tiny("sd3"))
    noise = start(model)
    sigmas = torch.linspace(1, 1 / STEPS, STEPS).tolist()
    expected = pipe_call(pipe, noise, guidance, sigmas=sigmas)
    found = ours(model, euler, noise, 1 - pipe.scheduler.sigmas[1:-1].double(), guidance)
    assert deviation(found, expected) < TOLERANCE


def test_euler_of_flux(tiny, load):
    """Of 16 pixels, with another embedded guidance than by default."""
    model, pipe = load("flux", embedded_guidance=2.5), load_pipeline(tiny("flux"))
    noise = start(model)
    packed = pipe._pack_latents(noise, len(noise), 4, 8, 8)
    expected = pipe_call(pipe, packed, 1.5, height=16, width=16)
    found = ours(model, euler, noise, 1 - pipe.scheduler.sigmas[1:-1].double())
    assert deviation(found, pipe._unpack_latents(expected, 16, 16, 2)) < TOLERANCE


@pytest.mark.parametrize("negative", ["", "blurred"])
@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_euler_of_sana(tiny, load, guidance, negative):
    """Under a scheduler of flows that tells the network fractional timesteps, which its own rounds."""
    model, pipe = load("sana", negative=negative), load_pipeline(tiny("sana"))
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    noise = start(model)
    options = {"height": 32, "width": 32, "use_resolution_binning": False, "negative_prompt": negative}
    expected = pipe_call(pipe, noise, guidance, sigmas=torch.linspace(1, 1 / STEPS, STEPS).tolist(), **options)
    found = ours(model, euler, noise, 1 - pipe.scheduler.sigmas[1:-1].double(), guidance)
    assert deviation(found, expected) < TOLERANCE


CLIP = {"height": 16, "width": 16, "num_frames": 3}


@pytest.mark.parametrize(
    ("kind", "guidance", "second"), [("wan", 3.0, 0.0), ("wan-tokens", 0.0, 0.0), ("wan-2", 3.0, 0.0), ("wan-2", 3.0, 2.0)]
)
def test_euler_of_wan(tiny, load, kind, guidance, second):
    """Under a scheduler that tells the network fractional timesteps, on both sides of where the second takes over."""
    model, pipe = load(kind, guidance_scale_2=second), load_pipeline(tiny(kind))
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    noise = start(model)
    apart = {"guidance_scale_2": second} if second else {}
    expected = pipe_call(pipe, noise, guidance, **CLIP, **apart)
    assert float(pipe.scheduler.sigmas[2]) > 0.6 > float(pipe.scheduler.sigmas[3])
    found = ours(model, euler, noise, 1 - pipe.scheduler.sigmas[1:-1].double(), guidance)
    assert deviation(found, expected) < TOLERANCE


def test_a_table_runs_in_wan_with_both_networks(tiny, load):
    """The pipeline chooses its network by the table's timesteps, one of which is the boundary itself."""
    model, pipe = load("wan-2", guidance_scale_2=2.0), load_pipeline(tiny("wan-2"))
    noise = start(model)
    times = torch.tensor([0.0, 0.1, 0.4, 0.45, 0.8, 1.0], dtype=torch.float64)
    b = times.diff().expand(5, 5).tril() + 0.02 * torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).tril()
    table = NonStationarySolver(times, torch.full((5,), 1.01), b)
    pipe.scheduler = NonStationaryScheduler(table.to_dict(), model.path.to_dict(), prediction_type="flow_prediction")
    expected = pipe_call(pipe, noise, 3.0, guidance_scale_2=2.0, **CLIP)
    with torch.no_grad():
        found = table(model.field(model.conditions(torch.arange(2)), 3.0), noise)
    assert deviation(found, expected) < TOLERANCE


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_euler_of_ltx(tiny, load, guidance):
    """Its first sigma is 1, its last is stretched to 0.1, and the shift depends on the number of latents."""
    model, pipe = load("ltx"), load_pipeline(tiny("ltx"))
    noise = start(model)
    size = {"height": 32, "width": 32, "num_frames": 5}
    expected = pipe._unpack_latents(pipe_call(pipe, pipe._pack_latents(noise), guidance, **size), 2, 4, 4)
    found = ours(model, euler, noise, 1 - pipe.scheduler.sigmas[1:-1].double(), guidance)
    assert deviation(found, expected) < TOLERANCE


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_euler_of_qwen_image(tiny, load, guidance):
    model, pipe = load("qwen-image", negative="blurred"), load_pipeline(tiny("qwen-image"))
    noise = start(model)
    packed = pipe._pack_latents(noise, len(noise), 4, 8, 8)
    guided = {"true_cfg_scale": 1 + guidance, "negative_prompt": ["blurred"] * 2 if guidance else None}
    expected = pipe_call(pipe, packed, None, height=16, width=16, **guided)
    found = ours(model, euler, noise, 1 - pipe.scheduler.sigmas[1:-1].double(), guidance)
    assert deviation(found, pipe._unpack_latents(expected, 16, 16, 2)[:, :, 0]) < TOLERANCE


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_euler_of_z_image(tiny, load, guidance):
    """Whose guidance_scale is w itself."""
    model, pipe = load("z-image"), load_pipeline(tiny("z-image"))
    noise = start(model)
    expected = pipe_call(pipe, noise, guidance - 1, height=16, width=16)
    found = ours(model, euler, noise, 1 - pipe.scheduler.sigmas[1:-1].double(), guidance)
    assert deviation(found, expected) < TOLERANCE


def sounds_of(pipe, latents, guidance, negative):
    """End states of a pipeline's calls, prompt by prompt: AudioLDM2 encodes a batch according to its longest prompt."""
    pipe.set_progress_bar_config(disable=True)
    shared = {"num_inference_steps": STEPS, "guidance_scale": 1 + guidance, "output_type": "latent"}
    return torch.cat(
        [
            pipe(prompt, latents=x[None].clone(), negative_prompt=negative or None, **shared).audios
            for prompt, x in zip(PROMPTS[: len(latents)], latents, strict=True)
        ]
    )


@pytest.mark.parametrize("negative", ["", "loud"])
@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_ddim_of_audioldm2(tiny, load, guidance, negative):
    model, pipe = load("audioldm2", negative=negative), load_pipeline(tiny("audioldm2"))
    noise = start(model)
    expected = sounds_of(pipe, noise, guidance, negative)
    found = ours(model, ddim, noise, ddim_times(pipe), guidance)
    assert deviation(found, expected) < TOLERANCE


def step_without_noise(scheduler):
    """Stable Audio's scheduler adds noise; this is its first-order step of the ODE, a straight line from y along y - x1."""

    def step(output, timestep, y, **options):
        now, then = scheduler.sigmas[scheduler.step_index : scheduler.step_index + 2]
        data = scheduler.precondition_outputs(y, output, now)
        scheduler._step_index += 1
        return SchedulerOutput(prev_sample=data + then / now * (y - data))

    return step


@pytest.mark.parametrize("negative", ["", "loud"])
@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_ddim_of_stable_audio(tiny, load, guidance, negative):
    """A straight line in y = x / alpha is DDIM; both begin at sigma_max and end in the data."""
    model, pipe = load("stable-audio", negative=negative), load_pipeline(tiny("stable-audio"))
    noise = start(model)
    pipe.scheduler.step = step_without_noise(pipe.scheduler)
    expected = sounds_of(pipe, noise, guidance, negative)
    times = 2 / torch.pi * torch.atan(1 / pipe.scheduler.sigmas.double())
    assert times[[0, -1]].tolist() == pytest.approx(model.interval, rel=1e-6)
    assert deviation(ours(model, ddim, noise, times[1:-1], guidance), expected) < TOLERANCE


LENGTHS = [
    ("audioldm2", 0.0, 1024),
    ("audioldm2", 0.05, 768),  # 12.5 frames of 64 samples, of which it takes 12
    ("audioldm2", 0.036, 576),  # 9 frames, for which it makes 10
    ("stable-audio", 0.0, 2048),
    ("stable-audio", 0.036, 576),
]


@pytest.mark.parametrize(("kind", "seconds", "samples"), LENGTHS)
def test_sounds_are_the_pipelines(tiny, load, kind, seconds, samples):
    """Of the pipeline's own length and of others, decoded from latents that denoising leaves as they are."""
    model, pipe = load(kind, seconds=seconds), load_pipeline(tiny(kind))
    pipe.set_progress_bar_config(disable=True)
    latents, shapes = 0.3 * start(model, 1), []

    def step(output, t, sample, **options):
        shapes.append(sample.shape)
        return SchedulerOutput(prev_sample=latents)

    pipe.scheduler.step = step
    length = {"audio_length_in_s" if kind == "audioldm2" else "audio_end_in_s": seconds or None}
    expected = pipe(PROMPTS[0], num_inference_steps=1, output_type="pt", **length).audios
    assert shapes == [(1, *model.shape)]
    found = model.decode(latents)
    assert found.shape[-1] == samples
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["sd", "sdxl", "pixart-sigma", "sd3", "flux", "sana", "qwen-image", "z-image", "wan", "ltx"]
)
def test_decoding_is_the_pipelines(tiny, load, kind):
    model, pipe = load(kind), load_pipeline(tiny(kind))
    latents = 0.3 * start(model)
    given = pipe._pack_latents(latents, 2, 4, 8, 8) if kind in ("flux", "qwen-image") else latents
    given = pipe._pack_latents(latents) if kind == "ltx" else given
    images = without_denoising(pipe, given, kind)
    torch.testing.assert_close(model.decode(latents), images, rtol=0, atol=1e-5)


def without_denoising(pipe, latents, kind):
    """What a pipeline's call makes of latents whose denoising leaves them as they are, in [-1, 1]."""
    pipe.set_progress_bar_config(disable=True)

    def step(output, t, sample, *args, **options):
        return (latents,)

    pipe.scheduler.step = step
    small = SMALLEST.get(kind, {})
    options = {"height": small["size"], "width": small["size"]} if small else {}
    options |= {"num_frames": small["frames"]} if "frames" in small else {}
    if kind.startswith("pixart"):
        options = {"use_resolution_binning": False, "clean_caption": False}
    if kind == "sana":
        pipe.scheduler = FlowMatchEulerDiscreteScheduler()
        pipe.scheduler.step = step
        options = {"height": 32, "width": 32, "use_resolution_binning": False}
    images = pipe(list(PROMPTS[:2]), latents=latents, num_inference_steps=2, output_type="pt", **options)[0]
    images = images.transpose(1, 2) if images.ndim > 4 else images
    return images * 2 - 1


def test_euler_is_not_ddim(tiny, load):
    """The comparison can fail: another sampler on the same times ends elsewhere."""
    model, pipe = load("ddim"), load_pipeline(tiny("ddim"))
    times = ddim_times(pipe)
    assert deviation(ours(model, euler, start(model), times), ours(model, ddim, start(model), times)) > 1e-2
