"""The cells that need not be run again: their records have all metrics and come from the current model and files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bnsbench.contract import PluginHost
from bnsbench.contract.sources import BUILTIN
from bnsbench.errors import CorruptFileError
from bnsbench.metrics.contents import files_fingerprint
from bnsbench.process.assistants import in_parts
from bnsbench.process.cpu import collection_paused
from bnsbench.suite.failures import ContainedError, contained
from bnsbench.suite.plan import Cell, MetricComponent
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import Record, Score, metric_key, model_key
from bnsbench.suite.solver_files import fault_of
from bnsbench.suite.store import ResultStore

MANY, TOGETHER = 8000, 500
"""Records from which on other processes help to read them, and how many they read at once."""

NAMED = 5
"""Damaged solver files that are told one by one."""

Kept = dict[str, Record]
Versions = dict[str, str]


@dataclass(frozen=True)
class Finished:
    """The finished cells of a plan.

    records: theirs, by key.
    versions: the current fingerprints of models and metrics that have changed since some records were written.
    damaged: the solver files behind final records that are not those that were measured; a run makes them anew.
    """

    records: Mapping[str, Record]
    versions: Mapping[str, str] = field(default_factory=dict)
    damaged: tuple[Path, ...] = ()

    def pending(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells that have to be run."""
        return [cell for cell in cells if cell.key not in self.records]


def finished(
    cells: Sequence[Cell],
    store: ResultStore,
    host: PluginHost,
    listener: RunListener,
    *,
    retrain: bool = False,
    trust: bool = False,
) -> Finished:
    """Return which of the cells are finished; the listener is told of records that do not count, and why.

    Fingerprints of a plugin's model, and of a metric that was given files, are taken by making them. The versions of
    built-in models contain the hashes of their weights, so nothing is made for them. A record without its model's
    fingerprint counts for built-in models only.

    Args:
        cells: The plan.
        store: The results folder.
        host: The plugins.
        listener: Hears of records that do not count.
        retrain: Leave out records whose solver was shipped.
        trust: Compare no fingerprints.
    """
    kept = _answering(cells, store, listener, retrain)
    damaged = _check_solver_files(cells, kept, store, listener)
    versions = store.versions()
    if trust:
        return Finished(kept, _held(versions, kept.values()), damaged)
    _check_models(cells, kept, versions, host, listener)
    _check_metrics(cells, kept, versions, host, listener)
    return Finished(kept, versions, damaged)


def _check_solver_files(cells: Sequence[Cell], kept: Kept, store: ResultStore, listener: RunListener) -> tuple[Path, ...]:
    """Drop records whose solver's file is missing or damaged, and return these files."""
    trained = [cell for cell in cells if cell.key in kept and kept[cell.key].solver.get("file")]
    files = {cell.key: store.solvers / kept[cell.key].solver["file"] for cell in trained}
    faults = {cell.key: fault for cell in trained if (fault := fault_of(files[cell.key], kept[cell.key]))}
    stale = [cell for cell in trained if cell.key in faults]
    for cell in stale[:NAMED]:
        listener.notice(f"The solver file {files[cell.key]} {faults[cell.key]}: its cell is run again.")
    if len(stale) > NAMED:
        listener.notice(f"The same holds for {len(stale) - NAMED} other solver files.")
    _drop(stale, kept)
    return tuple(dict.fromkeys(files[cell.key] for cell in stale))


def _check_models(cells: Sequence[Cell], kept: Kept, versions: Versions, host: PluginHost, listener: RunListener) -> None:
    """Drop what other versions of models have made, and name those that are here now.

    A model that is named stays so, as it is now, even where none of its records answers: tables go by what is named.
    """
    for key, group in _by_model(cells).items():
        there = [cell for cell in group if _has_model(cell, kept)]
        now = _model_now(group[0], len(there), host, listener) if there or key in versions else None
        if now is None:
            continue
        made = {cell.key: kept[cell.key].model.get("fingerprint") for cell in there}
        stale = [cell for cell in there if made[cell.key] != now]
        if stale:
            word = "has" if any(made[cell.key] is not None for cell in stale) else "may have"
            listener.notice(f"The model {group[0].model.shown} {word} changed since: {_cells(len(stale))} run again.")
        if stale or key in versions:
            versions[key] = now
        _drop(stale, kept)


def _check_metrics(cells: Sequence[Cell], kept: Kept, versions: Versions, host: PluginHost, listener: RunListener) -> None:
    """Drop what metrics have measured with other files, and name those that are here now, as of models."""
    for metric in {metric.shown: metric for cell in cells for metric in cell.metrics}.values():
        name, key = metric.shown, metric_key(metric.shown)
        scores = {cell.key: kept[cell.key].metrics[name] for cell in cells if _has_metric(cell, kept, name)}
        files = _files_now(metric, scores.values(), key in versions, host, listener)
        if files is None:
            continue
        stale = [cell for cell in cells if cell.key in scores and not _still(scores[cell.key], files)]
        if stale:
            why = _why(name, [scores[cell.key] for cell in stale])
            listener.notice(f"{why}: {_cells(len(stale))} measured again.")
        if stale or key in versions:
            versions[key] = files
        _drop(stale, kept)


