"""Text-to-image by guidance-distilled flow matching: FluxPipeline (Black Forest Labs 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench.plugin import NotApplicableError
from bnsbench_diffusers.models.base import Options, takes
from bnsbench_diffusers.models.latents import latent_side, scale_factor
from bnsbench_diffusers.models.texts import Encoding, TextConditional, sequence_length

PATCH = 2
"""Side of the squares of latents that make one token."""


class Flux(TextConditional):
    """A FluxTransformer2DModel of latents [channels, height, width] on the CondOT path, packed into tokens for the network.

    Its guidance was distilled into it: ``embedded_guidance`` is what the network is told, and it makes no unconditional
    prediction.
    """

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        embeds = bool(pipeline.transformer.config.guidance_embeds)
        takes(options, "prompts", "size", *(("embedded_guidance",) if embeds else ()))
        factor = scale_factor(pipeline.vae)
        side = latent_side(options.size or pipeline.default_sample_size * factor, factor, PATCH)
        super().__init__(pipeline, options, (pipeline.transformer.config.in_channels // PATCH**2, side, side), folder)
        self.passes(tokens=(side // PATCH) ** 2, sigmas="linear")
        self.guidance = options.embedded_guidance if embeds else None
        self._facts.append(self.guidance)

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        length = sequence_length(self.pipeline)
        states, pooled, _ = self.pipeline.encode_prompt(prompt or "", None, device=device, max_sequence_length=length)
        return {"encoder_hidden_states": states, "pooled_projections": pooled}

    def null_condition(self, condition: Tensor) -> Tensor:
        del condition
        raise NotApplicableError(
            "Flux makes no unconditional prediction, so guidance needs w = 0; embedded_guidance=G sets the scale it is told."
        )

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        told = self.told(x, condition)
        _, _, height, width = x.shape
        guidance = None if self.guidance is None else torch.full((len(x),), self.guidance, device=x.device)
        output: Tensor = self.network(
            hidden_states=pack(x),
            timestep=timestep / self.schedule.timesteps,
            guidance=guidance,
            txt_ids=torch.zeros(told["encoder_hidden_states"].shape[1], 3).to(x),
            img_ids=positions(height // PATCH, width // PATCH).to(x),
            **told,
            return_dict=False,
        )[0]
        return unpack(output, height, width)


def pack(x: Tensor) -> Tensor:
    """Return tokens [batch, h w / 4, 4 channels] for latents [batch, channels, h, w], square by square, row by row."""
    return torch.nn.functional.pixel_unshuffle(x, PATCH).flatten(2).transpose(1, 2)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return the latents [batch, channels, height, width] that `pack` turns into these tokens."""
    squares = tokens.transpose(1, 2).reshape(len(tokens), -1, height // PATCH, width // PATCH)
    return torch.nn.functional.pixel_shuffle(squares, PATCH)


def positions(height: int, width: int) -> Tensor:
    """Return where each token of an image lies [height width, 3]: 0, its row and its column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
