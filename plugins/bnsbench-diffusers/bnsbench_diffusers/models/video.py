"""What the models of videos share: shapes of latents, and decoding to frames."""

from __future__ import annotations

from typing import Any

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.base import Options
from bnsbench_diffusers.models.latents import latent_side
from bnsbench_diffusers.models.texts import TextConditional, call_default


class Video(TextConditional):
    """A model of latents [channels, frames, height, width]; decoded are videos [batch, 3, frames, height, width]."""

    def modality(self, declared: str) -> str:
        del declared
        return "video"


def latent_sizes(pipeline: Any, options: Options, temporal: int, spatial: int, multiple: int = 1) -> tuple[int, int, int]:
    """Return frames, height and width of latents: those of the pipeline's call by default, or for square frames of a size.

    temporal, spatial: how many frames after the first, and pixels of a side, one latent stands for. multiple: of which the
    network takes sides of latents. Raises UsageError for frames and sizes that are no whole numbers of latents.
    """
    frames = options.frames or int(call_default(pipeline, "num_frames"))
    if frames < 1 or (frames - 1) % temporal:
        raise UsageError(f"The frames of videos must be 1 more than a multiple of {temporal}, not {frames}.")
    sides = [options.size or int(call_default(pipeline, name)) for name in ("height", "width")]
    height, width = (latent_side(side, spatial, multiple) for side in sides)
    return (frames - 1) // temporal + 1, height, width
