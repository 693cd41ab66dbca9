"""A few samples of every cell to look at and to listen to, from the same noise whatever the solver."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bnsbench.errors import UsageError

if TYPE_CHECKING:
    from bnsbench.metrics.base import SampleSet

COUNT = 8
HEARD = 2
"""Sounds to listen to."""


def write_preview(samples: SampleSet, modality: str, folder: Path, name: str) -> None:
    """Write NAME.png into a folder, the first samples beside their ground truth; for sound also WAV files into NAME/.

    Nothing is written for samples that cannot be shown: of another modality, or unlike what the model's record says of them.

    Args:
        samples: The cell's samples.
        modality: Of the model: "image", "video", "audio" or "points".
        folder: Is made if there is none.
        name: Of the files, without suffix.
    """
    from bnsbench.media.pictures import display_for  # noqa: PLC0415 (loads torch and matplotlib)

    first = samples.part(slice(COUNT))
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(UsageError):
        shown = display_for(modality, samples.model.sample_rate)
        shown.overview(first.samples, first.truth, folder / f"{name}.png")
        if modality == "audio":
            (folder / name).mkdir(exist_ok=True)
            shown.each(first.samples[:HEARD], first.truth[:HEARD], folder / name)
