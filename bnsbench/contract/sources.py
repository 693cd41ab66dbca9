"""Finding plugins without importing them: the built-ins, installed packages, a folder's local file and single files."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import CodeType, ModuleType

from bnsbench._text import spelt_out
from bnsbench._version import __version__
from bnsbench.contract.hookspecs import GROUP
from bnsbench.contract.model_files import ModelInFile, model_in_file, plugin_name
from bnsbench.contract.selectors import did_you_mean
from bnsbench.errors import UsageError
from bnsbench.storage.names import is_file

BUILTIN = "builtin"
LOCAL_FILE = "bnsbench_local.py"
ALLOWED = "BNSBENCH_PLUGINS"


@dataclass(frozen=True)
class PluginProblem:
    """A fault because of which a plugin, or a part of it, is not in use."""

    plugin: str
    reason: str

    def __str__(self) -> str:
        return spelt_out(f"Plugin {self.plugin} has a problem: {self.reason}")


@dataclass(frozen=True)
class PluginSource:
    """A plugin that has been found but not imported.

    origin: for people, such as "package acme-solvers" or a file's path.
    revision: hash of a single file's content; it joins the version of its components, so that an edit invalidates results.
    """

    name: str
    version: str
    origin: str
    load: Callable[[], object]
    revision: str = ""


def find_sources(files: Sequence[Path], local: Path | None) -> tuple[list[PluginSource], list[PluginProblem]]:
    """Return all plugins in loading order, and problems: names that two have, or that are asked for but not installed.

    Raises:
        UsageError: If one of ``files`` cannot be read.
    """
    optional = sorted(map(_package_source, entry_points(group=GROUP)), key=lambda source: (source.name, source.origin))
    problems: list[PluginProblem] = []
    if (file := local_file(local)) is not None:
        try:
            optional.append(_file_source(file))
        except UsageError as error:  # nobody has asked for it, so it stops nothing
            problems.append(PluginProblem(file.stem, str(error)))
    builtin = PluginSource(BUILTIN, __version__, "built in", partial(importlib.import_module, "bnsbench.builtin"))
    problems += _missing(optional)
    kept: dict[str, PluginSource] = {}
    for source in (builtin, *filter(_allows, optional), *map(_file_source, files)):
        first = kept.setdefault(source.name, source)
        if first.origin != source.origin:
            problems.append(PluginProblem(source.name, f"{source.origin} has the name of another plugin: {first.origin}."))
    return list(kept.values()), problems


def local_file(folder: Path | None) -> Path | None:
    """Return the bnsbench_local.py of a folder that `find_sources` would load, if there is one and it is allowed."""
    if folder is None:
        return None
    file, allowed = folder / LOCAL_FILE, _allowed()
    return file.resolve() if is_file(file) and (allowed is None or file.stem in allowed) else None


def told_local(folder: Path | None) -> str | None:
    """Return the sentence that tells users which bnsbench_local.py of a folder is loaded, None if there is none."""
    file = local_file(folder)
    return None if file is None else spelt_out(f"Loading the local plugin {file}.")


def _allowed() -> set[str] | None:
    """Return the names that BNSBENCH_PLUGINS lists, None if it is not set."""
    text = os.environ.get(ALLOWED)
    return None if text is None else {name.strip() for name in text.split(",")} - {""}


def _allows(source: PluginSource) -> bool:
    allowed = _allowed()
    return allowed is None or source.name in allowed


def _missing(found: Sequence[PluginSource]) -> Iterator[PluginProblem]:
    names = {source.name for source in found}
    for name in sorted((_allowed() or set()) - names):
        yield PluginProblem(name, f"{ALLOWED} asks for it, but it is not installed; {did_you_mean(name, names)}")


def _package_source(point: EntryPoint) -> PluginSource:
    distribution = point.dist
    if distribution is None:
        return PluginSource(point.name, "", point.value, point.load)
    try:
        version, name = str(distribution.version), str(distribution.name)
    except Exception:  # noqa: BLE001 (the metadata of an installation that was cut off)
        version, name = "", "unknown"
    return PluginSource(point.name, version, f"package {name}", point.load)


def _file_source(file: Path) -> PluginSource:
    named = None if is_file(file) else model_in_file(file)
    try:
        path = (file if named is None else named[0]).resolve()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise UsageError(f"The plugin file {str(file)!r} could not be read: {error.strerror}.") from error
    if named is None:
        return PluginSource(path.stem, digest, str(path), partial(_import_file, path, digest), revision=digest)
    name = named[1]

    def load() -> object:
        return ModelInFile(_import_file(path, digest), name)

    return PluginSource(plugin_name(file), digest, f"{path}:{name}", load, revision=digest)


class _FreshLoader(SourceFileLoader):
    """Compiles the file as it is now: cached bytecode misses edits within a second, and would litter the user's folder."""

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return self.source_to_code(self.get_data(self.path), self.path)


def _import_file(path: Path, digest: str) -> ModuleType:
    """Import the file under a module name of its own, one per content, so that targets can name its functions.

    From then on modules that lie beside it can be imported, unless there are others of that name.
    """
    place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"_bnsbench_file_{re.sub(r'[^0-9a-zA-Z]', '_', path.stem)}_{place}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        _FreshLoader(name, str(path)).exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
