"""The results folder: records, trained solvers, suite, plan and environment, every file written whole or not at all.

``suite.toml`` is the suite after all overrides, ``plan.json`` the keys of its cells in order, ``environment.json`` versions
and machine, and ``environments/`` all of them where results come from several; ``cells/`` holds one record per cell,
``solvers/`` one file per trained solver, ``previews/`` pictures and sounds of a few samples of each cell.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnsbench.errors import BnsbenchError, CorruptFileError
from bnsbench.storage.files import StorageError, make_way, replacing, set_aside
from bnsbench.storage.plain_data import digest
from bnsbench.storage.shelf import Shelf
from bnsbench.storage.strict_json import read_json
from bnsbench.suite.plan import Cell
from bnsbench.suite.record import (
    DamagedRecordError,
    Record,
    UnreadableRecordError,
    format_record,
    read_record,
    stand_in,
)

__all__ = ["ResultStore", "StorageError", "find_results", "storage_errors", "write_text"]

SCHEMA = 1

KEY = re.compile(r"[A-Za-z0-9_=+-][A-Za-z0-9._=+-]{0,199}")
"""The keys of cells, which are names of files without any folder."""


@dataclass(frozen=True)
class ResultStore:
    """A results folder; it need not exist before something is written."""

    folder: Path

    @property
    def suite_file(self) -> Path:
        return self.folder / "suite.toml"

    @property
    def plan_file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def environment_file(self) -> Path:
        return self.folder / "environment.json"

    @property
    def environments(self) -> Path:
        return self.folder / "environments"

    @property
    def timings_file(self) -> Path:
        """Of the last run that ran cells; no part of the results."""
        return self.folder / "timings.json"

    @property
    def cells(self) -> Path:
        return self.folder / "cells"

    @property
    def solvers(self) -> Path:
        return self.folder / "solvers"

    @property
    def previews(self) -> Path:
        return self.folder / "previews"

    def record_file(self, key: str) -> Path:
        """Return where the record of that key is or would be."""
        return self.cells / f"{key}.json"

    def solver_file(self, key: str) -> Path:
        """Return where the trained solver of that key is or would be."""
        return self.solvers / f"{key}.json"

    def read(self, key: str, values: bool = True) -> Record | None:
        """Return the record of that key, None if there is none; CorruptFileError if it is damaged.

        values: whether with its values by sample; see `read_record`.
        """
        file = self.record_file(key)
        if not os.path.lexists(file):
            return None
        record = read_record(file, values)
        if record.key != key:
            raise DamagedRecordError(file, f"it belongs to the cell {record.key}")
        return record

    def write(self, record: Record) -> None:
        """Keep a record; StorageError if that is not possible."""
        write_text(self.record_file(record.key), format_record(record))

    def begin(self, suite: str, cells: Sequence[Cell], versions: Mapping[str, str] | None = None) -> None:
        """Write the resolved suite and the plan, which also tests whether the folder can be written; see `write_plan`."""
        self.write_plan(suite, [cell.key for cell in cells], versions)

    def write_plan(self, suite: str, keys: Sequence[str], versions: Mapping[str, str] | None = None) -> None:
        """Write the resolved suite and the plan.

        Args:
            suite: The resolved suite as TOML text.
            keys: Of the planned cells.
            versions: Fingerprints of the models and metrics that have changed since some records of the plan were written.

        Raises:
            StorageError: If the folder cannot be written.
        """
        write_text(self.suite_file, suite)
        plan: dict[str, Any] = {"schema": SCHEMA, "cells": list(keys)}
        if versions:
            plan["versions"] = dict(versions)
        write_text(self.plan_file, json.dumps(plan, indent=1) + "\n")

    def write_environment(self, environment: Mapping[str, Any], *, among_others: bool = False) -> None:
        """Write environment.json, and the same into environments/ if others write, or have written, to the folder."""
        text = json.dumps(environment, indent=1, sort_keys=True) + "\n"
        write_text(self.environment_file, text)
        if among_others or self.environments.is_dir():
            write_text(self.environments / f"{digest(environment)}.json", text)

    def write_environments(self, environments: Sequence[Mapping[str, Any]]) -> int:
        """Write environment.json, the first of several, and all of them into environments/; return how many differ.

        Those that differ in their commands alone are one, with the commands of all.
        """
        texts = {digest(found): json.dumps(found, indent=1, sort_keys=True) + "\n" for found in _joined(environments)}
        for name, text in texts.items():
            write_text(self.environments / f"{name}.json", text)
        for text in list(texts.values())[:1]:
            write_text(self.environment_file, text)
        self.settle_environments()
        return len(texts)

    def environment_files(self) -> list[Path]:
        """Return the files that say where results come from: environment.json if it is there, those in environments/."""
        first = [self.environment_file] if self.environment_file.is_file() else []
        return [*first, *sorted(file for file in self.environments.glob("[!.]*.json") if KEY.fullmatch(file.stem))]

    def settle_environments(self) -> None:
        """Remove environments/ if it holds nothing but what environment.json says, as where all machines are alike."""
        found = self.environment_files()
        if len(found) == 2 and found[0].read_bytes() == found[1].read_bytes():
            with storage_errors(self.environments):
                found[1].unlink(missing_ok=True)
                with suppress(OSError):  # another process has written there
                    self.environments.rmdir()

    def planned(self) -> tuple[str, ...]:
        """Return the keys of the plan; CorruptFileError if plan.json is damaged or absent."""
        try:
            found = self._plan().get("cells")
            if not isinstance(found, list) or not all(isinstance(key, str) and KEY.fullmatch(key) for key in found):
                raise CorruptFileError("its cells are no list of keys")
        except CorruptFileError as error:
            raise CorruptFileError(
                f"{self.folder} holds no results: its plan.json is absent or damaged ({error}); 'bnsbench run' writes it."
            ) from error
        return tuple(dict.fromkeys(found))

    def newer_schema(self) -> int | None:
        """Return the schema of plan.json if it is a newer one than can be read here, else None."""
        try:
            found = self._plan().get("schema")
        except CorruptFileError:
            return None
        return found if isinstance(found, int) and found > SCHEMA else None

    def versions(self) -> dict[str, str]:
        """Return the fingerprints that the plan gives to models and metrics that have changed; none if there is no plan."""
        try:
            found = self._plan().get("versions", {})
        except CorruptFileError:
            return {}
        return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}

    def _plan(self) -> dict[str, Any]:
        found = read_json(self.plan_file)
        if not isinstance(found, dict):
            raise CorruptFileError("it is no object")
        return found

    def kept(self) -> tuple[tuple[str, ...], str]:
        """Return the keys of the plan, and ""; where plan.json is damaged those of the records, and a sentence on it."""
        try:
            return self.planned(), ""
        except CorruptFileError:
            found = sorted(file.stem for file in self.cells.glob("[!.]*.json") if KEY.fullmatch(file.stem))
            return tuple(found), f"{self.plan_file} is damaged: every record that is there is shown; run it again."

    def kept_files(self) -> set[str]:
        """Return the keys of all records that are there, whole or not."""
        return {file.stem for file in self.cells.glob("[!.]*.json")}

    def records(self, keys: Sequence[str] | None = None) -> Iterator[Record]:
        """Yield the records that are there, in the order of their keys; for one that cannot be read, a `stand_in`.

        Values by sample that are too many for the memory lie on a `Shelf`.

        Args:
            keys: Those wanted, all of the plan if None.
        """
        shelf = Shelf()
        for key in self.kept()[0] if keys is None else keys:
            record = self._read_or_stand_in(key)
            if record is not None:
                yield replace(
                    record, per_sample=_shelved(record.per_sample, shelf), replicates=_shelved(record.replicates, shelf)
                )

    def _read_or_stand_in(self, key: str) -> Record | None:
        try:
            return self.read(key)
        except (DamagedRecordError, UnreadableRecordError) as error:
            return stand_in(self.record_file(key), key, error.why)

    def set_aside(self, file: Path) -> None:
        """Hide a file of the folder that is not what its record says, if there is one."""
        with storage_errors(file):
            set_aside(file)

    def forget(self, key: str) -> None:
        """Remove the record of that key, if there is one."""
        with storage_errors(self.folder):
            make_way(self.record_file(key))
            self.record_file(key).unlink(missing_ok=True)


def _joined(environments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the environments that differ in more than their commands, each with all of its commands."""
    found: dict[str, dict[str, Any]] = {}
    for environment in environments:
        rest = {name: value for name, value in environment.items() if name != "commands"}
        joined = found.setdefault(digest(rest), rest)
        commands = environment.get("commands")
        if isinstance(commands, list):
            joined["commands"] = list(dict.fromkeys([*joined.get("commands", []), *map(str, commands)]))
    return list(found.values())


def _shelved(values: Mapping[str, Sequence[float]], shelf: Shelf) -> Mapping[str, Sequence[float]]:
    return {name: shelf.keep(row) for name, row in values.items()}


def find_results(folder: Path) -> ResultStore:
    """Return the results in a folder, or in its only subfolder with results; BnsbenchError if there are none."""
    store = ResultStore(folder)
    if store.plan_file.is_file():
        return store
    below = sorted(file.parent for file in folder.glob("*/plan.json"))
    if len(below) == 1:
        return ResultStore(below[0])
    if below:
        raise BnsbenchError(f"{folder} holds several results; name one of {', '.join(str(path) for path in below)}.")
    raise BnsbenchError(f"There are no results in {folder}: 'bnsbench run' writes them.")


def write_text(file: Path, text: str) -> None:
    """Write a file whole or not at all, flushed to the disk; one that is the same already stays, a folder gives way."""
    with storage_errors(file):
        if file.is_file() and file.read_bytes() == text.encode():
            return
        make_way(file)
        with replacing(file) as temporary:
            temporary.write_bytes(text.encode())


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turn an OSError into one sentence that says what could not be written and that the run can be resumed."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"{place} cannot be written ({reason}); finished cells are kept, and the same command resumes."
        ) from error
