"""Files of prompts: one text per line."""

from __future__ import annotations

import re
from pathlib import Path

from bnsbench.plugin import UsageError


def read_prompts(file: str) -> tuple[str, ...]:
    r"""Return the prompts in a UTF-8 file, one per line; none for no file.

    Lines end with \n or \r\n; other separators of Unicode's belong to the prompt. Spaces around a prompt, empty lines and
    lines that begin with # are left out. Raises UsageError for a file that cannot be read or has no prompt.
    """
    if not file:
        return ()
    try:
        # Decoded here, because reading as text would turn a lone \r into the end of a line.
        lines = re.split(r"\r?\n", Path(file).expanduser().read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The file of prompts {file!r} cannot be read: {error}.") from error
    prompts = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not prompts:
        raise UsageError(f"The file of prompts {file!r} has no prompt: write one per line.")
    return prompts
