"""Our engine against the pipelines' own calls: the same noise, timesteps and guidance give the same end states.

The tiny pipelines' schedulers space timesteps so that the first is the last of the schedule and the final step ends at
timestep 0, which are the ends of our interval. Network and scheduler compute in float32, as users have it.
"""

from __future__ import annotations

import functools

import pytest
import torch
from diffusers import DDIMPipeline

from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.ddim import ddim
from bnsbench.solvers.runge_kutta import euler
from bnsbench_diffusers.models.loading import load_pipeline

PROMPTS = ("a red fox in the snow", "two boats", "an empty street at night")
STEPS = 5
TOLERANCE = 5e-6
"""Relative deviation of end states."""


def nodes(times):
    return "nodes:" + ":".join(repr(float(t)) for t in times)


def ours(model, sampler, noise, inner, guidance=0.0, first=0):
    """End states of samples from ``first`` on, by a table traced from a sampler with these inner times."""
    function = functools.partial(sampler, nfe=STEPS, grid=nodes(inner))
    table = trace(function, model.path, model.interval)
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
    return pipe(list(PROMPTS[: len(latents)]), guidance_scale=1 + guidance, **shared, **options).images


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


@pytest.mark.parametrize("kind", ["sd", "sdxl", "pixart-sigma", "sd3", "flux"])
def test_decoding_is_the_pipelines(tiny, load, kind):
    model, pipe = load(kind), load_pipeline(tiny(kind))
    latents = 0.3 * start(model)
    given = pipe._pack_latents(latents, 2, 4, 8, 8) if kind == "flux" else latents
    images = without_denoising(pipe, given, kind)
    torch.testing.assert_close(model.decode(latents), images, rtol=0, atol=1e-5)


def without_denoising(pipe, latents, kind):
    """What a pipeline's call makes of latents whose denoising leaves them as they are, in [-1, 1]."""
    pipe.set_progress_bar_config(disable=True)

    def step(output, t, sample, *args, **options):
        return (latents,)

    pipe.scheduler.step = step
    options = {"height": 16, "width": 16} if kind == "flux" else {}
    if kind.startswith("pixart"):
        options = {"use_resolution_binning": False, "clean_caption": False}
    images = pipe(list(PROMPTS[:2]), latents=latents, num_inference_steps=2, output_type="pt", **options).images
    return images * 2 - 1


def test_euler_is_not_ddim(tiny, load):
    """The comparison can fail: another sampler on the same times ends elsewhere."""
    model, pipe = load("ddim"), load_pipeline(tiny("ddim"))
    times = ddim_times(pipe)
    assert deviation(ours(model, euler, start(model), times), ours(model, ddim, start(model), times)) > 1e-2
