"""Pixel-space networks: DDPMPipeline and DDIMPipeline with a UNet2DModel, unconditional or told a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.base import ClassConditional, Options, PipelineModel, side_lengths, takes


class UNet2D(PipelineModel):
    """An unconditional UNet2DModel of images [channels, height, width] in [-1, 1]."""

    component = "unet"

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options, "null_class")
        config = pipeline.unet.config
        if config.time_embedding_type != "positional":
            raise UsageError(f"The network reads time by a {config.time_embedding_type} embedding, not by timesteps.")
        super().__init__(pipeline, (config.in_channels, *side_lengths(config.sample_size)), folder)

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        output: Tensor = self.network(x, timestep, class_labels=condition, return_dict=False)[0]
        return output


class ClassUNet2D(ClassConditional, UNet2D):
    """A UNet2DModel with a table of class embeddings; ``null_class`` may say which of them stands for no class."""

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        super().__init__(pipeline, options, folder)
        count = int(pipeline.unet.config.num_class_embeds)
        if options.null_class >= count:
            raise UsageError(f"There is no class {options.null_class} in a network that knows {count}, counted from 0.")
        self.null = options.null_class if options.null_class >= 0 else None
        self.classes = tuple(number for number in range(count) if number != self.null)
        self.names = {}
        self._facts.append(self.null)

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            raise UsageError("A class-conditional network needs a class for every sample.")
        return super().evaluate(timestep, x, condition.to(x.device))


def unet2d(pipeline: Any, options: Options, folder: Path | None = None) -> UNet2D:
    """Return the model of a pixel-space pipeline; UsageError for class embeddings other than a table."""
    config = pipeline.unet.config
    if config.class_embed_type is not None:
        raise UsageError(f"Class embeddings of the type {config.class_embed_type!r} are not supported, only a table.")
    if config.num_class_embeds is not None:
        return ClassUNet2D(pipeline, options, folder)
    takes(options)
    return UNet2D(pipeline, options, folder)
