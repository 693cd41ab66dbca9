"""A mailbox: messages of other machines through a folder on a shared disk."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from bnsbench.storage.files import make_folder
from bnsbench.suite.elsewhere import Message, Send, run_and_tell
from bnsbench.suite.plan import Cell
from bnsbench.suite.store import storage_errors

if TYPE_CHECKING:
    from bnsbench.suite.context import Job


class Mailbox:
    """A folder in which every sender writes a file of its own, so that nobody waits for anybody.

    A sender that is killed in the middle of a message has sent those before. Whoever can write into the folder can run
    programs as those who read it: messages are pickles.

    folder: made when something is sent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, int] = {}

    @contextmanager
    def sender(self) -> Iterator[Send]:
        """Give a function that sends a message, which is on the disk when it returns.

        Raises:
            StorageError: If the folder cannot be written.
        """
        with storage_errors(self.folder):
            make_folder(self.folder)
            file = (self.folder / f"{uuid4().hex}.messages").open("xb")

        def send(message: Message) -> None:
            with storage_errors(self.folder):
                file.write(pickle.dumps(message))
                file.flush()
                os.fsync(file.fileno())

        with file:
            yield send

    def read(self) -> Iterator[Message]:
        """Yield the messages that have come since the last call."""
        for file in sorted(self.folder.glob("*.messages")):
            with file.open("rb") as opened:
                opened.seek(self._read.get(file, 0))
                while (message := _next(opened)) is not None:
                    self._read[file] = opened.tell()
                    yield message

    def run(self, cells: Sequence[Cell], job: Job, workers: int = 1) -> None:
        """Run cells on this machine and send what becomes of them, but not those whose records have been sent already.

        So a batch system may begin the same job again.

        Args:
            cells: As of `bnsbench.plugin.run_and_tell`.
            job: Likewise.
            workers: Likewise.

        Raises:
            StorageError: If the folder cannot be written.
        """
        recorded = {message.key for message in Mailbox(self.folder).read() if message.kind == "record"}
        with self.sender() as send:
            run_and_tell([cell for cell in cells if cell.key not in recorded], job, send, workers=workers)


def _next(opened: BufferedReader) -> Message | None:
    """Return the next message of a file, None if it is not there yet as a whole."""
    try:
        message: Message = pickle.load(opened)  # noqa: S301 (from the run's own workers)
    except (EOFError, pickle.UnpicklingError):
        return None
    return message
