"""Verification: the integrity of results, and a sample of cells run again with the committed solvers."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bnsbench.contract import PluginHost
from bnsbench.process.machine import cache_folder, choose_device, threads
from bnsbench.report.agreement import CEILING_MARGIN, score_differences
from bnsbench.report.integrity import faults, plan_faults
from bnsbench.suite.plan import Cell, make_plan
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import Record
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite

if TYPE_CHECKING:
    from bnsbench.suite.context import Job
    from bnsbench.suite.executors import Executor

CEILING_TOLERANCE = CEILING_MARGIN
"""Decibels by which the ground truth's own error may differ where it is measured again.

That of a float32 network consists of rounding: at 107 dB, it was 4 dB different on another processor.
"""


@dataclass(frozen=True)
class Verification:
    """The outcome of a verification: sentences on faults, records checked, cells run again, and the seed of their choice."""

    faults: tuple[str, ...]
    records: int
    rerun: int
    seed: int = 0

    @property
    def exit_code(self) -> int:
        return 1 if self.faults else 0


def verify(
    store: ResultStore,
    host: PluginHost,
    listener: RunListener,
    *,
    cells: int | None = 24,
    seed: int | None = None,
    device: str = "auto",
) -> Verification:
    """Check every file of a results folder, then run ``cells`` of its cells again (None for all) and compare.

    Cells that have failed, timed out or refused to run are run again in any case, unless ``cells`` is 0. Solvers are not
    trained again.

    Args:
        store: The results folder.
        host: The plugins.
        listener: Hears of the cells that are run.
        cells: How many are chosen: one of every model first, then some with trained solvers, then any; None for all.
        seed: Of the choice. None draws a seed, because a choice that is known beforehand could be prepared for.
        device: Where they run: "auto", "cpu", "cuda" or "cuda:<i>".
    """
    chosen_by = secrets.randbelow(10**6) if seed is None else seed
    found = list(faults(store))
    records = {} if found else {record.key: record for record in store.records()}
    found += plan_faults(store, host) if records else ()
    known = [cell for cell in _planned(store, host, records) if cell.key in records]
    found += _outdated(known, records)
    chosen = choose([cell for cell in known if records[cell.key].status in ("ok", "diverged")], cells, chosen_by)
    found += _rerun(chosen, records, _job(store, host, device), listener) if chosen else []
    refused = [] if cells == 0 else [cell for cell in known if _refused(cell, records[cell.key])]
    found += _rerun_apart(refused, records, _job(store, host, device), listener) if refused else []
    return Verification(tuple(found), len(records), len(chosen) + len(refused), chosen_by)


def _planned(store: ResultStore, host: PluginHost, records: Mapping[str, Record]) -> tuple[Cell, ...]:
    return make_plan(read_suite(store.suite_file), host) if records else ()


def _refused(cell: Cell, record: Record) -> bool:
    """Return whether a record has no value although the cell can be run."""
    return cell.skip is None and record.status in ("failed", "timeout", "skipped")


def choose(cells: Sequence[Cell], count: int | None, seed: int) -> list[Cell]:
    """Return a random choice of cells in their order: each model once, then a third with trained solvers, the rest any.

    Args:
        cells: Those to choose from.
        count: How many; None for all.
        seed: Of the choice.
    """
    if count == 0:
        return []
    if count is None or count >= len(cells):
        return list(cells)
    shuffled = sorted(cells, key=lambda cell: hashlib.sha256(f"{seed} {cell.key}".encode()).digest())
    models = {cell.model.selector: cell for cell in reversed(shuffled)}
    trained = [cell for cell in shuffled if cell.trained][: max(1, count // 3)]
    wanted = {cell.key: cell for cell in [*models.values(), *trained, *shuffled]}
    kept = set(list(wanted)[: max(count, len(models))])
    return [cell for cell in cells if cell.key in kept]


def _outdated(cells: Sequence[Cell], records: Mapping[str, Record]) -> Iterator[str]:
    """Yield a sentence if records lack a metric of the suite, or hold it in another version than it has here."""
    outdated = [cell.key for cell in cells if records[cell.key].status == "ok" and not records[cell.key].answers(cell)]
    if outdated:
        yield (
            f"{len(outdated)} records lack a metric in the version that it has here, such as {outdated[0]}:"
            " 'bnsbench run' measures it anew."
        )


def _job(store: ResultStore, host: PluginHost, device: str) -> Job:
    from bnsbench.suite.context import Job  # noqa: PLC0415 (loads torch)

    suite = read_suite(store.suite_file)
    return Job(
        host=host,
        store=store,
        cache=cache_folder(),
        batch=suite.batch,
        threads=threads(),
        device=choose_device(device),
        timeout=suite.timeout,
        train=False,
        previews=False,
    )


def _rerun(cells: Sequence[Cell], records: Mapping[str, Record], job: Job, listener: RunListener) -> Iterator[str]:
    from bnsbench.suite.executors import LocalExecutor  # noqa: PLC0415

    return _compare(LocalExecutor(), cells, records, replace(job, timeout=None), listener)


def _rerun_apart(cells: Sequence[Cell], records: Mapping[str, Record], job: Job, listener: RunListener) -> Iterator[str]:
    """Run cells again that have failed once and may end a process."""
    from bnsbench.suite.processes import ProcessExecutor  # noqa: PLC0415

    return _compare(ProcessExecutor(1), cells, records, job, listener)


def _compare(
    executor: Executor, cells: Sequence[Cell], records: Mapping[str, Record], job: Job, listener: RunListener
) -> Iterator[str]:
    listener.planned(cells, cells)
    for cell, record in executor.execute(cells, job, listener):
        listener.finished(cell, record)
        yield from differences(records[cell.key], record)


def differences(recorded: Record, found: Record) -> Iterator[str]:
    """Yield a sentence for every difference beyond the tolerances between a cell's record and the cell when run again."""
    name = recorded.key
    if recorded.status != found.status:
        reason = f" ({found.reason})" if found.reason else ""
        yield f"{name}: the record says {recorded.status}, but it is {found.status} now{reason}."
        return
    before, now = (record.model.get("fingerprint") for record in (recorded, found))
    if before != now and (before or recorded.metrics):  # older records of a truth that diverged do not know their model
        yield f"{name}: the model has changed since: its fingerprint was {_short(before)} and is {_short(now)}."
    for fact in ("nfe", "forwards", "train_forwards"):
        if getattr(recorded, fact) != getattr(found, fact):
            yield f"{name}: the record says {fact} {getattr(recorded, fact)}, but it is {getattr(found, fact)} now."
    yield from _ceiling_difference(recorded, found)
    for metric, score in recorded.metrics.items():
        if metric in found.metrics:
            why = "" if before == now else " (the model has changed)"
            yield from score_differences(recorded, metric, score, found, why)


def _ceiling_difference(recorded: Record, found: Record) -> Iterator[str]:
    before, now = (record.truth.get("ceiling") for record in (recorded, found))
    if before is not None and now is not None and not abs(before - now) <= CEILING_TOLERANCE:
        yield (
            f"{recorded.key}: the record says that the ground truth resolves {before:g} dB, but it is {now:g} dB now,"
            f" further off than {CEILING_TOLERANCE:g}."
        )


def _short(fingerprint: object) -> str:
    return str(fingerprint)[:12]
