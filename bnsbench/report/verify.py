"""Verification: the integrity of results, and a random choice of their cells run again; what it says of its own reach."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, one_line
from bnsbench.report.agreement import differences
from bnsbench.report.choice import Choice, choose, draw
from bnsbench.report.coverage import Coverage, numbers_in
from bnsbench.report.environments import environment_faults
from bnsbench.report.integrity import (
    file_faults,
    listed,
    plan_differences,
    read_records,
    record_faults,
    report_faults,
    what_is_absent,
    written_keys,
)
from bnsbench.report.planned import KnownPlan, difference_from_installed, known_plan
from bnsbench.report.seal import seal_faults
from bnsbench.suite.plan import Cell, MetricComponent
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import Record
from bnsbench.suite.store import ResultStore

__all__ = ["Coverage", "Verification", "choose", "differences", "verify"]

NOT_CHECKED = 3
"""The exit code where nothing is wrong, but something could not be checked."""


@dataclass(frozen=True)
class Verification:
    """The outcome of a verification.

    faults: a sentence for each. records: that could be read. rerun: cells that were run again. seed: of their choice.
    unchecked: what could not be checked here. notes: what whoever reads the results should know. coverage: how much was
    checked.
    """

    faults: tuple[str, ...]
    records: int
    rerun: int
    seed: int = 0
    unchecked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def exit_code(self) -> int:
        """1 for faults; 3 if there are none, but something could not be checked; else 0."""
        if self.faults:
            return 1
        return NOT_CHECKED if self.unchecked else 0


def verify(
    store: ResultStore,
    host: PluginHost,
    listener: RunListener,
    *,
    cells: int | None = 24,
    seed: int | None = None,
    device: str = "auto",
    retrain: bool = False,
    seal: str | None = None,
) -> Verification:
    """Check every file and record of a results folder, then run ``cells`` of its cells again (None for all) and compare.

    Cells that have failed, timed out or refused to run are run again in any case, unless ``cells`` is 0. Whatever is wrong
    with one file or record, all others are checked.

    Args:
        store: The results folder.
        host: The plugins.
        listener: Hears of the cells that are run.
        cells: How many are chosen: one of every model first, then some with trained solvers, then any; None for all.
        seed: Of the choice. None draws a seed, because a choice that is known beforehand could be prepared for.
        device: Where they run: "auto", "cpu", "cuda" or "cuda:<i>".
        retrain: Also train the solvers of the chosen cells again, which takes as long as it took.
        seal: The digest that the results should have; None for any.

    Raises:
        UsageError: If suite.toml cannot be read.
    """
    chosen_by = secrets.randbelow(10**6) if seed is None else seed
    looked = _look(store, host, seal)
    known, records = looked.cells(host), looked.records
    gave = [cell for cell in known if records[cell.key].status in ("ok", "diverged")]
    missing = {} if cells == 0 else _missing_students(gave, host)
    choice = draw([cell for cell in gave if cell.key not in missing], cells, chosen_by)
    again = _Again(
        chosen=choice.cells,
        refused=() if cells == 0 else tuple(cell for cell in known if _refused(cell, records[cell.key])),
        trained=tuple(cell for cell in choice.cells if records[cell.key].solver.get("file")),
        retrain=retrain,
    )
    found = [*looked.faults, *_outdated(known, records), *again.faults(known, looked, host, device, listener)]
    found += _contradictions(
        [record for record in records.values() if record.key not in {cell.key for cell in choice.cells}]
    )
    return Verification(
        faults=tuple(dict.fromkeys(found)),
        records=len(records),
        rerun=len(choice.cells) + len(again.refused),
        seed=chosen_by,
        unchecked=(*looked.unchecked(host), *_of_missing(missing)),
        notes=tuple(filter(None, [difference_from_installed(store, host)])),
        coverage=_coverage(looked, choice, again),
    )


@dataclass(frozen=True)
class _Again:
    """The cells that are run again: those chosen, those without a result, and of the chosen those with a trained solver."""

    chosen: tuple[Cell, ...]
    refused: tuple[Cell, ...]
    trained: tuple[Cell, ...]
    retrain: bool

    def faults(
        self, known: Sequence[Cell], looked: _Looked, host: PluginHost, device: str, listener: RunListener
    ) -> Iterator[str]:
        """Run them and yield how they differ from their records; nothing is loaded where there are none."""
        if not (self.chosen or self.refused):
            return
        from bnsbench.report import rerun  # noqa: PLC0415 (loads torch)

        records, job = looked.records, rerun.job_of(looked.store, host, device)
        yield from rerun.model_faults(known, records, job)
        if self.chosen:
            yield from rerun.run_again(self.chosen, records, job, listener)
        untrained = [cell for cell in self.refused if cell.trained and records[cell.key].status == "skipped"]
        refused = [cell for cell in self.refused if cell not in untrained]
        if refused:
            yield from rerun.run_apart(refused, records, job, listener)
        if untrained:
            yield from rerun.train_apart(untrained, records, job, listener)
        if self.trained and self.retrain:
            yield from rerun.train_again(self.trained, records, job, listener)


@dataclass(frozen=True)
class _Looked:
    """What a folder holds, before anything is run: its plan, the records that can be read, and faults."""

    store: ResultStore
    plan: KnownPlan
    records: Mapping[str, Record]
    faults: tuple[str, ...]

    def cells(self, host: PluginHost) -> list[Cell]:
        """Return the cells that have a record, with the metrics that it holds besides, as far as they are installed."""
        return [self._with_metrics(cell, host) for cell in self.plan.cells if cell.key in self.records]

    def _with_metrics(self, cell: Cell, host: PluginHost) -> Cell:
        named = {metric.shown for metric in cell.metrics}
        further = [_installed(name, host) for name in self.records[cell.key].metrics if name not in named]
        return replace(cell, metrics=(*cell.metrics, *(metric for metric in further if metric is not None)))

    def unchecked(self, host: PluginHost) -> Iterator[str]:
        """Return a sentence for everything that cannot be checked here."""
        for each in self.plan.absent:
            yield what_is_absent(each, sum(each.is_of(record) for record in self.records.values()))
        known = {metric.shown for cell in self.plan.cells for metric in cell.metrics}
        known |= {each.selector for each in self.plan.absent}
        for name in dict.fromkeys(name for record in self.records.values() for name in record.metrics):
            if name not in known and _installed(name, host) is None:
                yield f"The metric {name} is not in suite.toml and cannot be measured again here: its values stay unchecked."


def _installed(metric: str, host: PluginHost) -> MetricComponent | None:
    """Return a metric that records name; None if it is not here, or has parameters: no record may have a file opened."""
    try:
        return None if "[" in metric else MetricComponent.of(host.metric(metric))
    except BnsbenchError:
        return None


def _look(store: ResultStore, host: PluginHost, seal: str | None) -> _Looked:
    """Check all that can be checked without running a cell."""
    from bnsbench.report.records import suite_faults  # noqa: PLC0415 (loads torch)

    found = [*file_faults(store), *seal_faults(store, seal)]
    keys, records, unread = _records(store, host)
    found += unread
    try:
        plan = known_plan(store, host, records)
        found += plan_differences(written_keys(store) or keys, records, plan)
    except BnsbenchError:  # suite.toml cannot be read, which has been told
        plan = KnownPlan(())
    cells = {cell.key: cell for cell in plan.cells}
    for record in records:
        found += record_faults(record, store)
        if record.key in cells:
            found += suite_faults(record, cells[record.key])
    found += report_faults(records, store)
    found += environment_faults(store, records)
    return _Looked(store, plan, {record.key: record for record in records}, tuple(found))


def _records(store: ResultStore, host: PluginHost) -> tuple[Sequence[str], list[Record], list[str]]:
    """Return the keys of plan.json, or of suite.toml if that is damaged, the records, and what is wrong with others."""
    try:
        keys = store.planned()
        return keys, *read_records(store, keys)
    except BnsbenchError as error:
        try:
            keys = tuple(cell.key for cell in known_plan(store, host).cells)
        except BnsbenchError:
            keys = ()
        records, unread = read_records(store, keys)
        return keys, records, [str(error), *unread]


def _refused(cell: Cell, record: Record) -> bool:
    """Return whether a record has no value although the cell can be run."""
    return cell.skip is None and record.status in ("failed", "timeout", "skipped")


def _missing_students(cells: Sequence[Cell], host: PluginHost) -> dict[str, str]:
    """Return the keys of cells of distilled solvers whose students are not here, and why; nothing is loaded without such."""
    if not any(cell.kind == "distilled" for cell in cells):
        return {}
    from bnsbench.report.rerun import absent_students  # noqa: PLC0415 (loads torch)

    return absent_students(cells, host)


def _of_missing(missing: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence on the cells whose students are not here, if there are any."""
    if missing:
        key, why = next(iter(missing.items()))
        cells = "1 cell is" if len(missing) == 1 else f"{len(missing)} cells are"
        yield f"{cells} of students that are not here, such as {key}, and not run again: {why}."


