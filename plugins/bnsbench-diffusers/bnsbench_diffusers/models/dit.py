"""Class-conditional latent transformers: DiTPipeline (Peebles & Xie 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.base import LATENT_RANGE, ClassConditional, Options, PipelineModel, side_lengths, takes
from bnsbench_diffusers.models.latents import decode_latents


class DiT(ClassConditional, PipelineModel):
    """A DiTTransformer2DModel of latents [channels, side, side]; the number after its classes stands for no class.

    Its learned variance, the second half of its output channels, is left out.
    """

    data_range = LATENT_RANGE

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options)
        config = pipeline.transformer.config
        super().__init__(pipeline, (config.in_channels, *side_lengths(config.sample_size)), folder)
        self.null = int(config.num_embeds_ada_norm)
        self.classes = tuple(range(self.null))
        self.names = dict(pipeline.labels)

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            raise UsageError("A class-conditional network needs a class for every sample.")
        classes = condition.to(x.device)
        output: Tensor = self.network(x, timestep=timestep, class_labels=classes, return_dict=False)[0]
        return output

    def decode(self, x: Tensor) -> Tensor:
        return decode_latents(self.pipeline.vae, x)
