"""Pictures: every pixel where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io.wavfile
import torch
from matplotlib.image import imread

from bnsbench.errors import UsageError
from bnsbench.media.pictures import (
    contact_sheet,
    display_for,
    draw_images,
    draw_points,
    draw_sounds,
    film_strips,
    write_images,
    write_sounds,
)
from bnsbench.media.wav import read_wav


def read(file) -> np.ndarray:
    return np.round(imread(file)[..., :3] * 255).astype(int)


def test_single_images_keep_their_pixels(tmp_path):
    images = torch.tensor([[[[-1.0, 0.0], [1.0, 3.0]]]])
    write_images(images, images, tmp_path)
    assert read(tmp_path / "000.png")[..., 0].tolist() == [[0, 128], [255, 255]]


def test_colours_stay_in_place(tmp_path):
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    write_images(red, red, tmp_path)
    assert read(tmp_path / "000.png")[2, 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_overview_shows_every_pair_once(tmp_path, count):
    levels = 10 + 5 * torch.arange(2 * count)
    images = (levels / 127.5 - 1.0).reshape(2, count, 1, 1, 1).expand(2, count, 1, 8, 8)
    draw_images(images[0], images[1], tmp_path / "all.png")
    sheet = read(tmp_path / "all.png")[..., 0]
    values, areas = np.unique(sheet, return_counts=True)
    assert values.tolist() == [*levels.tolist(), 255]
    assert set(areas[:-1]) == {64 * 64}


def test_frames_of_a_video_lie_beside_each_other(tmp_path):
    levels = 10 * torch.arange(1, 16)
    video = (levels / 127.5 - 1.0).reshape(1, 1, 15, 1, 1).expand(1, 1, 15, 2, 3)
    display_for("video").each(video, video, tmp_path)
    strip = read(tmp_path / "000.png")[..., 0]
    assert strip.shape == (2, 8 * 3)
    assert strip[1, ::3].tolist() == levels[::2].tolist()
    assert film_strips(video[:, :, :2]).shape == (1, 1, 2, 6)
    display_for("video").overview(video, video, tmp_path / "all.png")
    assert set(levels[::2].tolist()) <= set(read(tmp_path / "all.png").ravel().tolist())


def test_samples_are_left_of_their_truth():
    left, right = (np.full((1, 64, 64, 3), level, dtype=np.uint8) for level in (10, 200))
    columns = contact_sheet(left, right)[32, :, 0]
    assert np.flatnonzero(columns == 10).max() < np.flatnonzero(columns == 200).min()


def test_points(tmp_path):
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    for name, shift in (("here", 0.0), ("there", 1.0)):
        draw_points(points, points + shift, tmp_path / f"{name}.png")
    here, there = (read(tmp_path / f"{name}.png") for name in ("here", "there"))
    assert here.shape == there.shape
    assert (here != there).any()


@pytest.mark.parametrize("shape", [(2, 2, 4, 4), (2, 4, 4)])
def test_what_is_no_image(tmp_path, shape):
    with pytest.raises(UsageError, match="must be shaped"):
        write_images(torch.zeros(shape), torch.zeros(shape), tmp_path)


def test_unknown_modality():
    with pytest.raises(UsageError, match="no pictures of 'audio' samples, only of image, video, points"):
        display_for("audio")
    assert display_for("audio", 16_000) is not None


def test_sounds_are_written_and_drawn(tmp_path):
    time = torch.arange(4000) / 8000
    tones = torch.stack([0.5 * torch.sin(2 * torch.pi * hertz * time) for hertz in (500, 1000, 3000)])
    write_sounds(tones, tones.flip(0), tmp_path, 8000)
    assert sorted(file.name for file in tmp_path.iterdir())[:3] == ["000-truth.wav", "000.wav", "001-truth.wav"]
    sound, rate = read_wav(tmp_path / "000.wav")
    assert rate == 8000
    torch.testing.assert_close(sound, tones[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(read_wav(tmp_path / "000-truth.wav")[0], tones[2], atol=1e-4, rtol=0)
    draw_sounds(tones, tones, tmp_path / "same.png")
    draw_sounds(tones, torch.zeros_like(tones), tmp_path / "silent.png")
    assert (read(tmp_path / "same.png") != read(tmp_path / "silent.png")).any()


def test_channels_are_heard_apart_and_drawn_as_their_mean(tmp_path):
    time = torch.arange(4000) / 8000
    left, right = (0.5 * torch.sin(2 * torch.pi * hertz * time) for hertz in (500, 1500))
    both = torch.stack([left, right])[None]
    write_sounds(both, both, tmp_path, 8000)
    _, numbers = scipy.io.wavfile.read(tmp_path / "000.wav")
    np.testing.assert_allclose(numbers.T / 32767, both[0].numpy(), atol=1e-4)
    draw_sounds(both, both, tmp_path / "stereo.png")
    mean = both.double().mean(dim=1)
    draw_sounds(mean, mean, tmp_path / "mono.png")
    assert (read(tmp_path / "stereo.png") == read(tmp_path / "mono.png")).all()
