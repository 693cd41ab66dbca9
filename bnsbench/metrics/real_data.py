"""Real samples in files, for models without own data: folders of images or of sounds, .npz files of images or statistics."""

from __future__ import annotations

import warnings
import wave
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bnsbench._text import LONGEST_QUOTE, shortened
from bnsbench.errors import UsageError, one_line
from bnsbench.media.wav import read_wav
from bnsbench.metrics.arrays import Header, open_array, read_header, read_numbers, read_whole
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


WIDEST = 4096
"""The most features of which statistics are read: their covariance is 128 MB."""


class ImageArchive(RealData):
    """A .npz file: images ``arr_0`` (uint8 [n, H, W, C]), ``mu`` and ``sigma`` of Inception's features, or both.

    ADM's evaluation suite publishes reference batches with both, pytorch-fid and EDM statistics alone. The form is
    [C, H, W].
    """

    kind = "images"

    def __init__(self, source: Path, form: tuple[int, ...]) -> None:
        super().__init__(source, (source,), form)
        with _told(f"{source} is no .npz file of images or statistics"), zipfile.ZipFile(source) as archive:
            self._names = {name.removesuffix(".npy") for name in archive.namelist()}
            self._count = self._check_images(archive) if "arr_0" in self._names else 0
        if not self._names & {"arr_0", "mu"} or ("mu" in self._names) != ("sigma" in self._names):
            raise UsageError(f"{source} holds neither images (arr_0) nor statistics (mu and sigma).")

    @cached_property
    def statistics(self) -> dict[str, NDArray[np.float64]] | None:
        if "mu" not in self._names:
            return None
        with (
            _told(f"The statistics mu and sigma in {self.source} cannot be read"),
            zipfile.ZipFile(self.source) as archive,
            open_array(archive, "mu") as mean,
            open_array(archive, "sigma") as covariance,
        ):
            headers = read_header(mean), read_header(covariance)
            self._check_statistics(*headers)
            mu, sigma = read_numbers(mean, headers[0]), read_numbers(covariance, headers[1])
        if not (np.isfinite(mu).all() and np.isfinite(sigma).all() and np.allclose(sigma, sigma.T, rtol=1e-3)):
            raise UsageError(f"The statistics in {self.source} are not finite, or sigma is not symmetric.")
        return {"mu": mu, "sigma": sigma}

    def batches(self, size: int) -> Iterator[Tensor]:
        if not len(self):
            return
        channels, height, width = self.form
        with (
            _told(f"The images arr_0 in {self.source} cannot be read"),
            zipfile.ZipFile(self.source) as archive,
            open_array(archive, "arr_0") as stream,
        ):
            read_header(stream)
            for start in range(0, len(self), size):
                count = min(size, len(self) - start)
                pixels = np.frombuffer(read_whole(stream, count * height * width * channels), dtype=np.uint8)
                yield torch.from_numpy(pixels.reshape(count, height, width, channels).transpose(0, 3, 1, 2).copy())

    def _check_statistics(self, mean: Header, covariance: Header) -> None:
        """Look at what the file says of the two arrays, before any memory is taken for them."""
        shapes = f"mu is {list(mean.shape)}, sigma {list(covariance.shape)}"
        if len(mean.shape) != 1 or covariance.shape != 2 * mean.shape:
            raise UsageError(f"The statistics in {self.source} are no mean and covariance: {shapes}.")
        if mean.shape[0] > WIDEST:
            raise UsageError(f"The statistics in {self.source} are of more than {WIDEST:,} features: {shapes}.")

    def _check_images(self, archive: zipfile.ZipFile) -> int:
        """Return how many images there are."""
        with open_array(archive, "arr_0") as stream:
            header = read_header(stream)
            there = archive.getinfo("arr_0.npy").file_size - stream.tell()
        count, *size = header.shape or (0,)
        channels, height, width = self.form
        if header.dtype != np.uint8 or header.fortran or len(size) != 3:
            raise UsageError(f"The images arr_0 in {self.source} are not stored as bytes [n, height, width, channels].")
        if size != [height, width, channels]:
            raise UsageError(
                f"The images in {self.source} are {size[1]}x{size[0]} pixels in {size[2]} channels and the samples"
                f" {width}x{height} in {channels}: {REMEDY}"
            )
        whole = there // (height * width * channels)
        if whole < count:
            raise UsageError(
                f"The images arr_0 in {self.source} cannot be read: the file ends before image {whole + 1} of {count}."
            )
        return count

    def __len__(self) -> int:
        return self._count


@contextmanager
def _told(sentence: str) -> Iterator[None]:
    """Go on with the reason where the block fails: zipfile, zlib and numpy raise all sorts of errors for foreign files."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{sentence}: {shortened(one_line(error), LONGEST_QUOTE)}.") from error
