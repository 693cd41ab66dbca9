"""Merging: the results of several machines, or parts of a suite, in one folder as if one process had run them all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError
from bnsbench.report.agreement import differences
from bnsbench.report.parts import Part
from bnsbench.report.results import write_reports
from bnsbench.storage.files import make_way, remove_leftovers, replacing
from bnsbench.suite.plan import make_plan
from bnsbench.suite.record import RETRIED, Record
from bnsbench.suite.record_shape import Status
from bnsbench.suite.store import ResultStore, storage_errors
from bnsbench.suite.suitefile import Suite
from bnsbench.suite.union import joined
from bnsbench.training.listener import Listener

SECONDS_BETWEEN_STAGES = 2.0


@dataclass(frozen=True)
class Merge:
    """What came of a merge.

    folder: of the merged results. cells: of their plan. missing: cells without a record. failed: cells whose record says
    that they failed or timed out. environments: in which the results were made. notes: what whoever reads the tables should
    know.
    """

    folder: Path
    cells: int
    missing: int
    failed: int
    environments: int
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 if cells are missing or have failed, else 0."""
        return 1 if self.missing or self.failed else 0


@dataclass(frozen=True)
class _Whole:
    """The plan of the merged results: name and text of the suite, keys of its cells, versions of what has changed."""

    name: str
    text: str
    keys: tuple[str, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class _Chosen:
    """A cell's merged record: status and solver's file, the parts that it is made from, and all that have one."""

    status: Status
    solver: str
    sources: tuple[Part, ...]
    holders: tuple[Part, ...]


def merge(
    folders: Sequence[Path],
    output: Path,
    host: PluginHost,
    listener: Listener,
    *,
    suite: Suite | None = None,
    keep_first: bool = False,
) -> Merge:
    """Join results folders into output/SUITE, which takes part itself if it is there already; no other folder is changed.

    Everything is read and compared before anything is written; an interrupted merge goes on when it is called again.

    Args:
        folders: The results, such as those of shards, or of runs of one suite with different options.
        output: The folder in which the suite's folder lies.
        host: The plugins, by which a plan is made where the parts have different ones.
        listener: Hears how far it is, and what is left out.
        suite: Whose cells are merged; None for the smallest suite that has those of all parts.
        keep_first: Where parts contradict each other, take the first one.

    Raises:
        BnsbenchError: If parts contradict each other, a newer bnsbench wrote one, or one is no results.
        UsageError: If the parts are not of one suite, or a component of theirs is not installed.
    """
    given = _opened(folders, listener)
    name = given[0].suite.name if suite is None else suite.name
    target = ResultStore(output.absolute() / name)
    before = [Part.open(target.folder, listener)] if target.plan_file.is_file() else []
    parts = list({part.store.folder.resolve(): part for part in (*before, *given)}.values())
    whole = _whole(parts, host, listener, suite)
    clashes: list[str] = []
    chosen = _choose(parts, whole.keys, listener, clashes)
    solvers = _choose_solvers(parts, chosen, listener, clashes)
    if clashes and not keep_first:
        more = f" There are {len(clashes)} such pairs of files." if len(clashes) > 1 else ""
        raise BnsbenchError(
            f"{clashes[0]}{more} Leave one of the folders out, or add --keep-first to take what the folder named first says."
        )
    for clash in clashes:
        listener.notice(f"{clash} The first is kept.")
    environments = _write(target, whole, chosen, solvers, parts, listener)
    listener.stage("writing the leaderboard")
    notes = write_reports(target).attrs["notes"]
    failed = sum(each.status in RETRIED for each in chosen.values())
    return Merge(target.folder, len(whole.keys), len(whole.keys) - len(chosen), failed, environments, tuple(notes))


def _opened(folders: Sequence[Path], listener: Listener) -> list[Part]:
    parts = [Part.open(folder, listener) for folder in folders]
    if not parts:
        raise BnsbenchError("There is nothing to merge: name results folders.")
    return parts


def _whole(parts: Sequence[Part], host: PluginHost, listener: Listener, suite: Suite | None) -> _Whole:
    """Return what the merged folder is to hold; parts that are whole themselves, such as those of shards, say it all."""
    versions = _versions(parts)
    texts = {part.content(part.store.suite_file): part for part in parts}
    first = parts[0]
    if suite is None and len(texts) == 1:
        for part in parts:
            if part.keys != first.keys:
                raise BnsbenchError(
                    f"{first.store.plan_file} and {part.store.plan_file} contradict each other: they are plans of the same"
                    " suite with other cells, as of other versions of a component; run one of them again with the other's."
                )
        return _Whole(first.suite.name, next(iter(texts)).decode("utf-8"), first.keys, versions)
    wanted = joined({part.store.suite_file: part.suite for part in texts.values()}) if suite is None else suite
    keys = tuple(cell.key for cell in make_plan(wanted, host))
    _check_left_out(parts, keys, listener, refuse=suite is None)
    return _Whole(wanted.name, wanted.to_toml(), keys, versions)


def _check_left_out(parts: Sequence[Part], keys: Sequence[str], listener: Listener, *, refuse: bool) -> None:
    """Tell, or refuse, planned cells of the parts that the merged results will not have."""
    there = set(keys)
    for part in parts:
        others = [key for key in part.keys if key not in there]
        if others and refuse:
            raise BnsbenchError(
                f"{part.store.plan_file} has {len(others)} cells that its suite does not give here, such as {others[0]}: a"
                " component has another version; merge with the versions that the parts were run with."
            )
        if others:
            listener.notice(
                f"{len(others)} cells of {part.store.folder} are not in the suite and left out, such as {others[0]}."
            )


def _versions(parts: Sequence[Part]) -> dict[str, str]:
    found: dict[str, tuple[str, Part]] = {}
    for part in parts:
        for name, version in part.store.versions().items():
            before = found.setdefault(name, (version, part))
            if before[0] != version:
                raise BnsbenchError(
                    f"{before[1].store.plan_file} and {part.store.plan_file} contradict each other: they name different"
                    f" versions of the {name}; run one of them again with the other's."
                )
    return {name: version for name, (version, _) in found.items()}


def _choose(parts: Sequence[Part], keys: Sequence[str], listener: Listener, clashes: list[str]) -> dict[str, _Chosen]:
    """Return what is chosen for every cell that has a record, in the order of the plan; add sentences to ``clashes``."""
    chosen: dict[str, _Chosen] = {}
    close = 0
    for key in _told(keys, "reading cell", listener):
        found = [(part, record) for part in parts if (record := part.record(key)) is not None]
        if found:
            record, sources = _settled(found, clashes)
            file = "" if record.status in RETRIED else str(record.solver.get("file") or "")
            chosen[key] = _Chosen(record.status, file, sources, tuple(part for part, _ in found))
            close += any(_only_close(record, other) for _, other in found)
    if close:
        cells = "1 cell was" if close == 1 else f"{close} cells were"
        listener.notice(
            f"{cells} measured more than once, with values within the tolerances of 'bnsbench verify' of each"
            " other: those of the folder named first are kept."
        )
    return chosen


def _settled(found: Sequence[tuple[Part, Record]], clashes: list[str]) -> tuple[Record, tuple[Part, ...]]:
    """Return one record for several of a cell, and the parts that it is made from.

    One with a result stands before one without; of several results the first, with the metrics that only others have.
    """
    part, record = found[0]
    sources = [part]
    for other, second in found[1:]:
        if second.status in RETRIED:
            continue
        if record.status in RETRIED:
            record, sources = second, [other]
            continue
        clash = next(differences(record, second), None)
        if clash is not None:
            files = (each.store.record_file(record.key) for each in (sources[0], other))
            clashes.append(
                f"{' and '.join(map(str, files))} contradict each other, compared as by 'bnsbench verify': {clash}"
            )
        elif second.metrics.keys() - record.metrics.keys():
            record = _with_metrics_of(second, record)
            sources.append(other)
    return record, tuple(sources)


def _with_metrics_of(other: Record, record: Record) -> Record:
    """Return a record with the metrics that only another one of its cell has."""
    return replace(
        record,
        metrics={**other.metrics, **record.metrics},
        per_sample={**other.per_sample, **record.per_sample},
        replicates={**other.replicates, **record.replicates},
    )


def _only_close(kept: Record, other: Record) -> bool:
    """Return whether two records have results whose common values are not the very same."""
    if {kept.status, other.status} & RETRIED:
        return False
    return any(kept.metrics[name] != score for name, score in other.metrics.items() if name in kept.metrics)


def _choose_solvers(
    parts: Sequence[Part], chosen: Mapping[str, _Chosen], listener: Listener, clashes: list[str]
) -> dict[str, Part]:
    """Return from which part every solver file is taken: from that of the record that names it; add to ``clashes``."""
    holders: dict[str, list[Part]] = {each.solver: [each.sources[0]] for each in chosen.values() if each.solver}
    for part in parts:
        for name in part.solver_names():
            there = holders.setdefault(name, [])
            if part not in there:
                there.append(part)
    solvers: dict[str, Part] = {}
    for name in _told(sorted(holders), "reading solver", listener):
        valid = [(part, found) for part in holders[name] if (found := part.solver(name)) is not None]
        for part, found in valid[1:]:
            if found != valid[0][1]:
                files = (each.store.solvers / name for each in (valid[0][0], part))
                clashes.append(f"{' and '.join(map(str, files))} contradict each other: they hold different tables.")
        if valid:
            solvers[name] = valid[0][0]
    return solvers


def _write(
    target: ResultStore,
    whole: _Whole,
    chosen: Mapping[str, _Chosen],
    solvers: Mapping[str, Part],
    parts: Sequence[Part],
    listener: Listener,
) -> int:
    """Write everything but what follows from the records, every file whole; return the number of environments."""
    remove_leftovers(target.folder)
    target.write_plan(whole.text, whole.keys, whole.versions)
    for name, part in solvers.items():
        _put(target.solvers / name, part.content(part.store.solvers / name))
    for key in _told(list(chosen), "writing cell", listener):
        sources = chosen[key].sources
        target.write(_again(key, sources))
        for file in sources[0].preview_files(key):
            _put(target.previews / file.relative_to(sources[0].store.previews), sources[0].content(file))
    used = {part for each in chosen.values() for part in each.holders}
    environments = [found for part in parts if part in used for found in part.environments()]
    return target.write_environments(environments)


def _again(key: str, sources: Sequence[Part]) -> Record:
    """Return the record of a cell from the parts that were chosen for it; records are too large to be held meanwhile."""
    found = [(part, record) for part in sources if (record := part.record(key)) is not None]
    if len(found) < len(sources):
        raise BnsbenchError(f"The record of {key} in {sources[0].store.folder} has been changed while it was merged.")
    return _settled(found, [])[0]


def _put(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; one that is the same already stays."""
    with storage_errors(file):
        if file.is_file() and file.read_bytes() == content:
            return
        make_way(file)
        with replacing(file) as temporary:
            temporary.write_bytes(content)


def _told(items: Sequence[str], what: str, listener: Listener) -> Iterator[str]:
    """Yield the items, and tell every few seconds which of them it is at."""
    last = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last > SECONDS_BETWEEN_STAGES:
            last = time.monotonic()
            listener.stage(f"{what} {number:,} of {len(items):,}")
