"""Verification: the integrity of results, and a sample of cells run again with the committed solvers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnsbench.plugins import PluginHost
from bnsbench.report.integrity import faults
from bnsbench.suite import environment
from bnsbench.suite.plan import Cell, make_plan
from bnsbench.suite.progress import RunObserver
from bnsbench.suite.record import Record, Score
from bnsbench.suite.run import choose_device
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite

if TYPE_CHECKING:
    from bnsbench.suite.context import Job

DECIBELS = {"float64": 0.05}
"""How far a PSNR may be from the recorded one, by precision."""

DECIBELS_COARSE = 0.1
RELATIVE, ABSOLUTE = 0.01, 0.005
"""How far any other metric may be from the recorded one."""

CEILING_MARGIN = 10.0
"""Decibels below the ground truth's ceiling from which on PSNRs are not told apart: the truth's own error shows there."""


@dataclass(frozen=True)
class Verification:
    """What a verification found: sentences on what is wrong, records checked, cells run again."""

    faults: tuple[str, ...]
    records: int
    rerun: int

    @property
    def exit_code(self) -> int:
        return 1 if self.faults else 0


def verify(
    store: ResultStore,
    host: PluginHost,
    observer: RunObserver,
    *,
    cells: int | None = 24,
    seed: int = 0,
    device: str = "auto",
) -> Verification:
    """Check every file of a results folder, then run ``cells`` of its cells again (None for all) and compare.

    seed chooses them: one of every model first, then some with trained solvers, then any. Solvers are not trained again.
    """
    found = list(faults(store))
    records = {} if found else {record.key: record for record in store.records()}
    planned = make_plan(read_suite(store.suite_file), host) if records else ()
    known = [cell for cell in planned if cell.key in records]
    if len(known) < len(records):
        found.append(_unknown(records, known))
    found += _outdated(known, records)
    chosen = choose([cell for cell in known if records[cell.key].status in ("ok", "diverged")], cells, seed)
    found += _rerun(chosen, records, _job(store, host, device), observer) if chosen else []
    return Verification(tuple(found), len(records), len(chosen))


def choose(cells: Sequence[Cell], count: int | None, seed: int) -> list[Cell]:
    """Return ``count`` cells (None for all) in their order: each model once, a third with trained solvers, the rest any."""
    if count is None or count >= len(cells):
        return list(cells)
    shuffled = sorted(cells, key=lambda cell: hashlib.sha256(f"{seed} {cell.key}".encode()).digest())
    models = {cell.model.selector: cell for cell in reversed(shuffled)}
    trained = [cell for cell in shuffled if cell.trained][: max(1, count // 3)]
    wanted = {cell.key: cell for cell in [*models.values(), *trained, *shuffled]}
    kept = set(list(wanted)[: max(count, len(models))])
    return [cell for cell in cells if cell.key in kept]


def _unknown(records: Mapping[str, Record], known: Sequence[Cell]) -> str:
    missing = sorted(records.keys() - {cell.key for cell in known})
    return (
        f"{len(missing)} records belong to cells that suite.toml does not give here, such as {missing[0]}: a component has"
        " another version, or suite.toml has been changed."
    )


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

    batch = read_suite(store.suite_file).batch
    cache, threads = environment.cache_folder(), environment.threads()
    return Job(host, store, cache, batch, threads, choose_device(device), train=False, previews=False)


def _rerun(cells: Sequence[Cell], records: Mapping[str, Record], job: Job, observer: RunObserver) -> Iterator[str]:
    from bnsbench.suite.executors import LocalExecutor  # noqa: PLC0415

    observer.planned(cells, cells)
    for cell, record in LocalExecutor().execute(cells, job, observer):
        observer.cell_finished(cell, record)
        yield from differences(records[cell.key], record)


def differences(recorded: Record, found: Record) -> Iterator[str]:
    """Yield a sentence for everything in which a cell that was run again differs from its record beyond the tolerances."""
    name = recorded.key
    if recorded.status != found.status:
        reason = f" ({found.reason})" if found.reason else ""
        yield f"{name}: the record says {recorded.status}, but it is {found.status} now{reason}."
        return
    for fact in ("nfe", "forwards", "train_forwards"):
        if getattr(recorded, fact) != getattr(found, fact):
            yield f"{name}: the record says {fact} {getattr(recorded, fact)}, but it is {getattr(found, fact)} now."
    for metric, score in recorded.metrics.items():
        if metric in found.metrics:
            yield from _difference(recorded, metric, score, found.metrics[metric])


def _difference(record: Record, metric: str, recorded: Score, found: Score) -> Iterable[str]:
    if recorded.value is None or found.value is None:
        if recorded.value != found.value:
            yield f"{record.key}: the record says {metric} {recorded.value}, but it is {found.value} now."
        return
    allowed = RELATIVE * abs(recorded.value) + ABSOLUTE
    before, after = recorded.value, found.value
    if recorded.unit == "dB":
        allowed = DECIBELS.get(str(record.model.get("dtype")), DECIBELS_COARSE)
        highest = float(record.truth.get("ceiling", float("inf"))) - CEILING_MARGIN
        before, after = min(before, highest), min(after, highest)
    if abs(before - after) > allowed:
        yield (
            f"{record.key}: the record says {metric} {recorded.value:.6g}, but it is {found.value:.6g} now,"
            f" further off than {allowed:.3g}."
        )
