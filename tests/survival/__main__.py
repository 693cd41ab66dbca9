"""Run one part of what bnsbench has to survive: ``python -m tests.survival forgeries``; without a part, list them.

A part is a module of this folder with a function ``main(arguments)``, whose exit code is 0 if all has been survived.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent


def parts() -> dict[str, str]:
    """Return the parts, each with the first line of its docstring."""
    files = [file for file in sorted(FOLDER.glob("[a-z]*.py")) if not file.name.startswith("test_")]
    texts = {file.stem: file.read_text(encoding="utf-8") for file in files}
    return {name: text.partition("\n")[0].strip('" ') for name, text in texts.items() if "\ndef main(arguments" in text}


def run(words: list[str]) -> int:
    found = parts()
    if not words or words[0] not in found:
        for name, summary in found.items():
            print(f"{name}: {summary}")
        return 2 if words else 0
    code: int = import_module(f"tests.survival.{words[0]}").main(words[1:])
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
