"""Checks that a results folder is as its run left it: every file, every record by itself, every reference."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, CorruptFileError, one_line
from bnsbench.report.leaderboard import leaderboard
from bnsbench.report.planned import Absent, KnownPlan, known_plan
from bnsbench.report.results import CSV, MARKDOWN, SUMS, files, planned_metrics, read_sums
from bnsbench.report.tables import csv, markdown
from bnsbench.report.versions import settle
from bnsbench.storage.strict_json import read_json
from bnsbench.suite.record import Record
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite


def faults(store: ResultStore) -> Iterator[str]:
    """Yield a sentence for every fault of the folder: files missing, changed or damaged, and numbers in contradiction.

    Raises:
        CorruptFileError: If plan.json is damaged, so that nobody knows which records there should be.
    """
    yield from file_faults(store)
    records, unread = read_records(store, store.planned())
    yield from unread
    for record in records:
        yield from record_faults(record, store)
    yield from report_faults(records, store)


def file_faults(store: ResultStore) -> Iterator[str]:
    """Yield a sentence for every file that is missing, changed or not listed, and if the folder has not the suite's name."""
    yield from _changed_files(store.folder)
    try:
        suite = read_suite(store.suite_file)
    except BnsbenchError as error:
        yield str(error)
    else:
        if suite.name != store.folder.resolve().name:
            yield f"{store.suite_file} names the suite {suite.name!r}, but its folder is {store.folder.name!r}."


def read_records(store: ResultStore, keys: Sequence[str]) -> tuple[list[Record], list[str]]:
    """Return the records of those keys that can be read and put into a table, and a sentence for each that cannot.

    Args:
        store: The results folder.
        keys: Of a plan, which may be anybody's.
    """
    records, unread = [], []
    for key in dict.fromkeys(keys):
        record = _read(store, key)
        if isinstance(record, Record):
            records.append(record)
        else:
            unread.append(record)
    sound, odd = _sound(records)
    return sound, unread + odd


def plan_faults(store: ResultStore, host: PluginHost) -> Iterator[str]:
    """Yield a sentence if plan.json is not the plan of suite.toml, or a record skips what can be run, or the reverse.

    A component of the suite that is not installed is such a fault as well.
    """
    keys = store.planned()
    records, _ = read_records(store, keys)
    plan = known_plan(store, host, records)
    for absent in plan.absent:
        yield what_is_absent(absent, sum(absent.is_of(record) for record in records))
    yield from plan_differences(written_keys(store), records, plan)


def what_is_absent(absent: Absent, cells: int) -> str:
    """Return a sentence on a component that cannot be had here.

    Args:
        absent: The component.
        cells: How many records are of it.
    """
    whose = f" of the plugin {absent.plugin}" if absent.plugin else ""
    what = "its values are" if absent.kind == "metric" else f"its {cells} cells are" if cells != 1 else "its only cell is"
    return f"The {absent.kind} {absent.selector}{whose} is not installed here, so that {what} not run again: {absent.why}."


def written_keys(store: ResultStore) -> list[str]:
    """Return the keys in plan.json just as they are there, one that is there twice among them; none if it is damaged."""
    try:
        found = read_json(store.plan_file)["cells"]
    except (CorruptFileError, KeyError, TypeError):
        return []
    return [key for key in found if isinstance(key, str)] if isinstance(found, list) else []


def plan_differences(keys: Sequence[str], records: Sequence[Record], plan: KnownPlan) -> Iterator[str]:
    """Yield a sentence for every way in which plan.json is not the plan that suite.toml gives.

    Args:
        keys: Of plan.json.
        records: Those that can be read.
        plan: What suite.toml gives here.
    """
    planned, known = {cell.key: cell for cell in plan.cells}, {record.key: record for record in records}
    excused = {record.key for record in records if any(absent.is_of(record) for absent in plan.absent)}
    unknown = [key for key in keys if key not in planned and key not in excused]
    there = set(keys)
    absent = [key for key in planned if key not in there]
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if unknown:
        yield (
            f"{len(unknown)} records belong to cells that suite.toml does not give here, such as {unknown[0]}: a component"
            " has another version, or suite.toml has been changed."
        )
    if absent:
        yield f"{len(absent)} cells of suite.toml are not in plan.json, such as {absent[0]}."
    if twice:
        yield f"{len(twice)} cells are in plan.json more than once, such as {twice[0]}."
    for key, cell in planned.items():
        record = known.get(key)
        if record is not None and cell.skip is not None and (record.status, record.reason) != ("skipped", cell.skip):
            yield f"The record of {key} says {record.status}, but the cell cannot be run: {cell.skip}."


