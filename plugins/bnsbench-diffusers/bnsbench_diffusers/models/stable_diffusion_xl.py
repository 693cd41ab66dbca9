"""Text-to-image by latent U-Nets that are also told image sizes: StableDiffusionXLPipeline (Podell et al. 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench_diffusers.models.base import Options, takes
from bnsbench_diffusers.models.latents import scale_factor
from bnsbench_diffusers.models.stable_diffusion import unet_shape
from bnsbench_diffusers.models.texts import Encoding, TextConditional


class StableDiffusionXL(TextConditional):
    """A UNet2DConditionModel that is told a text's states, its pooled state, and sizes: those of the image, not cropped."""

    component = "unet"

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options, "prompts", "negative", "size")
        super().__init__(pipeline, options, unet_shape(pipeline, options), folder)
        height, width = (side * scale_factor(pipeline.vae) for side in self.shape[1:])
        self.sizes = torch.tensor([height, width, 0, 0, height, width])

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        states, no_states, pooled, no_pooled = self.pipeline.encode_prompt(
            prompt or "", device=device, do_classifier_free_guidance=prompt is None, negative_prompt=self.negative
        )
        return {"states": no_states, "pooled": no_pooled} if prompt is None else {"states": states, "pooled": pooled}

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        told = self.told(x, condition)
        added = {"text_embeds": told["pooled"], "time_ids": self.sizes.to(x).expand(len(x), -1)}
        output: Tensor = self.network(
            x, timestep, encoder_hidden_states=told["states"], added_cond_kwargs=added, return_dict=False
        )[0]
        return output
