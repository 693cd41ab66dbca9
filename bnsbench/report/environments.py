"""What can be checked of where results come from: environment.json is there, is well-formed and names all versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bnsbench.contract.sources import BUILTIN
from bnsbench.errors import CorruptFileError
from bnsbench.storage.strict_json import read_json
from bnsbench.suite.record import Record
from bnsbench.suite.store import ResultStore

NAMED = ("bnsbench", "code", "python", "system", "machine")
"""Texts that environment.json must hold; that they are true cannot be checked, and nothing is computed from them."""


def environment_faults(store: ResultStore, records: Sequence[Record]) -> Iterator[str]:
    """Yield a sentence if environment.json is not there, malformed, or silent about versions, or if a record is.

    Args:
        store: The results folder.
        records: Its records; without one that was run, there need be no environment.
    """
    file, run = store.environment_file, [record for record in records if record.environment or record.status == "ok"]
    if not file.is_file():
        if run:
            yield f"{file} is missing, so that nobody knows with which versions the results were made."
        return
    try:
        found = read_json(file)
    except CorruptFileError as error:
        yield f"{file} is damaged: {error}."
        return
    if not isinstance(found, dict):
        yield f"{file} is damaged: it is no JSON object."
        return
    yield from (f"{file} does not say {what}." for what in _unsaid(found, run, _plugins_elsewhere(store)))
    for record in run:
        if not all(isinstance(record.environment.get(name), str) for name in ("bnsbench", "torch", "device")):
            yield f"{record.key}: the record does not say with which versions, or on which device, it was made."


def _plugins_elsewhere(store: ResultStore) -> set[str]:
    """Return the plugins that the files in environments/ name, where results come from several machines."""
    named: set[str] = set()
    for file in store.environment_files()[1:]:
        try:
            plugins = read_json(file)["plugins"]
        except (CorruptFileError, KeyError, TypeError):
            continue
        named |= set(plugins) if isinstance(plugins, dict) else set()
    return named


def _unsaid(found: dict[str, Any], records: Sequence[Record], elsewhere: set[str]) -> Iterator[str]:
    """Yield what an environment should name and does not; ``elsewhere`` are plugins that others of the folder name."""
    yield from (f"the {name} of the run" for name in NAMED if not (isinstance(found.get(name), str) and found[name]))
    packages, plugins = found.get("packages"), found.get("plugins")
    if not (isinstance(packages, dict) and isinstance(packages.get("torch"), str)):
        yield "which version of torch was used"
    if not isinstance(plugins, dict):
        yield "which plugins were installed"
        return
    used = {str(record.cell[kind]["provider"]) for record in records for kind in ("model", "solver")}
    yield from (
        f"which version of the plugin {name} was used" for name in sorted(used - plugins.keys() - elsewhere - {BUILTIN})
    )
