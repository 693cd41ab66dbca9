"""Text-to-image by latent U-Nets: StableDiffusionPipeline, versions 1 and 2 (Rombach et al. 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.base import Options, side_lengths, takes
from bnsbench_diffusers.models.latents import latent_side, scale_factor
from bnsbench_diffusers.models.texts import Encoding, TextConditional


class StableDiffusion(TextConditional):
    """A UNet2DConditionModel of latents [channels, height, width] that is told a text by cross-attention."""

    component = "unet"

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options, "prompts", "negative", "size")
        super().__init__(pipeline, options, unet_shape(pipeline, options), folder)

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        given, without = self.pipeline.encode_prompt(prompt or "", device, 1, prompt is None, self.negative)
        return {"encoder_hidden_states": without if prompt is None else given}

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        output: Tensor = self.network(x, timestep, **self.told(x, condition), return_dict=False)[0]
        return output


def unet_shape(pipeline: Any, options: Options) -> tuple[int, int, int]:
    """Return the shape of a U-Net's latents; UsageError for networks that need more than noisy latents and a text."""
    config = pipeline.unet.config
    if config.in_channels != pipeline.vae.config.latent_channels:
        raise UsageError(f"The U-Net takes {config.in_channels} channels, unlike latents: it is not for text to image.")
    if config.time_cond_proj_dim is not None:
        raise UsageError("The U-Net is a distilled one that is told its guidance scale, which is not supported.")
    if options.size:
        side = latent_side(options.size, scale_factor(pipeline.vae))
        return config.in_channels, side, side
    return config.in_channels, *side_lengths(config.sample_size)
