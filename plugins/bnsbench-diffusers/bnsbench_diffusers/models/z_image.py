"""Text-to-image by flow matching with one stream of tokens: ZImagePipeline (Z-Image team 2025)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench_diffusers.models.base import Options, takes
from bnsbench_diffusers.models.latents import latent_side
from bnsbench_diffusers.models.packed import PATCH
from bnsbench_diffusers.models.texts import Encoding, TextConditional, sequence_length

SIZE = 1024
"""Side in pixels of the images that the pipeline's call makes by default."""


class ZImage(TextConditional):
    """A ZImageTransformer2DModel of latents [channels, height, width] on the CondOT path.

    It is told the part of the way from noise to data, and predicts data minus noise. w is the pipeline's ``guidance_scale``
    itself, which there is 0 without guidance; its truncation and normalisation of guidance, off by default, are left out.
    """

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options, "prompts", "negative", "size")
        side = latent_side(options.size or SIZE, pipeline.vae_scale_factor, PATCH)
        super().__init__(pipeline, options, (pipeline.transformer.in_channels, side, side), folder)
        self.passes(tokens=(side // PATCH) ** 2, sigmas="linear")

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        text = (self.negative or "") if prompt is None else prompt
        length = sequence_length(self.pipeline)
        (states,), _ = self.pipeline.encode_prompt(
            text, device=device, do_classifier_free_guidance=False, max_sequence_length=length
        )
        return {"states": states[None], "length": torch.tensor([[len(states)]])}

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        told = self.told(x, condition)
        states = [part[:length] for part, length in zip(told["states"], told["length"][:, 0].tolist(), strict=True)]
        way = 1.0 - timestep / self.schedule.timesteps
        outputs = self.network(list(x[:, :, None].unbind()), way, states, return_dict=False)[0]
        return -torch.stack(outputs)[:, :, 0]