def _answering(cells: Sequence[Cell], store: ResultStore, listener: RunListener, retrain: bool) -> Kept:
    keys = [cell.key for cell in cells]
    parts = [(store, keys[start : start + TOGETHER]) for start in range(0, len(keys), TOGETHER)]
    found = {}
    with collection_paused():
        read = (head for part in in_parts(_heads, parts, None if len(keys) >= MANY else 1) for head in part)
        for cell, head in zip(cells, read, strict=True):
            if isinstance(head, str):
                listener.notice(f"{head} Its cell is run again.")
            elif head is not None and head.answers(cell) and not (retrain and head.shipped):
                found[cell.key] = head
    return found


def _heads(part: tuple[ResultStore, Sequence[str]]) -> list[Record | str | None]:
    """Return the records of those keys without their values by sample, or a sentence on each that is damaged."""
    store, keys = part
    return [_head(store, key) for key in keys]


def _head(store: ResultStore, key: str) -> Record | str | None:
    try:
        return store.read(key, values=False)
    except CorruptFileError as error:
        return str(error)


def _held(versions: Versions, records: Collection[Record]) -> Versions:
    """Return the versions that some record has; any other would make tables leave out records that are trusted."""
    held = {(model_key(record.cell), record.model.get("fingerprint")) for record in records}
    held |= {(metric_key(name), score.files) for record in records for name, score in record.metrics.items()}
    return {key: version for key, version in versions.items() if (key, version) in held}


def _by_model(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Return the cells by model and precision."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(model_key(cell.content), []).append(cell)
    return groups


def _has_model(cell: Cell, kept: Kept) -> bool:
    """Return whether the cell's record has to say which model made it; that of a cell that cannot be run has none."""
    return cell.key in kept and (cell.skip is None or "fingerprint" in kept[cell.key].model)


def _has_metric(cell: Cell, kept: Kept, metric: str) -> bool:
    """Return whether the cell's record has a value of the metric, or the reason why there is none."""
    return cell.key in kept and metric in kept[cell.key].metrics


def _still(score: Score, files: str) -> bool:
    """Return whether a score still holds for a metric that can be made and reads these files."""
    return score.made and score.files == files


def _why(metric: str, scores: Sequence[Score]) -> str:
    """Return why scores of a metric no longer hold."""
    if not any(score.made for score in scores):
        return f"The metric {metric} can be made now"
    # Older records of a metric that did not apply are silent about its files.
    known = any(score.files or score.value is not None for score in scores)
    return f"The files of the metric {metric} {'have' if known else 'may have'} changed since"


def _model_now(cell: Cell, finished: int, host: PluginHost, listener: RunListener) -> str | None:
    """Return the fingerprint that the cell's model has now; None if its version says enough or it cannot be made."""
    selection = host.model(cell.model.selector)
    if selection.spec.provider == BUILTIN:
        return None
    listener.of_cell(cell, "stage", "reading the model, to see whether its records still hold")
    from bnsbench.flows.precision import dtype_named  # noqa: PLC0415 (torch, only where a plugin's model has records)

    try:
        with contained():
            model = selection.make()
            return str(model.to("cpu", dtype_named(cell.dtype, model.dtype)).fingerprint())
    except ContainedError as error:
        why = f"The model {cell.model.shown} cannot be read ({error})"
        listener.notice(f"{why}: {_cells(finished)} kept as before.")
        return None


def _files_now(
    metric: MetricComponent, scores: Collection[Score], named: bool, host: PluginHost, listener: RunListener
) -> str | None:
    """Return the fingerprint of the metric's files now; None if there is nothing to compare it with, or it cannot be made.

    named: whether the versions name the metric, whatever its scores say.
    """
    selection = host.metric(metric.selector)
    given = bool(scores) and dict(selection.parameters) != dict(selection.spec.parameters)
    if not given and not named and all(_still(score, "") for score in scores):
        return None
    try:
        with contained():
            return files_fingerprint(selection.make())
    except ContainedError as error:
        why = f"The metric {metric.shown} cannot be made ({error})"
        listener.notice(f"{why}: {_cells(len(scores))} kept as before.")
        return None


def _cells(count: int) -> str:
    return "1 finished cell is" if count == 1 else f"{count} finished cells are"


def _drop(stale: Iterable[Cell], kept: Kept) -> None:
    for cell in stale:
        del kept[cell.key]
