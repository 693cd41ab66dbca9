"""Real samples in files, for models without own data: folders of images or of sounds, .npz files of images or statistics."""

from __future__ import annotations

import tokenize
import warnings
import wave
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bnsbench.errors import UsageError, one_line
from bnsbench.media.wav import read_wav
from bnsbench.metrics.contents import content_hash

ENDINGS = {"images": (".png", ".jpg", ".jpeg"), "sounds": (".wav",)}
"""Of the files that are read of a folder, in small or capital letters."""

FORMATS = ("PNG", "JPEG")
"""The only formats that Pillow may decode, whatever a file's name: each of its many decoders is a risk."""

MODES = {1: "L", 3: "RGB"}
"""Pillow's name for images of that many channels."""

REMEDY = (
    "crop and resize them beforehand as the model's training data were, for it changes the distance (ADM halves with a box"
    " filter, resizes the shorter side by bicubic interpolation and crops the centre; torch-fidelity's"
    " --samples-resize-and-crop resizes bilinearly)."
)


class RealData(ABC):
    """Real samples that are read when they are asked for; the length is their number, 0 for statistics alone.

    Args:
        source: The file or folder.
        files: Those to read: the file itself, or the ones in the folder.
        form: The shape of the samples that they are compared with.

    Raises:
        UsageError: If a file cannot be read or does not have that form.
    """

    kind: str

    def __init__(self, source: Path, files: tuple[Path, ...], form: tuple[int, ...]) -> None:
        self.source = source
        self.files = files
        self.form = form

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of a file, or of the names, sizes and contents in a folder."""
        return content_hash(self.source, self.files)

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


def real_files(source: Path, kind: str) -> tuple[Path, ...]:
    """Return what there is to read of real samples: the file itself, or the files of that kind below a folder, sorted."""
    if source.is_file():
        return (source,)
    return tuple(sorted(file for file in source.rglob("*") if file.suffix.lower() in ENDINGS[kind] and file.is_file()))


class _Folder(RealData):
    """The files below a folder with certain endings, sorted by their paths."""

    def __init__(self, source: Path, form: tuple[int, ...]) -> None:
        if not source.is_dir():
            raise UsageError(f"There is no folder {source} of real {self.kind}.")
        super().__init__(source, real_files(source, self.kind), form)
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

    def __len__(self) -> int:
        return len(self.files)


class ImageFolder(_Folder):
    """A folder of PNG and JPEG images as large as samples of the form [C, H, W], read as grey or RGB as they are."""

    kind = "images"

    def read(self, file: Path) -> Tensor:
        channels, height, width = self.form
        try:
            with _opened(file) as image:
                if image.size != (width, height):
                    found = f"{image.width}x{image.height}"
                    raise UsageError(f"The image {file} is {found} and the samples are {width}x{height} pixels: {REMEDY}")
                if image.mode[0] in "IF":
                    raise UsageError(f"The image {file} has more than 8 bits per channel: convert it beforehand.")
                pixels = np.array(image.convert(MODES[channels]))
        except _DAMAGE as error:
            raise UsageError(f"The image {file} cannot be read: {one_line(error)}.") from error
        return torch.from_numpy(pixels).reshape(height, width, channels).permute(2, 0, 1)


_DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)
"""The errors of Pillow for images that are damaged, of other formats, or larger than it opens."""


def _opened(file: Path) -> Image.Image:
    """Return an image whose size is known and whose pixels are not read yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(file, formats=FORMATS)


class SoundFolder(_Folder):
    """A folder of WAV files, all as long as the samples and at their rate: the form is (length, rate)."""

    kind = "sounds"

    def read(self, file: Path) -> Tensor:
        try:
            sound, rate = read_wav(file)
        except wave.Error as error:
            raise UsageError(f"The sound {error}.") from error
        except OSError as error:
            raise UsageError(f"The sound {file} cannot be read: {error}.") from error
        if (len(sound), rate) != self.form:
            length, own = self.form
            raise UsageError(
                f"The sound {file} has {len(sound)} values at {rate} Hz and the samples have {length} at {own} Hz:"
                " resample, and cut or pad all sounds beforehand."
            )
        return sound


_BROKEN = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError, SyntaxError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""The errors of reading an archive that is damaged, or whose arrays hold no numbers: numpy reads headers as Python."""


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
        except _BROKEN as error:
            raise UsageError(f"{source} is no .npz file of images or statistics: {one_line(error)}.") from error
        if not self._names & {"arr_0", "mu"} or ("mu" in self._names) != ("sigma" in self._names):
            raise UsageError(f"{source} holds neither images (arr_0) nor statistics (mu and sigma).")

    @cached_property
    def statistics(self) -> dict[str, NDArray[np.float64]] | None:
        if "mu" not in self._names:
            return None
        try:
            with np.load(self.source, allow_pickle=False) as content:
                mu, sigma = (_of_numbers(content[name]) for name in ("mu", "sigma"))
        except _BROKEN as error:
            raise UsageError(f"The statistics mu and sigma in {self.source} cannot be read: {one_line(error)}.") from error
        if mu.ndim != 1 or sigma.shape != 2 * mu.shape:
            shapes = f"mu is {list(mu.shape)}, sigma {list(sigma.shape)}"
            raise UsageError(f"The statistics in {self.source} are no mean and covariance: {shapes}.")
        if not (np.isfinite(mu).all() and np.isfinite(sigma).all() and np.allclose(sigma, sigma.T, rtol=1e-3)):
            raise UsageError(f"The statistics in {self.source} are not finite, or sigma is not symmetric.")
        return {"mu": mu, "sigma": sigma}

    def batches(self, size: int) -> Iterator[Tensor]:
        if not len(self):
            return
        try:
            yield from self._batches(size)
        except _BROKEN as error:
            raise UsageError(f"The images arr_0 in {self.source} cannot be read: {one_line(error)}.") from error

    def _batches(self, size: int) -> Iterator[Tensor]:
        channels, height, width = self.form
        with zipfile.ZipFile(self.source) as archive, archive.open("arr_0.npy") as stream:
            _header(stream)
            for start in range(0, len(self), size):
                count = min(size, len(self) - start)
                content = stream.read(count * height * width * channels)
                if len(content) < count * height * width * channels:
                    raise EOFError(f"the file ends before image {start + count} of {len(self)}")
                pixels = np.frombuffer(content, dtype=np.uint8)
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


def _of_numbers(array: object) -> NDArray[np.float64]:
    """Return an array in float64; TypeError if it holds texts or the like, which numpy would try to read as numbers."""
    # What is no array at all, numpy returns as bytes.
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise TypeError("it holds no real numbers")
    return array.astype(np.float64)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, order and type of the array that a .npy stream holds, and leave the stream where its values begin."""
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype
