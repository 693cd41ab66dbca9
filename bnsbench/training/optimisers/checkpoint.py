"""The saved state of a training: written after every iteration, so that an interrupted one goes on where it was."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bnsbench.process.ranks import team
from bnsbench.storage.files import cache_errors
from bnsbench.storage.states import read_state, write_state

FLUSHED_EVERY = 2.0
"""Seconds between states that are flushed to the disk: of quick iterations, a power cut may cost those since."""


class Checkpoint:
    """A file for a training's state; None as the file keeps nothing."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._flushed = -FLUSHED_EVERY

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None if there is none, it is damaged, or it was saved for another training."""
        file = self.file
        return None if file is None else team().of_first(lambda: read_state(file))

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state; StorageError if that is not possible."""
        if self.file is None or not team().first:
            return
        now = time.monotonic()
        flush = now - self._flushed >= FLUSHED_EVERY
        with cache_errors(self.file.parent):
            write_state(self.file, state, flush)
        self._flushed = now if flush else self._flushed

    def remove(self) -> None:
        """Delete the file: the training has ended."""
        if self.file is not None and team().first:
            self.file.unlink(missing_ok=True)
