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
                    files.append(type(page).generated(config, copy, abs_src_path=str(file)))
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
    """Return the names that a module offers, in its own order and without its version; none if there is no such module."""
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return []
    return [name for name in found.__all__ if not name.startswith("__")]


def _reference(module: str) -> Iterator[str]:
    """Yield the lines that make mkdocstrings show every public name of a module, by purpose where it has purposes."""
    found = import_module(module) if public_names(module) else None
    groups = getattr(found, "GROUPS", None)
    if groups is None:
        for name in public_names(module):
            yield from _entry(module, name, 2)
        return
    for purpose, homes in groups.items():
        title, _, more = purpose.rstrip(".").partition(": ")
        yield f"## {title}\n\n{more[:1].upper()}{more[1:]}.\n"
        for name in (name for names in homes.values() for name in names):
            yield from _entry(module, name, 3)


def _entry(module: str, name: str, level: int) -> Iterator[str]:
    value = getattr(import_module(module), name)
    title = f"{'#' * level} {name}\n\n"
    if isinstance(value, ModuleType):
        page = {"bnsbench.plugin": "python-plugin.md", "bnsbench.testing": "python-testing.md"}.get(value.__name__)
        yield f"{title}The module [`{value.__name__}`]({page}).\n" if page else title + _first_sentence(value)
        for inner in () if page else _names_of(value):
            yield from _entry(value.__name__, inner, level + 1)
    elif module != "bnsbench" and name in public_names("bnsbench") and getattr(import_module("bnsbench"), name) is value:
        yield f"{title}The same as [`bnsbench.{name}`](python.md).\n"
    elif (home := _home(value)) is not None:
        yield f"::: {home}\n    options:\n      heading_level: {level}\n"
    else:
        yield f"{title}A name for `{_shown(value)}`.\n"


def _names_of(module: ModuleType) -> list[str]:
    """Return what a module offers: its ``__all__``, or the classes that it defines."""
    named = getattr(module, "__all__", None)
    own = [name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__]
    return [name for name in named or own if not name.startswith("_")]


def _first_sentence(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().split("\n\n")[0] + "\n"


def _home(value: object) -> str | None:
    """Return where a name is defined, None for a value that does not know."""
    if isinstance(value, ModuleType):
        return value.__name__
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return f"{module}.{name}" if module and name and "<" not in name and module.startswith("bnsbench") else None


def _shown(value: object) -> str:
    return " ".join(repr(value).replace("typing.", "").split())
