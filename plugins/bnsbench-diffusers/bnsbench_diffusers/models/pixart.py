"""Text-to-image by latent transformers: PixArtAlphaPipeline and PixArtSigmaPipeline (Chen et al. 2023, 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench_diffusers.models.base import Options, side_lengths, takes
from bnsbench_diffusers.models.latents import latent_side, scale_factor
from bnsbench_diffusers.models.texts import Encoding, TextConditional, sequence_length


class PixArt(TextConditional):
    """A PixArtTransformer2DModel of latents; its learned variance, the second half of its output channels, is left out.

    Captions are encoded as they stand. Networks with additional conditions are told the image's size.
    """

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options, "prompts", "negative", "size")
        config, factor = pipeline.transformer.config, scale_factor(pipeline.vae)
        sides = side_lengths(config.sample_size)
        if options.size:
            sides = (latent_side(options.size, factor, config.patch_size),) * 2
        super().__init__(pipeline, options, (config.in_channels, *sides), folder)
        self.size = torch.tensor(sides) * factor if pipeline.transformer.use_additional_conditions else None

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        found = self.pipeline.encode_prompt(
            prompt or "",
            prompt is None,
            self.negative or "",
            device=device,
            clean_caption=False,
            max_sequence_length=sequence_length(self.pipeline),
        )
        states, mask = found[2:] if prompt is None else found[:2]
        return {"encoder_hidden_states": states, "encoder_attention_mask": mask}

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        sizes: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.size is not None:
            resolution = self.size.to(x).expand(len(x), -1)
            sizes = {"resolution": resolution, "aspect_ratio": resolution[:, :1] / resolution[:, 1:]}
        output: Tensor = self.network(
            x, timestep=timestep, added_cond_kwargs=sizes, **self.told(x, condition), return_dict=False
        )[0]
        return output
