"""New plugin packages, rendered from templates: a whole one that works, to be changed step by step."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Literal

from bnsbench._version import __version__
from bnsbench.errors import UsageError

Kind = Literal["solver", "model", "metric"]

TEMPLATES = Path(__file__).parent / "templates"

SOURCE = ""
"""Where the CI of new packages installs bnsbench from, as pip takes it: ``git+https://...`` or a folder; "" is the index.

To be set to the project's address as long as there is no release on the index.
"""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FORBIDDEN = re.compile(r"[\s\"\\$`]")
"""Characters that would end the quotes around a source in the CI file, or mean something to a shell."""
_FILES = {
    "common/pyproject.toml": "pyproject.toml",
    "common/gitignore": ".gitignore",
    "common/workflow.yml": ".github/workflows/tests.yml",
    "common/package.py": "$package/__init__.py",
    "$kind/plugin.py": "$package/plugin.py",
    "$kind/component.py": "$package/$kind.py",
    "$kind/test.py": "tests/test_$kind.py",
    "$kind/README.md": "README.md",
}
"""Templates, and the files that they become."""


def write_package(kind: Kind, name: str, folder: Path | None = None, source: str | None = None) -> Path:
    """Write the package of a plugin that offers one component.

    Args:
        kind: What the package offers.
        name: The component's name.
        folder: What to write; ``bnsbench-NAME`` if None.
        source: Where its CI installs bnsbench from, a URL such as ``git+https://...`` or a folder, "" for the package index;
            `SOURCE` if None.

    Returns:
        The folder.

    Raises:
        UsageError: If the name is no name for a component, if the folder exists or cannot be written, or if pip cannot
            install from such a source.
    """
    words = _words(kind, name, SOURCE if source is None else source)
    place = folder or Path(words["project"])
    if place.exists():
        raise UsageError(f"There is a {str(place)!r} already; choose another folder with --output.")
    try:
        for file, text in _rendered(words):
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"The folder {str(place)!r} cannot be written: {error.strerror}.") from error
    return place


def _words(kind: Kind, name: str, source: str) -> Mapping[str, str]:
    """Return what stands in the templates."""
    identifier = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(identifier):
        raise UsageError(
            f"{name!r} cannot name a {kind}: write lower-case letters and digits, with single hyphens between, such as"
            f" 'my-{kind}'."
        )
    return {
        "kind": kind,
        "name": name,
        "identifier": identifier,
        "project": f"bnsbench-{name}",
        "package": f"bnsbench_{identifier}",
        "version": __version__,
        "requirement": _requirement(source),
    }


def _requirement(source: str) -> str:
    """Return the requirement by which pip installs bnsbench from that source."""
    if _FORBIDDEN.search(source):
        raise UsageError(f"pip cannot install bnsbench from {source!r}: write a URL such as 'git+https://...', or a folder.")
    if not source:
        return f"bnsbench>={__version__}"
    return f"bnsbench @ {source}" if "://" in source else source


def _rendered(words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for template, file in _FILES.items():
        source = TEMPLATES / f"{Template(template).substitute(words)}.template"
        yield Template(file).substitute(words), Template(source.read_text(encoding="utf-8")).substitute(words)
