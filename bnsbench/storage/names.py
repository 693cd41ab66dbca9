"""Names that may be those of files: a text of any length and content can be asked for, and most are none."""

from __future__ import annotations

from pathlib import Path


def at_home(name: str) -> Path:
    """Return the path with a ``~`` replaced by the user's home folder; as it is where there is no such user or folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def is_file(name: Path | str) -> bool:
    """Return whether there is a file of that name; a text that no file can be called is none."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def is_there(name: Path | str) -> bool:
    """Return whether there is a file or folder of that name."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False
