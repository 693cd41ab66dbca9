"""Files of prompts: one text per line."""

from __future__ import annotations

from pathlib import Path

from bnsbench.errors import UsageError


def read_prompts(file: str) -> tuple[str, ...]:
    """Return the prompts in a UTF-8 file, one per line; none for no file.

    Spaces around a prompt, empty lines and lines that begin with # are left out. Raises UsageError for a file that cannot be
    read or has no prompt.
    """
    if not file:
        return ()
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The file of prompts {file!r} cannot be read: {error}.") from error
    prompts = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not prompts:
        raise UsageError(f"The file of prompts {file!r} has no prompt: write one per line.")
    return prompts
