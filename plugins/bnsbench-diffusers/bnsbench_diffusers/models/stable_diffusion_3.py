"""Text-to-image by flow matching in latents: StableDiffusion3Pipeline (Esser et al. 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench_diffusers.models.base import Options, side_lengths, takes
from bnsbench_diffusers.models.latents import latent_side, scale_factor
from bnsbench_diffusers.models.texts import Encoding, TextConditional, sequence_length


class StableDiffusion3(TextConditional):
    """An SD3Transformer2DModel of latents [channels, height, width] on the CondOT path."""

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options, "prompts", "negative", "size")
        config = pipeline.transformer.config
        sides = side_lengths(config.sample_size)
        if options.size:
            sides = (latent_side(options.size, scale_factor(pipeline.vae), config.patch_size),) * 2
        super().__init__(pipeline, options, (config.in_channels, *sides), folder)
        self.passes(tokens=sides[0] // config.patch_size * (sides[1] // config.patch_size))

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        states, no_states, pooled, no_pooled = self.pipeline.encode_prompt(
            prompt or "",
            None,
            None,
            device=device,
            do_classifier_free_guidance=prompt is None,
            negative_prompt=self.negative,
            max_sequence_length=sequence_length(self.pipeline),
        )
        chosen = (no_states, no_pooled) if prompt is None else (states, pooled)
        return dict(zip(("encoder_hidden_states", "pooled_projections"), chosen, strict=True))

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        output: Tensor = self.network(x, timestep=timestep, **self.told(x, condition), return_dict=False)[0]
        return output
