"""Text-to-image by guidance-distilled flow matching: FluxPipeline (Black Forest Labs 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench.plugin import NotApplicableError
from bnsbench_diffusers.models.base import Options
from bnsbench_diffusers.models.latents import scale_factor
from bnsbench_diffusers.models.packed import PATCH, Packed
from bnsbench_diffusers.models.texts import Encoding, sequence_length


class Flux(Packed):
    """A FluxTransformer2DModel of latents [channels, height, width] on the CondOT path, packed into tokens for the network.

    Its guidance was distilled into it: ``embedded_guidance`` is what the network is told, and it makes no unconditional
    prediction.
    """

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        super().__init__(pipeline, options, folder, scale_factor(pipeline.vae))

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
        return self.ask(
            timestep,
            x,
            txt_ids=torch.zeros(told["encoder_hidden_states"].shape[1], 3).to(x),
            img_ids=positions(height // PATCH, width // PATCH).to(x),
            **told,
        )


def positions(height: int, width: int) -> Tensor:
    """Return where each token of an image lies [height width, 3]: 0, its row and its column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