def _outdated(cells: Sequence[Cell], records: Mapping[str, Record]) -> Iterator[str]:
    """Yield a sentence if records lack a metric of the suite, or hold it in another version than it has here."""
    outdated = [cell.key for cell in cells if records[cell.key].status == "ok" and not records[cell.key].answers(cell)]
    if outdated:
        yield (
            f"{len(outdated)} records lack a metric in the version that it has here, such as {outdated[0]}:"
            " 'bnsbench run' measures it anew."
        )


def _contradictions(records: Sequence[Record]) -> Iterator[str]:
    """Yield what cannot be true in records of cells that were not run again; of the others the comparison tells it."""
    from bnsbench.report.records import contradictions  # noqa: PLC0415 (loads torch)

    for record in records:
        try:
            yield from contradictions(record)
        except Exception as error:  # noqa: BLE001 (a record may hold anything where a number is expected)
            yield f"The record of {record.key} cannot be checked: {type(error).__name__}: {one_line(error)}."


def _coverage(looked: _Looked, choice: Choice, again: _Again) -> Coverage:
    """Return how much has been checked."""
    records = looked.records
    without = Counter(str(record.status) for record in records.values() if record.status not in ("ok", "diverged"))
    return Coverage(
        files=len(listed(looked.store.folder)),
        records=len(records),
        solvers=len({str(name) for record in records.values() if (name := record.solver.get("file"))}),
        numbers=sum(numbers_in(records[cell.key]) for cell in choice.cells),
        cells=choice.population,
        chosen=len(choice.cells),
        trained=len(again.trained),
        retrained=len(again.trained) if again.retrain else 0,
        retried=len(again.refused),
        without=dict(without),
        strata=choice.strata,
    )
