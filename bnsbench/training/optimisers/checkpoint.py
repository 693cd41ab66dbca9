"""The saved state of a training: written after every iteration, so that an interrupted one goes on where it was."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from bnsbench.storage.files import replacing


class Checkpoint:
    """A file for a training's state; None as the file keeps nothing."""

    def __init__(self, file: Path | None) -> None:
        self.file = file

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None if there is none or it cannot be read."""
        if self.file is None or not self.file.exists():
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch remarks on foreign pickles before it refuses them
                state = torch.load(self.file, weights_only=True)
        except (
            OSError,
            RuntimeError,
            EOFError,
            ValueError,
            LookupError,
            pickle.UnpicklingError,
        ):  # no file of ours, or cut off
            return None
        return state if isinstance(state, dict) else None

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state."""
        if self.file is not None:
            with replacing(self.file) as temporary:
                torch.save(state, temporary)

    def remove(self) -> None:
        """Delete the file: the training has ended."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)
