"""Which pipelines are known, and the model that each becomes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.base import Options, PipelineModel
from bnsbench_diffusers.models.loading import find_folder, load_pipeline, pipeline_class
from bnsbench_diffusers.models.prompts import read_prompts

Family = Callable[[Any, Options, Path | None], PipelineModel]

_HERE = "bnsbench_diffusers.models"

FAMILIES = {
    "DDPMPipeline": f"{_HERE}.unet2d:unet2d",
    "DDIMPipeline": f"{_HERE}.unet2d:unet2d",
    "DiTPipeline": f"{_HERE}.dit:DiT",
    "StableDiffusionPipeline": f"{_HERE}.stable_diffusion:StableDiffusion",
    "StableDiffusionXLPipeline": f"{_HERE}.stable_diffusion_xl:StableDiffusionXL",
    "PixArtAlphaPipeline": f"{_HERE}.pixart:PixArt",
    "PixArtSigmaPipeline": f"{_HERE}.pixart:PixArt",
    "StableDiffusion3Pipeline": f"{_HERE}.stable_diffusion_3:StableDiffusion3",
    "FluxPipeline": f"{_HERE}.flux:Flux",
    "QwenImagePipeline": f"{_HERE}.qwen_image:QwenImage",
    "ZImagePipeline": f"{_HERE}.z_image:ZImage",
    "WanPipeline": f"{_HERE}.wan:Wan",
    "LTXPipeline": f"{_HERE}.ltx:LTX",
    "SanaPipeline": f"{_HERE}.sana:Sana",
    "AudioLDM2Pipeline": f"{_HERE}.audioldm2:AudioLDM2",
    "StableAudioPipeline": f"{_HERE}.stable_audio:StableAudio",
}
"""Pipeline classes, as in ``model_index.json``, and what makes models of them."""


def diffusers_model(
    path: str = "",
    variant: str = "",
    revision: str = "",
    prompts: str = "",
    negative: str = "",
    size: int = 0,
    null_class: int = -1,
    embedded_guidance: float = 3.5,
    seconds: float = 0.0,
    frames: int = 0,
    guidance_scale_2: float = 0.0,
) -> PipelineModel:
    """Return the denoiser of the pipeline in a folder or under a hub id as a model.

    prompts: a file with one prompt per line. The rest: see `loading.find_folder` and `base.Options`. Raises UsageError for a
    pipeline that cannot be found or loaded, or is of a class that is not known.
    """
    texts = read_prompts(prompts)
    folder = find_folder(path, variant, revision)
    family = find_family(pipeline_class(folder))
    pipeline = load_pipeline(folder, variant)
    options = Options(texts, negative, size, null_class, embedded_guidance, seconds, frames, guidance_scale_2)
    return family(pipeline, options, folder)


def wrap(pipeline: Any, options: Options | None = None) -> PipelineModel:
    """Return the denoiser of a pipeline in memory, such as one with other weights loaded into it, as a model."""
    return find_family(type(pipeline).__name__)(pipeline, options or Options(), None)


def find_family(name: str) -> Family:
    """Return what makes models of pipelines of that class; UsageError lists those that are known."""
    if name not in FAMILIES:
        raise UsageError(f"Pipelines of the class {name} are not supported; supported: {', '.join(sorted(FAMILIES))}.")
    family: Family = resolve_name(FAMILIES[name])
    return family
