"""Choice of one version where records were made with several of a model, or of a metric's files: no table may mix them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from bnsbench.suite.record import Record, metric_key, model_key
from bnsbench.suite.store import ResultStore

_T = TypeVar("_T")


def settle(records: Sequence[Record], versions: Mapping[str, str]) -> tuple[list[Record], list[str]]:
    """Return the records with one version of every model and metric, and a sentence for each that has had several.

    Records of another version of a model become failed ones; values from other files of a metric are left out.

    Args:
        records: Those of a results folder.
        versions: The current fingerprints, by `model_key` and `metric_key`, even if no record has them yet. Where one is
            missing, the version that most records have is the current one.
    """
    settled, notes = list(records), []
    for key, found in _models(records).items():
        current = _current(key, list(found.values()), versions)
        others = [index for index, fingerprint in found.items() if fingerprint != current]
        for index in others:
            settled[index] = _failed(settled[index], "it was made with another version of the model: run it again")
        if others:
            name = records[others[0]].cell["model"]["name"]
            notes.append(_note("Records", f"the model {name}", {current, *found.values()}, others))
    for name, found in _metrics(records).items():
        current = _current(metric_key(name), list(found.values()), versions)
        others = [index for index, files in found.items() if files != current]
        for index in others:
            settled[index] = _without(settled[index], name)
        if others:
            notes.append(_note("Values", f"the files of the metric {name}", {current, *found.values()}, others))
    return settled, notes


def settled_records(store: ResultStore) -> tuple[list[Record], list[str]]:
    """Return the records of a results folder, settled, and the sentences; for a damaged one a failed record that says so."""
    records, notes = settle(list(store.records()), store.versions())
    damaged = store.kept()[1]
    return records, [*([damaged] if damaged else []), *notes]


def _models(records: Sequence[Record]) -> dict[str, dict[int, str]]:
    """Return the fingerprints of the records that have one, by model and place."""
    found: dict[str, dict[int, str]] = {}
    for index, record in enumerate(records):
        if record.model.get("fingerprint"):
            found.setdefault(model_key(record.cell), {})[index] = str(record.model["fingerprint"])
    return found


def _metrics(records: Sequence[Record]) -> dict[str, dict[int, str]]:
    """Return the fingerprints of metrics' files, by metric and place."""
    found: dict[str, dict[int, str]] = {}
    for index, record in enumerate(records):
        for name, score in record.metrics.items():
            if score.value is not None or score.files:
                found.setdefault(name, {})[index] = score.files
    return found


def _current(key: str, found: Sequence[str], versions: Mapping[str, str]) -> str:
    if key in versions:
        return versions[key]
    counts = Counter(reversed(found))  # of equally many, the last
    return max(counts, key=lambda version: counts[version])


def _failed(record: Record, reason: str) -> Record:
    return replace(record, status="failed", reason=reason, metrics={}, per_sample={}, replicates={})


def _without(record: Record, metric: str) -> Record:
    return replace(
        record,
        metrics=_but(record.metrics, metric),
        per_sample=_but(record.per_sample, metric),
        replicates=_but(record.replicates, metric),
    )


def _but(held: Mapping[str, _T], name: str) -> dict[str, _T]:
    return {key: value for key, value in held.items() if key != name}


def _note(what: str, whom: str, versions: Collection[str], others: Sequence[int]) -> str:
    return f"{what} of {whom} come from {len(versions)} versions; {len(others)} are left out: run them again."
