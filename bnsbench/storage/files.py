"""Names of files, and writing them whole or not at all, so that no reader finds a file that an interrupt has cut off."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``, of this process alone, whose file becomes ``target`` if nothing is raised.

    Folders are made as needed. Whatever is raised, ``target`` stays as it was and the temporary file is removed; OSError
    where the disk refuses.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def name_of(text: str) -> str:
    """Return the text as a part of a file name: letters, digits and ``._=+-``, at most 120 of them."""
    return re.sub(r"[^A-Za-z0-9._=+-]+", "-", text).replace("-_", "_").strip("-")[:120]
