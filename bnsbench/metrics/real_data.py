"""Real samples in files, for models that bring none: folders of images or of sounds, .npz files of images or statistics."""

from __future__ import annotations

import hashlib
import wave
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.wav import read_wav

ENDINGS = {"images": (".png", ".jpg", ".jpeg"), "sounds": (".wav",)}
"""Of the files that are read of a folder, in small or capital letters."""

MODES = {1: "L", 3: "RGB"}
"""Pillow's name for images of that many channels."""

REMEDY = (
    "crop and resize them beforehand as the model's training data were, for it changes the distance (ADM halves with a box"
    " filter, resizes the shorter side by bicubic interpolation and crops the centre; torch-fidelity's"
    " --samples-resize-and-crop resizes bilinearly)."
)


class RealData(ABC):
    """Real samples that are read when they are asked for; the length is their number, 0 for statistics alone.

    source: the file or folder. files: what there is to read of it. form: of the samples that it is compared with.
    Raises UsageError for what cannot be read or does not have that form.
    """

    kind: str

    def __init__(self, source: Path, files: tuple[Path, ...], form: tuple[int, ...]) -> None:
        self.source = source
        self.files = files
        self.form = form

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of a file, or of the names, sizes and contents in a folder."""
        return _fingerprint(self.source, tuple((file, _state(file)) for file in self.files))

    @property
    def statistics(self) -> dict[str, NDArray[np.float64]] | None:
        """Published statistics of features: the mean ``mu`` [width] and the covariance ``sigma`` [width, width]."""
        return None

    @abstractmethod
    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield the samples, at most ``size`` at a time, as extractors take them: uint8 images or float32 waveforms."""

    @abstractmethod
    def __len__(self) -> int: ...


def open_images(source: str, shape: tuple[int, ...]) -> RealData:
    """Return the images in a folder or .npz file that are to be compared with samples of that shape [C, H, W]."""
    path = Path(source)
    return ImageArchive(path, shape) if path.is_file() else ImageFolder(path, shape)


class _Folder(RealData):
    """The files below a folder with certain endings, sorted by their paths."""

    def __init__(self, source: Path, form: tuple[int, ...]) -> None:
        if not source.is_dir():
            raise UsageError(f"There is no folder {source} of real {self.kind}.")
        super().__init__(source, tuple(sorted(file for file in source.rglob("*") if self._is_wanted(file))), form)
        if len(self) < 2:
            raise UsageError(
                f"{source} holds {len(self)} {self.kind} ({', '.join(ENDINGS[self.kind])}), but two are needed."
            )

    @abstractmethod
    def read(self, file: Path) -> Tensor:
        """Return the sample in a file."""

    def batches(self, size: int) -> Iterator[Tensor]:
        for start in range(0, len(self), size):
            yield torch.stack([self.read(file) for file in self.files[start : start + size]])

    def _is_wanted(self, file: Path) -> bool:
        return file.suffix.lower() in ENDINGS[self.kind] and file.is_file()

    def __len__(self) -> int:
        return len(self.files)


class ImageFolder(_Folder):
    """A folder of PNG and JPEG images as large as samples of the form [C, H, W], read as grey or RGB as they are."""

    kind = "images"

    def read(self, file: Path) -> Tensor:
        channels, height, width = self.form
        try:
            with Image.open(file) as image:
                if image.size != (width, height):
                    found = f"{image.width}x{image.height}"
                    raise UsageError(f"The image {file} is {found} and the samples are {width}x{height} pixels: {REMEDY}")
                if image.mode[0] in "IF":
                    raise UsageError(f"The image {file} has more than 8 bits per channel: convert it beforehand.")
                pixels = np.array(image.convert(MODES[channels]))
        except (OSError, SyntaxError) as error:  # Pillow's name for some kinds of damage is SyntaxError
            raise UsageError(f"The image {file} cannot be read: {error}.") from error
        return torch.from_numpy(pixels).reshape(height, width, channels).permute(2, 0, 1)


class SoundFolder(_Folder):
    """A folder of WAV files of 16 bits, all as long as the samples and at their rate: the form is (length, rate)."""

    kind = "sounds"

    def read(self, file: Path) -> Tensor:
        try:
            sound, rate = read_wav(file)
        except (OSError, EOFError, wave.Error) as error:
            raise UsageError(f"The sound {file} cannot be read: {error}.") from error
        if (len(sound), rate) != self.form:
            length, own = self.form
            raise UsageError(
                f"The sound {file} has {len(sound)} values at {rate} Hz and the samples have {length} at {own} Hz:"
                " resample, and cut or pad all sounds beforehand."
            )
        return sound


class ImageArchive(RealData):
    """A .npz file: images ``arr_0`` (uint8 [n, H, W, C]), ``mu`` and ``sigma`` of Inception's features, or both.

    ADM's evaluation suite publishes reference batches with both, pytorch-fid and EDM statistics alone. The form is
    [C, H, W].
    """

    kind = "images"

    def __init__(self, source: Path, form: tuple[int, ...]) -> None:
        super().__init__(source, (source,), form)
        try:
            with zipfile.ZipFile(source) as archive:
                self._names = {name.removesuffix(".npy") for name in archive.namelist()}
                self._count = self._check_images(archive) if "arr_0" in self._names else 0
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UsageError(f"{source} is no .npz file of images or statistics: {error}.") from error
        if not self._names & {"arr_0", "mu"} or ("mu" in self._names) != ("sigma" in self._names):
            raise UsageError(f"{source} holds neither images (arr_0) nor statistics (mu and sigma).")

    @cached_property
    def statistics(self) -> dict[str, NDArray[np.float64]] | None:
        if "mu" not in self._names:
            return None
        with np.load(self.source) as content:
            return {name: content[name].astype(np.float64) for name in ("mu", "sigma")}

    def batches(self, size: int) -> Iterator[Tensor]:
        if not len(self):
            return
        channels, height, width = self.form
        with zipfile.ZipFile(self.source) as archive, archive.open("arr_0.npy") as stream:
            _header(stream)
            for start in range(0, len(self), size):
                count = min(size, len(self) - start)
                pixels = np.frombuffer(stream.read(count * height * width * channels), dtype=np.uint8)
                yield torch.from_numpy(pixels.reshape(count, height, width, channels).transpose(0, 3, 1, 2).copy())

    def _check_images(self, archive: zipfile.ZipFile) -> int:
        """Return how many images there are."""
        with archive.open("arr_0.npy") as stream:
            (count, *size), fortran, dtype = _header(stream)
        channels, height, width = self.form
        if dtype != np.uint8 or fortran or len(size) != 3:
            raise UsageError(f"The images arr_0 in {self.source} are not stored as bytes [n, height, width, channels].")
        if size != [height, width, channels]:
            raise UsageError(
                f"The images in {self.source} are {size[1]}x{size[0]} pixels in {size[2]} channels and the samples"
                f" {width}x{height} in {channels}: {REMEDY}"
            )
        return count

    def __len__(self) -> int:
        return self._count


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, order and type of the array that a .npy stream holds, and leave the stream where its values begin."""
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=16)
def _fingerprint(source: Path, files: tuple[tuple[Path, tuple[int, int]], ...]) -> str:
    """Return the hash; it is taken once while sizes and times of the files stay as they are."""
    digest = hashlib.sha256()
    for file, (size, _) in files:
        if source.is_dir():
            digest.update(f"{file.relative_to(source).as_posix()}\0{size}\0".encode())
        with file.open("rb") as content:
            while part := content.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()
