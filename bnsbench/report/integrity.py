"""Whether a results folder is what its run left: every file, every number, every reference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from bnsbench.errors import BnsbenchError
from bnsbench.report.leaderboard import leaderboard
from bnsbench.report.results import CSV, MARKDOWN, SUMS, files
from bnsbench.report.tables import csv, markdown
from bnsbench.suite.plan import digest
from bnsbench.suite.record import Record
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite


def faults(store: ResultStore) -> Iterator[str]:
    """Yield a sentence for everything in the folder that is not as it should be."""
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

    try:
        artefact = SolverArtefact.load(store.solvers / name)
    except BnsbenchError as error:
        yield str(error)
        return
    if artefact.solver.fingerprint() != record.solver["fingerprint"]:
        yield f"The solver file {store.solvers / name} holds other numbers than those that {record.key} was measured with."
    if artefact.fingerprint != record.model.get("fingerprint"):
        yield f"The solver file {store.solvers / name} was made for another model than {record.key}."
    if sum(artefact.training.get("forwards", {}).values()) != record.train_forwards:
        yield f"The solver file {store.solvers / name} and {record.key} disagree on the forwards of training."


def _report_faults(records: Sequence[Record], store: ResultStore) -> Iterator[str]:
    """Write the leaderboard anew and compare it with the files, line by line."""
    frame = leaderboard(records)
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
