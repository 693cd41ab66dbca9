"""Weights of networks in files, read as tensors only: nothing in such a file is ever run."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

_ZIP = b"PK"
_PICKLE = b"\x80"


class WeightsError(ValueError):
    """A file that holds other things than tensors by name."""


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by their names: of safetensors, or as `torch.save` writes a state dict.

    The content says which of the two it is, not the file's name.

    Args:
        file: The file.

    Raises:
        WeightsError: If it holds anything else, which is then not read.
        OSError: If it cannot be opened.
    """
    with file.open("rb") as stream:
        begin = stream.read(2)
    try:
        found = _saved(file) if begin == _ZIP or begin[:1] == _PICKLE else load_file(file)
    except OSError:
        raise
    except Exception as error:  # readers of foreign files may raise anything
        raise WeightsError(
            f"it is neither a safetensors file nor a state dict of torch.save ({_first_line(error)})"
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(k, str) and type(v) is Tensor for k, v in found.items()):
        raise WeightsError("it holds other things than tensors by name")
    return dict(found)


def _saved(file: Path) -> object:
    """Return what `torch.save` wrote, by the reader that makes tensors and containers alone."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise WeightsError("its members are compressed, which torch.save never does")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on foreign pickles before it refuses them
        return torch.load(file, map_location="cpu", weights_only=True)


def _first_line(error: Exception) -> str:
    """Return the beginning of a message; torch goes on with advice to read the file unsafely."""
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
