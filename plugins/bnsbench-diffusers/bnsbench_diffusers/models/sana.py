"""Text-to-image by linear transformers and flow matching: SanaPipeline (Xie et al. 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench_diffusers.models.base import Options, side_lengths, takes
from bnsbench_diffusers.models.fingerprint import digest_of
from bnsbench_diffusers.models.latents import latent_side
from bnsbench_diffusers.models.texts import Encoding, TextConditional, call_default, sequence_length


class Sana(TextConditional):
    """A SanaTransformer2DModel of latents [channels, height, width] on the CondOT path.

    Prompts follow the instruction that the pipeline puts before them by default.
    """

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options, "prompts", "negative", "size")
        config = pipeline.transformer.config
        sides = side_lengths(config.sample_size)
        if options.size:
            sides = (latent_side(options.size, pipeline.vae_scale_factor, config.patch_size),) * 2
        self.instruction: list[str] = call_default(pipeline, "complex_human_instruction")
        super().__init__(pipeline, options, (config.in_channels, *sides), folder)

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        found = self.pipeline.encode_prompt(
            prompt or "",
            prompt is None,
            negative_prompt=self.negative or "",
            device=device,
            max_sequence_length=sequence_length(self.pipeline),
            complex_human_instruction=self.instruction,
        )
        states, mask = found[2:] if prompt is None else found[:2]
        return {"encoder_hidden_states": states, "encoder_attention_mask": mask}

    def encoder_digest(self, folder: Path | None) -> str:
        return digest_of([super().encoder_digest(folder), self.instruction])

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        output: Tensor = self.network(
            x,
            timestep=timestep * self.network.config.timestep_scale,
            **self.told(x, condition),
            return_dict=False,
        )[0]
        return output
