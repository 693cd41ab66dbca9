"""Text-to-image by flow matching with a language model's states: QwenImagePipeline (Wu et al. 2025)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench_diffusers.models.base import Options
from bnsbench_diffusers.models.latents import decode_latents
from bnsbench_diffusers.models.packed import PATCH, Packed, pack, unpack
from bnsbench_diffusers.models.texts import Encoding, sequence_length


class QwenImage(Packed):
    """A QwenImageTransformer2DModel of latents [channels, height, width] on the CondOT path, packed into tokens.

    Guidance, the pipeline's "true CFG", scales each token of the guided prediction to the length of the one with the prompt,
    so it is not the usual mixture of two answers; w is ``true_cfg_scale`` - 1.
    """

    linear_guidance = False

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        super().__init__(pipeline, options, folder, pipeline.vae_scale_factor, ("prompts", "negative"))

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        text = (self.negative or " ") if prompt is None else prompt
        states, _ = self.pipeline.encode_prompt(text, device, max_sequence_length=sequence_length(self.pipeline))
        # Alone, a prompt is not filled up, so that all of its states count.
        mask = torch.ones(states.shape[:2], dtype=torch.int64)
        return {"encoder_hidden_states": states, "encoder_hidden_states_mask": mask}

    def mixed(self, with_condition: Tensor, without: Tensor, guidance: float | Tensor) -> Tensor:
        mixture = super().mixed(with_condition, without, guidance)
        asked, tokens = pack(with_condition).to(mixture.dtype), pack(mixture)
        lengths = asked.norm(dim=-1, keepdim=True) / tokens.norm(dim=-1, keepdim=True)
        return unpack(tokens * lengths, *mixture.shape[2:])

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        _, _, height, width = x.shape
        images = [[(1, height // PATCH, width // PATCH)]] * len(x)
        return self.ask(timestep, x, img_shapes=images, **self.told(x, condition))

    def decode(self, x: Tensor) -> Tensor:
        return decode_latents(self.pipeline.vae, x[:, :, None])[:, :, 0]
