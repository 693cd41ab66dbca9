"""Pictures and sound files of samples, beside the ground truth of the same noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.media.drawing import plain_style
from bnsbench.media.wav import write_wav
from bnsbench.storage.files import replacing

Pixels = NDArray[np.uint8]

SMALLEST_TILE = 64
"""Images smaller than this many pixels are magnified in the overview."""
STRIP = 8
"""Frames of a video that are shown, at equal distances from the first to the last."""
WINDOW = 512
"""Samples in a window of a spectrogram."""
QUIET, LOUD = -60.0, 30.0
"""The decibels of a spectrogram between which its colours change."""


def _nothing(samples: Tensor, truth: Tensor, folder: Path) -> None:
    """Write nothing: samples of this modality are in the overview only."""


@dataclass(frozen=True)
class Display:
    """Functions that show samples of one modality.

    overview(samples, truth, file): draws one picture of all samples and their ground truth.
    each(samples, truth, folder): writes a file for every sample.
    """

    overview: Callable[[Tensor, Tensor, Path], None]
    each: Callable[[Tensor, Tensor, Path], None] = _nothing


def display_for(modality: str, rate: int | None = None) -> Display:
    """Return the functions that show samples of a modality.

    Args:
        modality: "image", "video", "audio" or "points".
        rate: Of sound, in Hz.

    Raises:
        UsageError: If samples of that modality cannot be shown.
    """
    known = {
        "image": Display(draw_images, write_images),
        "video": Display(draw_videos, write_videos),
        "points": Display(draw_points),
    }
    if rate is not None:
        known["audio"] = Display(draw_sounds, partial(write_sounds, rate=rate))
    if modality not in known:
        raise UsageError(f"There are no pictures of {modality!r} samples, only of {', '.join(known)}.")
    return known[modality]


def write_images(samples: Tensor, truth: Tensor, folder: Path) -> None:
    """Write every image as 000.png, 001.png and so on.

    Args:
        samples: Images [n, C, H, W] in [-1, 1], C = 1 or 3.
        truth: Not used: the ground truth is in the overview.
        folder: Where they are written; it has to exist.
    """
    del truth
    for index, image in enumerate(_pixels(samples)):
        _save_pixels(folder / f"{index:03d}.png", image)


def draw_images(samples: Tensor, truth: Tensor, file: Path) -> None:
    """Draw all images, each with its ground truth at its right.

    Args:
        samples: Images [n, C, H, W] in [-1, 1], C = 1 or 3.
        truth: Their ground truth, of the same shape.
        file: The picture, with a suffix that says its format.
    """
    _save_pixels(file, contact_sheet(_pixels(samples), _pixels(truth)))


def write_videos(samples: Tensor, truth: Tensor, folder: Path) -> None:
    """Write frames of every video beside each other as 000.png, 001.png and so on.

    Args:
        samples: Videos [n, C, frames, H, W] in [-1, 1], C = 1 or 3.
        truth: Not used: the ground truth is in the overview.
        folder: Where they are written; it has to exist.
    """
    write_images(film_strips(samples), truth, folder)


def draw_videos(samples: Tensor, truth: Tensor, file: Path) -> None:
    """Draw frames of all videos beside each other, each with its ground truth at its right.

    Args:
        samples: Videos [n, C, frames, H, W] in [-1, 1], C = 1 or 3.
        truth: Their ground truth, of the same shape.
        file: The picture, with a suffix that says its format.
    """
    draw_images(film_strips(samples), film_strips(truth), file)


def film_strips(videos: Tensor) -> Tensor:
    """Return images [n, C, H, k W] of at most `STRIP` frames of videos [n, C, frames, H, W], from left to right."""
    frames = videos.shape[2]
    shown = torch.linspace(0, frames - 1, min(frames, STRIP)).round().long()
    return videos[:, :, shown].permute(0, 1, 3, 2, 4).flatten(3)


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


def sheet_pairs(sheet: Pixels, count: int) -> tuple[Pixels, Pixels] | None:
    """Return the images [count, h, w, 3] at the left and at the right of a `contact_sheet` of so many pairs.

    Args:
        sheet: A picture [H, W, 3].
        count: The number of its pairs.

    Returns:
        None if it is no such sheet.
    """
    columns = math.ceil(math.sqrt(count / 2))
    rows = math.ceil(count / columns)
    for height in range(1, sheet.shape[0] // rows + 1):
        gap = max(2, height // 8)
        line = max(1, gap // 4)
        width, rest = divmod((sheet.shape[1] - gap) // columns - gap - line, 2)
        whole = (rows * (gap + height) + gap, columns * (gap + 2 * width + line) + gap)
        if rest or width < 1 or sheet.shape[:2] != whole:
            continue
        tiles = sheet[:-gap, :-gap].reshape(rows, gap + height, columns, gap + 2 * width + line, 3).swapaxes(1, 2)
        pairs = tiles.reshape(rows * columns, gap + height, -1, 3)[:count]
        white = (pairs[:, :gap], pairs[:, :, :gap], pairs[:, :, gap + width : gap + width + line], sheet[-gap:])
        if all((part == 255).all() for part in white):
            return pairs[:, gap:, gap : gap + width], pairs[:, gap:, gap + width + line :]
    return None


@plain_style()
def draw_points(samples: Tensor, truth: Tensor, file: Path) -> None:
    """Draw the first two coordinates of points and their ground truth, joined by lines.

    Args:
        samples: Points [n, d].
        truth: Their ground truth, of the same shape.
        file: The picture, with a suffix that says its format.
    """
    points, ends = samples.flatten(1)[:, :2].double().cpu().numpy(), truth.flatten(1)[:, :2].double().cpu().numpy()
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    axes.plot(*np.stack([points, ends]).transpose(2, 0, 1), color="0.7", linewidth=0.8, zorder=1)
    axes.scatter(ends[:, 0], ends[:, 1], s=18, label="ground truth", facecolors="none", edgecolors="tab:blue")
    axes.scatter(points[:, 0], points[:, 1], s=8, label="samples", color="tab:orange")
    axes.legend()
    _save_figure(file, figure, 150)


def write_sounds(samples: Tensor, truth: Tensor, folder: Path, rate: int) -> None:
    """Write every waveform as 000.wav, 001.wav and so on, and its ground truth as 000-truth.wav.

    Args:
        samples: Waveforms [n, samples] or [n, channels, samples] in [-1, 1].
        truth: Their ground truth, of the same shape.
        folder: Where they are written; it has to exist.
        rate: In Hz.
    """
    for index, (sound, reference) in enumerate(zip(samples, truth, strict=True)):
        write_wav(folder / f"{index:03d}.wav", sound, rate)
        write_wav(folder / f"{index:03d}-truth.wav", reference, rate)


@plain_style()
def draw_sounds(samples: Tensor, truth: Tensor, file: Path) -> None:
    """Draw the spectrograms of all waveforms, each beside its ground truth.

    Channels are averaged; the loudest 90 dB are shown.

    Args:
        samples: Waveforms [n, samples] or [n, channels, samples].
        truth: Their ground truth, of the same shape.
        file: The picture, with a suffix that says its format.
    """
    columns = min(4, len(samples))
    rows = math.ceil(len(samples) / columns)
    figure = Figure(figsize=(3.6 * columns, 1.9 * rows), layout="constrained")
    axes = figure.subplots(rows, 2 * columns, sharex=True, sharey=True, squeeze=False).flatten()
    for index, pair in enumerate(zip(samples.cpu(), truth.cpu(), strict=True)):
        for axis, sound, title in zip(axes[2 * index : 2 * index + 2], pair, (f"{index:03d}", "ground truth"), strict=True):
            axis.imshow(spectrogram(sound), origin="lower", aspect="auto", vmin=QUIET, vmax=LOUD)
            axis.set_title(title, fontsize=8)
            axis.set(xticks=[], yticks=[])
    for axis in axes[2 * len(samples) :]:
        axis.remove()
    _save_figure(file, figure, 110)


def _save_pixels(file: Path, pixels: Pixels) -> None:
    with replacing(file) as temporary:
        imsave(temporary, pixels, format=file.suffix.removeprefix("."))


def _save_figure(file: Path, figure: Figure, dpi: int) -> None:
    with replacing(file) as temporary:
        figure.savefig(temporary, format=file.suffix.removeprefix("."), dpi=dpi)


def spectrogram(sound: Tensor) -> NDArray[np.float64]:
    """Return the spectrogram [frequencies, frames] of a waveform in dB, its channels averaged; silence is -80.

    Args:
        sound: [samples] or [channels, samples], of more than half a `WINDOW`.
    """
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    mono = sound.double().reshape(-1, sound.shape[-1]).mean(dim=0)
    spectrum = torch.stft(mono, WINDOW, WINDOW // 4, window=window, return_complex=True)
    levels: NDArray[np.float64] = 20.0 * spectrum.abs().clamp_min(1e-4).log10().numpy()
    return levels


def _pixels(images: Tensor) -> Pixels:
    """Return uint8 [n, H, W, 3] for images [n, C, H, W] in [-1, 1] with one or three channels; values are clamped."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UsageError(f"Images must be shaped [n, 1 or 3, height, width], not {list(images.shape)}.")
    scaled = ((images.double().clamp(-1.0, 1.0) + 1.0) * 127.5).round()
    pixels: Pixels = scaled.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
    return pixels
