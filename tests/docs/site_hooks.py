"""What mkdocs does besides: the pages of Python names, and links to files of the repository that are no page of the site.

A line ``<!-- names: MODULE -->`` becomes the reference of every name in that module's ``__all__``. Pictures outside docs/
are copied into the site. Links to other files lead to the repository where pyproject.toml says where that is, and
else are told as paths, since a site that is read from a folder has no such files beside it.
"""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
PICTURES = {".png", ".svg", ".jpg"}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")
_NAMES = re.compile(r"^<!-- names: ([\w.]+) -->$", re.MULTILINE)
_log = logging.getLogger("mkdocs.hooks.bnsbench")


def on_files(files: Any, config: Any) -> Any:
    """Add the pictures that pages show from outside docs/."""
    for page in list(files.documentation_pages()):
        for mark, _, target, _ in _LINK.findall(page.content_string):
            file = _outside(page.src_uri, target, config)
            if mark and file is not None and file.suffix in PICTURES:
                copy = f"repository/{file.relative_to(ROOT).as_posix()}"
                if files.get_file_from_path(copy) is None:
                    files.append(File.generated(config, copy, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the names of a module, and rewrite the links that leave docs/."""
    del files
    filled = _NAMES.sub(lambda found: "\n".join(_reference(found[1])), markdown)
    return _LINK.sub(lambda found: _rewritten(found, page.file.src_uri, config), filled)


def _rewritten(found: re.Match[str], page: str, config: Any) -> str:
    mark, text, target, anchor = found[1], found[2], found[3], found[4] or ""
    file = _outside(page, target, config)
    if file is None:
        return found[0]
    if not file.exists():
        _log.warning("%s links to %s, which does not exist", page, target)
        return found[0]
    path = file.relative_to(ROOT).as_posix()
    if mark:
        return f"![{text}]({'../' * page.count('/')}repository/{path})"
    host = repository()
    if host:
        return f"[{text}]({host}/{'tree' if file.is_dir() else 'blob'}/main/{path}{anchor})"
    return text if path in text else f"{text} (`{path}`)"


def _outside(page: str, target: str, config: Any) -> Path | None:
    """Return the file that a page's link means, None if it lies in docs/."""
    folder = Path(config["docs_dir"]).resolve()
    file = (folder / page).parent.joinpath(target).resolve()
    return None if file.is_relative_to(folder) or not file.is_relative_to(ROOT) else file


def repository() -> str:
    """Return the address of the repository, "" as long as pyproject.toml names none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project.get("urls", {}).get("Repository", "")).rstrip("/")


def public_names(module: str) -> list[str]:
    """Return the names that a module offers, without its version; none if there is no such module."""
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return []
    names: list[str] = sorted(found.__all__, key=str.lower)
    return [name for name in names if not name.startswith("__")]


def _reference(module: str) -> Iterator[str]:
    """Yield the lines that make mkdocstrings show every public name of a module."""
    for name in public_names(module):
        value = getattr(import_module(module), name)
        home = _home(value)
        if home is None:
            yield f"## `{name}` {{ #{module}.{name} }}\n\nA name for the type or value `{_shown(value)}`.\n"
        else:
            yield f"::: {home}\n"


def _home(value: object) -> str | None:
    """Return where a name is defined, None for a value that does not know."""
    if isinstance(value, ModuleType):
        return value.__name__
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return f"{module}.{name}" if module and name and "<" not in name and module.startswith("bnsbench") else None


def _shown(value: object) -> str:
    return " ".join(repr(value).replace("typing.", "").split())
