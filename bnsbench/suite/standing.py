"""Which cells are finished: those whose records answer them and come from the model and the files that are here now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bnsbench.errors import CorruptFileError
from bnsbench.metrics.contents import files_fingerprint
from bnsbench.plugins import PluginHost
from bnsbench.plugins.sources import BUILTIN
from bnsbench.suite.faults import describe
from bnsbench.suite.plan import Cell, MetricComponent
from bnsbench.suite.progress import RunObserver
from bnsbench.suite.record import Record, Score, metric_key, model_key
from bnsbench.suite.store import ResultStore

Kept = dict[str, Record]


@dataclass(frozen=True)
class Standing:
    """What a results folder has of a plan.

    finished: records by key. versions: the fingerprints now of models and metrics that have changed under finished cells.
    """

    finished: Mapping[str, Record]
    versions: Mapping[str, str] = field(default_factory=dict)

    def pending(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells that have to be run."""
        return [cell for cell in cells if cell.key not in self.finished]


def standing(
    cells: Sequence[Cell],
    store: ResultStore,
    host: PluginHost,
    observer: RunObserver,
    *,
    retrain: bool = False,
    trust: bool = False,
) -> Standing:
    """Return which of the cells are finished; the observer is told of records that do not count, and why.

    A model of a plugin is made to take its fingerprint, and a metric that was given files; the versions of built-in models
    hold the hashes of their weights, so nothing is made for them. A record that does not know its model answers for built-in
    ones alone.
    retrain: leave out records whose solver was shipped. trust: compare no fingerprints.
    """
    kept = _answering(cells, store, observer, retrain)
    versions = store.versions()
    if trust:
        return Standing(kept, versions)
    for key, group in _by_model(cells, kept).items():
        now = _model_now(group, host, observer)
        made = {cell.key: kept[cell.key].model.get("fingerprint") for cell in group}
        stale = [cell for cell in group if now is not None and made[cell.key] != now]
        if stale:
            word = "has" if any(made[cell.key] is not None for cell in stale) else "may have"
            observer.notice(f"The model {group[0].model.shown} {word} changed since: {_cells(stale)} run again.")
            versions[key] = str(now)
            _drop(stale, kept)
    for metric, group in _by_metric(cells, kept):
        files = _files_now(metric, group, kept, host, observer)
        scores = {cell.key: kept[cell.key].metrics[metric.shown] for cell in group}
        stale = [cell for cell in group if files is not None and not _still(scores[cell.key], files)]
        if stale:
            why = _why(metric.shown, [scores[cell.key] for cell in stale])
            observer.notice(f"{why}: {_cells(stale)} measured again.")
            versions[metric_key(metric.shown)] = str(files)
            _drop(stale, kept)
    return Standing(kept, versions)


def _answering(cells: Sequence[Cell], store: ResultStore, observer: RunObserver, retrain: bool) -> Kept:
    found = {}
    for cell in cells:
        try:
            record = store.read(cell.key)
        except CorruptFileError as error:
            observer.notice(f"{error} Its cell is run again.")
            continue
        if record is not None and record.answers(cell) and not (retrain and record.shipped):
            found[cell.key] = record
    return found


def _by_model(cells: Sequence[Cell], kept: Kept) -> dict[str, list[Cell]]:
    """Return the cells whose records say which model made them, or should do so, by model and precision."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.key in kept and (cell.skip is None or "fingerprint" in kept[cell.key].model):
            groups.setdefault(model_key(cell.content), []).append(cell)
    return groups


def _by_metric(cells: Sequence[Cell], kept: Kept) -> Iterator[tuple[MetricComponent, list[Cell]]]:
    """Yield the metrics of the cells with the cells whose records hold a value of them, or why there is none."""
    for name, metric in {metric.shown: metric for cell in cells for metric in cell.metrics}.items():
        group = [cell for cell in cells if cell.key in kept and name in kept[cell.key].metrics]
        if group:
            yield metric, group


def _still(score: Score, files: str) -> bool:
    """Whether a score holds of a metric that can be made and reads these files."""
    return score.made and score.files == files


def _why(metric: str, scores: Sequence[Score]) -> str:
    """Return why scores of a metric hold no longer."""
    if not any(score.made for score in scores):
        return f"The metric {metric} can be made now"
    # Older records of a metric that did not apply are silent about its files.
    known = any(score.files or score.value is not None for score in scores)
    return f"The files of the metric {metric} {'have' if known else 'may have'} changed since"


def _model_now(group: Sequence[Cell], host: PluginHost, observer: RunObserver) -> str | None:
    """Return the fingerprint that the cells' model has now; None if its version says enough or it cannot be made."""
    cell = group[0]
    selection = host.model(cell.model.selector)
    if selection.spec.provider == BUILTIN:
        return None
    observer.stage(cell, "reading the model, to see whether its records still hold")
    import torch  # noqa: PLC0415 (only where a plugin's model has records)

    try:
        model = selection.make()
        return str(model.to("cpu", getattr(torch, cell.dtype) if cell.dtype else model.dtype).fingerprint())
    except Exception as error:  # noqa: BLE001 (models of plugins may raise anything)
        observer.notice(f"The model {cell.model.shown} cannot be read ({describe(error)}): {_cells(group)} kept as before.")
        return None


def _files_now(
    metric: MetricComponent, group: Sequence[Cell], kept: Kept, host: PluginHost, observer: RunObserver
) -> str | None:
    """Return the fingerprint of the metric's files now; None if it was given none, then and now, or cannot be made."""
    selection = host.metric(metric.selector)
    given = dict(selection.parameters) != dict(selection.spec.parameters)
    if not given and all(_still(kept[cell.key].metrics[metric.shown], "") for cell in group):
        return None
    try:
        return files_fingerprint(selection.make())
    except Exception as error:  # noqa: BLE001 (metrics of plugins may raise anything)
        observer.notice(f"The metric {metric.shown} cannot be made ({describe(error)}): {_cells(group)} kept as before.")
        return None


def _cells(group: Sequence[Cell]) -> str:
    return "1 finished cell is" if len(group) == 1 else f"{len(group)} finished cells are"


def _drop(stale: Iterable[Cell], kept: Kept) -> None:
    for cell in stale:
        del kept[cell.key]
