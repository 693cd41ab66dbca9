"""Checks that a results folder is as its run left it: every file, every number, every reference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError
from bnsbench.report.leaderboard import leaderboard
from bnsbench.report.results import CSV, MARKDOWN, SUMS, files, planned_metrics
from bnsbench.report.tables import csv, markdown
from bnsbench.report.versions import settle
from bnsbench.storage.plain_data import digest
from bnsbench.suite.plan import make_plan
from bnsbench.suite.record import Record
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite


def faults(store: ResultStore) -> Iterator[str]:
    """Yield a sentence for every fault of the folder: files missing, changed or damaged, and numbers in contradiction."""
    yield from _changed_files(store.folder)
    try:
        suite = read_suite(store.suite_file)
    except BnsbenchError as error:
        yield str(error)
    else:
        if suite.name != store.folder.name:
            yield f"{store.suite_file} names the suite {suite.name!r}, but its folder is {store.folder.name!r}."
    records = []
    for key in store.planned():
        try:
            record = store.read(key)
        except BnsbenchError as error:
            yield str(error)
            continue
        if record is None:
            yield f"The record of {key} is missing."
        else:
            records.append(record)
            yield from _record_faults(record, store)
    yield from _report_faults(records, store)


def plan_faults(store: ResultStore, host: PluginHost) -> Iterator[str]:
    """Yield a sentence if plan.json is not the plan of suite.toml, or a record skips what can be run, or the reverse."""
    planned = {cell.key: cell for cell in make_plan(read_suite(store.suite_file), host)}
    keys = store.planned()
    unknown, absent = [key for key in keys if key not in planned], [key for key in planned if key not in keys]
    if unknown:
        yield (
            f"{len(unknown)} records belong to cells that suite.toml does not give here, such as {unknown[0]}: a component"
            " has another version, or suite.toml has been changed."
        )
    if absent:
        yield f"{len(absent)} cells of suite.toml are not in plan.json, such as {absent[0]}."
    for key in keys:
        cell, record = planned.get(key), store.read(key)
        if cell is None or record is None or cell.skip is None:
            continue
        if (record.status, record.reason) != ("skipped", cell.skip):
            yield f"The record of {key} says {record.status}, but the cell cannot be run: {cell.skip}."


def _changed_files(folder: Path) -> Iterator[str]:
    """Compare every file with its hash in SHA256SUMS."""
    listing = folder / SUMS
    if not listing.is_file():
        yield f"{listing} is missing: the run has not come to its end."
        return
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in listing.read_text().splitlines())}
    found = {file.relative_to(folder).as_posix(): file for file in files(folder)}
    for name, known in expected.items():
        if name not in found:
            yield f"{folder / name} is missing."
        elif hashlib.sha256(found[name].read_bytes()).hexdigest() != known:
            yield f"{folder / name} has been changed: its SHA-256 is not the one in {SUMS}."
    for name in sorted(found.keys() - expected.keys()):
        if name.startswith(("cells/", "solvers/")):
            yield f"{folder / name} is not listed in {SUMS}."


def _record_faults(record: Record, store: ResultStore) -> Iterator[str]:
    """Check the key of a record, and its solver file if it has one."""
    if not record.key.endswith(f"-{digest(record.cell)}"):
        yield f"The record {record.key} describes another cell than its key."
    name = record.solver.get("file")
    if name is None:
        return
    from bnsbench.nonstationary.artefact import SolverArtefact  # noqa: PLC0415 (loads torch)
    from bnsbench.suite.trained import mismatch  # noqa: PLC0415

    try:
        artefact = SolverArtefact.load(store.solvers / name)
    except BnsbenchError as error:
        yield str(error)
        return
    if artefact.solver.fingerprint() != record.solver["fingerprint"]:
        yield f"The solver file {store.solvers / name} holds other numbers than those that {record.key} was measured with."
    if artefact.fingerprint != record.model.get("fingerprint"):
        yield f"The solver file {store.solvers / name} was made for another model than {record.key}."
    other = mismatch(artefact, record.cell)
    if other:
        yield f"The solver file {store.solvers / name} of {record.key} was made for {other}."
    if bool(artefact.training.get("shipped")) != record.shipped:
        yield f"The solver file {store.solvers / name} and {record.key} disagree on whether the package brought it."
    if sum(artefact.training.get("forwards", {}).values()) != record.train_forwards:
        yield f"The solver file {store.solvers / name} and {record.key} disagree on the forwards of training."


def _report_faults(records: Sequence[Record], store: ResultStore) -> Iterator[str]:
    """Compute the leaderboard from the records and compare it with the files, line by line."""
    settled, notes = settle(records, store.versions())
    yield from notes
    frame = leaderboard(settled, planned_metrics(store))
    for name, text in ((CSV, csv(frame)), (MARKDOWN, markdown(frame))):
        file = store.folder / name
        if not file.is_file():
            yield f"{file} is missing."
            continue
        found, made = file.read_text(encoding="utf-8").splitlines(), text.splitlines()
        line = next((i for i, pair in enumerate(zip(found, made, strict=False)) if pair[0] != pair[1]), None)
        if line is not None:
            yield f"{file} does not follow from the records: line {line + 1} should be {made[line]!r}."
        elif len(found) != len(made):
            yield f"{file} does not follow from the records: it has {len(found)} lines instead of {len(made)}."