def record_faults(record: Record, store: ResultStore) -> Iterator[str]:
    """Yield what is wrong with a record by itself: its key, its solver file, and numbers that contradict each other."""
    from bnsbench.report.records import key_faults, solver_faults  # noqa: PLC0415 (loads torch)

    try:
        yield from key_faults(record)
        yield from solver_faults(record, store)
    except Exception as error:  # noqa: BLE001 (a record may hold anything where another version expects a number)
        yield _odd(record, error)


def report_faults(records: Sequence[Record], store: ResultStore) -> Iterator[str]:
    """Compute the leaderboard from the records and compare it with the files, line by line."""
    settled, notes = settle(records, store.versions())
    yield from notes
    frame = leaderboard(settled, planned_metrics(store))
    for name, text in ((CSV, csv(frame)), (MARKDOWN, markdown(frame))):
        yield from _table_faults(store.folder / name, text)


def _table_faults(file: Path, text: str) -> Iterator[str]:
    """Compare a table with what it should be, line by line."""
    if not file.is_file():
        yield f"{file} is missing."
        return
    found, made = file.read_text(encoding="utf-8", errors="replace").splitlines(), text.splitlines()
    line = next((i for i, pair in enumerate(zip(found, made, strict=False)) if pair[0] != pair[1]), None)
    if line is not None:
        yield f"{file} does not follow from the records: line {line + 1} should be {made[line]!r}."
    elif len(found) != len(made):
        yield f"{file} does not follow from the records: it has {len(found)} lines instead of {len(made)}."


def _read(store: ResultStore, key: str) -> Record | str:
    """Return a record, or a sentence on why there is none."""
    if PurePath(key).name != key:
        return f"plan.json names a record outside of the folder: {key!r}."
    try:
        record = store.read(key)
    except BnsbenchError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (a file may hold anything, or be none)
        return f"The record of {key} cannot be read: {type(error).__name__}: {one_line(error)}."
    return f"The record of {key} is missing." if record is None else record


def _sound(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Return the records of which a table can be made, and a sentence on each of which none can."""
    if _why_no_table(records) is None:
        return list(records), []
    odd = {record.key: error for record in records if (error := _why_no_table([record])) is not None}
    sound = [record for record in records if record.key not in odd]
    return sound, [_odd(record, odd[record.key]) for record in records if record.key in odd]


def _why_no_table(records: Sequence[Record]) -> Exception | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            leaderboard(records)
    except Exception as error:  # noqa: BLE001 (as above)
        return error
    return None


def _odd(record: Record, error: Exception) -> str:
    return f"The record {record.key} holds something else than it should: {type(error).__name__}: {one_line(error)}."


def listed(folder: Path) -> Mapping[str, str]:
    """Return the hashes in SHA256SUMS by the names of their files; empty if it is absent or damaged."""
    try:
        return read_sums(folder)
    except CorruptFileError:
        return {}


def _changed_files(folder: Path) -> Iterator[str]:
    """Compare every file with its hash in SHA256SUMS."""
    listing = folder / SUMS
    if not listing.is_file():
        yield f"{listing} is missing: the run has not come to its end."
        return
    try:
        expected = read_sums(folder)
    except CorruptFileError as error:
        yield f"{listing} is damaged: {error}."
        return
    found = {file.relative_to(folder).as_posix(): file for file in files(folder)}
    for name, known in expected.items():
        if name not in found:
            yield f"{folder / name} is missing."
        elif hashlib.sha256(found[name].read_bytes()).hexdigest() != known:
            yield f"{folder / name} has been changed: its SHA-256 is not the one in {SUMS}."
    yield from (f"{folder / name} is not listed in {SUMS}." for name in _unlisted(found, expected))


def _unlisted(found: Iterable[str], expected: Mapping[str, str]) -> list[str]:
    return [name for name in sorted(set(found) - expected.keys()) if name.startswith(("cells/", "solvers/"))]
