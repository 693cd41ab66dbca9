"""Pictures and sounds of samples beside the ground truth of the same noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.wav import write_wav

Pixels = NDArray[np.uint8]
Writer = Callable[[Tensor, Tensor, Path], Path]

SMALLEST_TILE = 64
"""Images smaller than this many pixels are magnified in the overview."""
QUIET = 1e-7
"""Added to waveforms, because silence has no level in dB."""


def picture_writer(modality: str, rate: int | None = None) -> Writer:
    """Return the function (samples, truth, folder) -> overview file for a modality; UsageError if it has none.

    rate: of sound, in Hz.
    """
    writers: dict[str, Writer] = {"image": write_images, "points": write_points}
    if rate is not None:
        writers["audio"] = partial(write_sounds, rate=rate)
    if modality not in writers:
        raise UsageError(f"There are no pictures of {modality!r} samples, only of {' and '.join(writers)}.")
    return writers[modality]


def write_images(samples: Tensor, truth: Tensor, folder: Path) -> Path:
    """Write every sample [n, C, H, W] in [-1, 1] as 000.png, ... and an overview of samples (left) and truth (right)."""
    folder.mkdir(parents=True, exist_ok=True)
    left, right = _pixels(samples), _pixels(truth)
    for index, image in enumerate(left):
        imsave(folder / f"{index:03d}.png", image)
    overview = folder / "overview.png"
    imsave(overview, contact_sheet(left, right))
    return overview


def contact_sheet(left: Pixels, right: Pixels) -> Pixels:
    """Return one image of all pairs, left beside right, on a white ground; both are uint8 [n, H, W, 3]."""
    scale = max(1, math.ceil(SMALLEST_TILE / min(left.shape[1:3])))
    left, right = (images.repeat(scale, axis=1).repeat(scale, axis=2) for images in (left, right))
    gap = max(2, left.shape[1] // 8)
    line = np.full((*left.shape[:2], max(1, gap // 4), 3), 255, dtype=np.uint8)
    pairs = np.concatenate([left, line, right], axis=2)
    tiles = np.pad(pairs, ((0, 0), (gap, 0), (gap, 0), (0, 0)), constant_values=255)
    columns = math.ceil(math.sqrt(len(tiles) / 2))
    blanks = np.full((-len(tiles) % columns, *tiles.shape[1:]), 255, dtype=np.uint8)
    grid = np.concatenate([tiles, blanks]).reshape(-1, columns, *tiles.shape[1:])
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in grid])
    return np.pad(sheet, ((0, gap), (0, gap), (0, 0)), constant_values=255)


def write_points(samples: Tensor, truth: Tensor, folder: Path) -> Path:
    """Write a scatter plot of the first two coordinates of samples and truth, both [n, d], joined by lines."""
    folder.mkdir(parents=True, exist_ok=True)
    points, ends = samples.flatten(1)[:, :2].double().cpu().numpy(), truth.flatten(1)[:, :2].double().cpu().numpy()
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    axes.plot(*np.stack([points, ends]).transpose(2, 0, 1), color="0.7", linewidth=0.8, zorder=1)
    axes.scatter(ends[:, 0], ends[:, 1], s=18, label="ground truth", facecolors="none", edgecolors="tab:blue")
    axes.scatter(points[:, 0], points[:, 1], s=8, label="samples", color="tab:orange")
    axes.legend()
    overview = folder / "overview.png"
    figure.savefig(overview, dpi=150)
    return overview


def write_sounds(samples: Tensor, truth: Tensor, folder: Path, rate: int) -> Path:
    """Write waveforms [n, samples] as 000.wav, ..., their truth as 000-truth.wav, and an overview of all spectrograms."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = min(4, len(samples))
    rows = math.ceil(len(samples) / columns)
    figure = Figure(figsize=(3.6 * columns, 1.9 * rows), layout="constrained")
    axes = figure.subplots(rows, 2 * columns, sharex=True, sharey=True, squeeze=False).flatten()
    for index, (sound, reference) in enumerate(zip(samples.cpu(), truth.cpu(), strict=True)):
        write_wav(folder / f"{index:03d}.wav", sound, rate)
        write_wav(folder / f"{index:03d}-truth.wav", reference, rate)
        for place, part in enumerate((sound, reference)):
            axis = axes[2 * index + place]
            axis.specgram(part.double().numpy() + QUIET, NFFT=512, noverlap=384, Fs=rate, vmin=-140, vmax=-30)
            axis.set_title(("ground truth" if place else f"{index:03d}"), fontsize=8)
            axis.set(xticks=[], yticks=[])
    for axis in axes[2 * len(samples) :]:
        axis.remove()
    overview = folder / "overview.png"
    figure.savefig(overview, dpi=110)
    return overview


def _pixels(images: Tensor) -> Pixels:
    """Return uint8 [n, H, W, 3] for images [n, C, H, W] in [-1, 1] with one or three channels; values are clamped."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UsageError(f"Images must be shaped [n, 1 or 3, height, width], not {list(images.shape)}.")
    scaled = ((images.double().clamp(-1.0, 1.0) + 1.0) * 127.5).round()
    pixels: Pixels = scaled.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
    return pixels
