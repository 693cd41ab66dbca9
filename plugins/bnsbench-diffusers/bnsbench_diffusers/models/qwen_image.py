"""Text-to-image by flow matching with a language model's states: QwenImagePipeline (Wu et al. 2025)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench_diffusers.models.base import Options, takes
from bnsbench_diffusers.models.flux import PATCH, pack, unpack
from bnsbench_diffusers.models.latents import decode_latents, latent_side
from bnsbench_diffusers.models.texts import Encoding, TextConditional, sequence_length


class QwenImage(TextConditional):
    """A QwenImageTransformer2DModel of latents [channels, height, width] on the CondOT path, packed into tokens.

    Guidance, the pipeline's "true CFG", scales each token of the guided prediction to the length of the one with the prompt,
    so it is not the usual mixture of two answers; w is ``true_cfg_scale`` - 1.
    """

    linear_guidance = False

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        embeds = bool(pipeline.transformer.config.guidance_embeds)
        takes(options, "prompts", "negative", "size", *(("embedded_guidance",) if embeds else ()))
        factor = pipeline.vae_scale_factor
        side = latent_side(options.size or pipeline.default_sample_size * factor, factor, PATCH)
        super().__init__(pipeline, options, (pipeline.transformer.config.in_channels // PATCH**2, side, side), folder)
        self.passes(tokens=(side // PATCH) ** 2, sigmas="linear")
        self.guidance = options.embedded_guidance if embeds else None
        self._facts.append(self.guidance)

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
        guidance = None if self.guidance is None else torch.full((len(x),), self.guidance, device=x.device)
        output: Tensor = self.network(
            hidden_states=pack(x),
            timestep=timestep / self.schedule.timesteps,
            guidance=guidance,
            img_shapes=[[(1, height // PATCH, width // PATCH)]] * len(x),
            **self.told(x, condition),
            return_dict=False,
        )[0]
        return unpack(output, height, width)

    def decode(self, x: Tensor) -> Tensor:
        return decode_latents(self.pipeline.vae, x[:, :, None])[:, :, 0]
