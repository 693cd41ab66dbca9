"""Latents that are packed into tokens for a transformer, which may take its guidance as an input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench_diffusers.models.base import Options, takes
from bnsbench_diffusers.models.latents import latent_side
from bnsbench_diffusers.models.texts import TextConditional

PATCH = 2
"""Side of the squares of latents that make one token."""


class Packed(TextConditional):
    """A transformer of latents [channels, height, width] on the CondOT path, packed into tokens.

    ``embedded_guidance`` is what the network is told, if its guidance was distilled into it.

    Args:
        pipeline: Whose transformer it is.
        options: What the model was asked for.
        folder: Of the pipeline, None if it was not loaded from one.
        factor: How many pixels of an image's side one latent stands for.
        read: Names of the options about its texts.
    """

    def __init__(
        self, pipeline: Any, options: Options, folder: Path | None, factor: int, read: tuple[str, ...] = ("prompts",)
    ) -> None:
        config = pipeline.transformer.config
        embeds = bool(config.guidance_embeds)
        takes(options, *read, "size", *(("embedded_guidance",) if embeds else ()))
        side = latent_side(options.size or pipeline.default_sample_size * factor, factor, PATCH)
        super().__init__(pipeline, options, (config.in_channels // PATCH**2, side, side), folder)
        self.passes(tokens=(side // PATCH) ** 2, sigmas="linear")
        self.guidance = options.embedded_guidance if embeds else None
        self._facts.append(self.guidance)

    def ask(self, timestep: Tensor, x: Tensor, **told: Any) -> Tensor:
        """Return the network's output for latents [batch, channels, height, width], with what else it is told."""
        guidance = None if self.guidance is None else torch.full((len(x),), self.guidance, device=x.device)
        output: Tensor = self.network(
            hidden_states=pack(x), timestep=timestep / self.schedule.timesteps, guidance=guidance, **told, return_dict=False
        )[0]
        return unpack(output, *x.shape[2:])


def pack(x: Tensor) -> Tensor:
    """Return tokens [batch, h w / 4, 4 channels] for latents [batch, channels, h, w], square by square, row by row."""
    return torch.nn.functional.pixel_unshuffle(x, PATCH).flatten(2).transpose(1, 2)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return the latents [batch, channels, height, width] that `pack` turns into these tokens."""
    squares = tokens.transpose(1, 2).reshape(len(tokens), -1, height // PATCH, width // PATCH)
    return torch.nn.functional.pixel_shuffle(squares, PATCH)
