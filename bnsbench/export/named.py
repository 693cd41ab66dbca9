"""A file of an exporter under a name of the user's own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from bnsbench.errors import UsageError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.storage.files import make_folder

SUFFIXES = (".py", ".json")
"""By which a file is told from a folder."""


def write_to(write: Callable[[SolverArtefact, Path], Path], artefact: SolverArtefact, target: Path) -> Path:
    """Let an exporter write into a folder, or its file under another name, and return the path.

    Args:
        write: The exporter.
        artefact: The solver.
        target: A folder, in which the exporter names its file; or a file that ends in .py or .json.

    Raises:
        UsageError: If what the exporter writes is no file with this ending.
    """
    if target.suffix not in SUFFIXES:
        return write(artefact, target)
    make_folder(target.parent)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as folder:
        written = write(artefact, Path(folder))
        if not written.is_file() or written.suffix != target.suffix:
            raise UsageError(
                f"This format is no {target.suffix} file but {written.name}: name a folder for it, or a file that ends so."
            )
        return written.replace(target)
