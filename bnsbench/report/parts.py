"""Results folders that are to be merged, which anybody may have made: what of them can be taken, and why the rest cannot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bnsbench.errors import BnsbenchError, CorruptFileError
from bnsbench.storage.plain_data import digest
from bnsbench.storage.strict_json import LARGEST, read_bounded, read_json
from bnsbench.suite.record import RETRIED, DamagedRecordError, Record, read_record
from bnsbench.suite.solver_files import PARTS, fault_of, table_fingerprint
from bnsbench.suite.store import KEY, ResultStore, find_results
from bnsbench.suite.suitefile import Suite, read_suite
from bnsbench.training.listener import Listener

UNSIGNED = "training"
"""What of a solver file may differ where its table is the same: how long it took, for one."""


@dataclass(frozen=True)
class Part:
    """A results folder among those that are merged; whatever is a link in it, or damaged, is left out and told."""

    store: ResultStore
    listener: Listener

    @classmethod
    def open(cls, folder: Path, listener: Listener) -> Part:
        """Return the results in a folder, or in its only subfolder with results.

        Raises:
            BnsbenchError: If there are none, if a newer bnsbench wrote them, or if the folder is made of links.
        """
        store = find_results(folder)
        places = (store.plan_file, store.suite_file, store.environment_file, store.environments, store.cells, store.solvers)
        for place in (*places, store.previews):
            if place.is_symlink():
                raise BnsbenchError(f"{place} is a link, and what it leads to is not known to be results: copy it instead.")
        newer = store.newer_schema()
        if newer is not None:
            raise BnsbenchError(
                f"{store.plan_file} has schema {newer}, which is newer than this bnsbench; please upgrade it."
            )
        return cls(store, listener)

    @cached_property
    def suite(self) -> Suite:
        """The suite; UsageError if suite.toml cannot be read."""
        return read_suite(self.store.suite_file)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys of the plan; CorruptFileError if it is damaged."""
        return self.store.planned()

    def record(self, key: str) -> Record | None:
        """Return the record of that key, None if there is none that can be taken; UnreadableRecordError for a newer one."""
        file = self.store.record_file(key)
        if not os.path.lexists(file):
            return None
        if file.is_symlink():
            self._left_out(f"The record {file} is a link")
            return None
        try:
            record = read_record(file)
            if record.key != key or not key.endswith(f"-{digest(record.cell)}"):
                raise DamagedRecordError(file, "its cell is not the one that its name says")
        except DamagedRecordError as error:
            self._left_out(str(error).removesuffix("."))
            return None
        fault = self._solver_fault(record)
        if fault:
            self._left_out(f"{file}, as the solver file {self.solver_file(record)} {fault}")
        return None if fault else record

    def solver_file(self, record: Record) -> Path:
        """Return where the file of a record's solver is."""
        return self.store.solvers / str(record.solver.get("file"))

    def _solver_fault(self, record: Record) -> str:
        if not record.solver.get("file") or record.status in RETRIED:
            return ""
        file = self.solver_file(record)
        return "is a link" if file.is_symlink() else fault_of(file, record)

    def solver_names(self) -> Iterator[str]:
        """Yield the names of solver files, sorted; what is hidden, a link or oddly named is none."""
        for file in sorted(self.store.solvers.glob("[!.]*.json")):
            if KEY.fullmatch(file.stem) and file.is_file() and not file.is_symlink():
                yield file.name

    def solver(self, name: str) -> dict[str, Any] | None:
        """Return what a solver file says but for its training, None if it is damaged; BnsbenchError for a newer one."""
        from bnsbench.nonstationary.artefact import SCHEMA  # noqa: PLC0415 (loads torch)

        file = self.store.solvers / name
        try:
            found = read_json(file)
            if not isinstance(found, dict) or not found.keys() >= {*PARTS, "solver"}:
                raise CorruptFileError("it is no description of a trained solver")
            if isinstance(found.get("schema"), int) and found["schema"] > SCHEMA:
                newer = f"has schema {found['schema']}, which is newer than this bnsbench; please upgrade it"
                raise BnsbenchError(f"The solver file {file} {newer}.")
            table_fingerprint(found["solver"])
        except CorruptFileError as error:
            self._left_out(f"The solver file {file} is damaged: {error}")
            return None
        return {name: entry for name, entry in found.items() if name != UNSIGNED}

    def environments(self) -> Iterator[dict[str, Any]]:
        """Yield the environments in which its results were made, as far as they can be read."""
        for file in self.store.environment_files():
            try:
                if file.is_symlink() or not isinstance(found := read_json(file), dict):
                    raise CorruptFileError("it is no JSON object")
            except CorruptFileError as error:
                self._left_out(f"{file} is damaged: {error}")
            else:
                yield found

    def preview_files(self, key: str) -> Iterator[Path]:
        """Yield the previews of a cell; links, and what is larger than any preview, are none."""
        place = self.store.previews
        folder = place / key
        inside = sorted(folder.glob("[!.]*")) if folder.is_dir() and not folder.is_symlink() else []
        for file in (place / f"{key}.png", *inside):
            if file.is_file() and not file.is_symlink() and KEY.fullmatch(file.name) and file.stat().st_size <= LARGEST:
                yield file

    def content(self, file: Path) -> bytes:
        """Return the bytes of a file of the folder; BnsbenchError if it cannot be read any more."""
        try:
            return read_bounded(file)
        except CorruptFileError as error:
            raise BnsbenchError(f"{file} has been changed while it was merged: {error}.") from error

    def _left_out(self, what: str) -> None:
        self.listener.notice(f"{what}: it is left out.")
