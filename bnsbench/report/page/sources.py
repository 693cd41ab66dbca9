"""What a page is made of: results folders with their leaderboards, scenarios, and what is known of their integrity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bnsbench.errors import CorruptFileError, UsageError
from bnsbench.report.integrity import file_faults
from bnsbench.report.judging import RANKS, STANDING
from bnsbench.report.leaderboard import FIELD
from bnsbench.report.matrix import Matrix, direction_in, field_title, matrices, measures_of, unit_of
from bnsbench.report.results import SEAL, read_leaderboard
from bnsbench.report.seal import Seal, seal_of
from bnsbench.storage.strict_json import read_json
from bnsbench.suite.record import Record
from bnsbench.suite.store import ResultStore

HEADLINE = 8
"""The NFE of which sentences speak, or the next to it that was run."""

MOST_CELLS = 10_000
"""Cells that a page shows one by one; that many take about 17 MB, and a browser still scrolls through them."""


@dataclass(frozen=True)
class Value:
    """A measure of a cell with its 95 % interval, standing and range of ranks, as the leaderboard has them."""

    value: float
    low: float | None
    high: float | None
    standing: str
    rank_low: int | None
    rank_high: int | None


@dataclass(frozen=True)
class Cell:
    """A row of the leaderboard.

    number: of the row, from 0. forwards: network forwards per sample. train_forwards: of the solver's training, in total.
    seconds: per sample.
    """

    number: int
    key: str
    solver: str
    kind: str
    nfe: int
    status: str
    reason: str
    forwards: int | None
    train_forwards: int | None
    seconds: float | None
    rule: str
    grid: str
    values: Mapping[str, Value]
    row: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Measure:
    """A measure with its unit, "" if it has none, and which values are better."""

    name: str
    unit: str
    direction: str

    @property
    def title(self) -> str:
        """The name with the unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


@dataclass(frozen=True)
class Scenario:
    """The results of one model under one guidance scale and seed.

    name: a word for identifiers, unique on the page. title: with the folder's name where there are several folders.
    boards: the matrix of every measure that has values. rows: those of the leaderboard. devices: that took the seconds.
    """

    name: str
    title: str
    source: Source = field(repr=False)
    model: str
    guidance: float
    seed: int
    cells: tuple[Cell, ...] = field(repr=False)
    measures: tuple[Measure, ...]
    boards: Mapping[str, Matrix] = field(repr=False)
    rows: pd.DataFrame = field(repr=False)
    devices: tuple[str, ...] = ()

    @cached_property
    def nfe(self) -> tuple[int, ...]:
        """All NFE, by size."""
        return tuple(sorted({cell.nfe for cell in self.cells}))

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The solvers in the order of the first measure's matrix, and their kinds."""
        own = {cell.solver: cell.kind for cell in self.cells}
        first = next(iter(self.boards.values()), None)
        ordered = [] if first is None else [line.solver for line in first.lines]
        return {solver: own[solver] for solver in dict.fromkeys([*ordered, *own])}

    @property
    def headline(self) -> int:
        """The NFE of which sentences speak."""
        known = [cell.nfe for cell in self.cells if cell.values] or self.nfe
        return min(known, key=lambda n: (abs(n - HEADLINE), n))

    def at(self, nfe: int) -> list[Cell]:
        """Return the cells of one NFE."""
        return [cell for cell in self.cells if cell.nfe == nfe]

    def curve(self, solver: str, measure: str) -> list[tuple[Cell, Value]]:
        """Return a solver's cells that have the measure, by NFE."""
        found = [(cell, cell.values[measure]) for cell in self._by_solver.get(solver, ()) if measure in cell.values]
        return sorted(found, key=lambda pair: pair[0].nfe)

    def cell(self, solver: str, nfe: int) -> Cell | None:
        """Return the cell of a solver at some NFE."""
        return next((cell for cell in self._by_solver.get(solver, ()) if cell.nfe == nfe), None)

    @cached_property
    def _by_solver(self) -> dict[str, list[Cell]]:
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.solver, []).append(cell)
        return found


@dataclass(frozen=True)
class Source:
    """A results folder on the page.

    name: of the folder, with as many of those above as tell it from the others. frame: its leaderboard. records: of its
    plan, in order. previews: where its pictures and sounds are. verification: what `bnsbench verify --json` has told.
    """

    name: str
    store: ResultStore
    frame: pd.DataFrame = field(repr=False)
    previews: Path
    verification: Mapping[str, Any] | None = None

    @cached_property
    def faults(self) -> list[str]:
        """Sentences on files that are not those which SHA256SUMS lists."""
        return list(file_faults(self.store))

    @cached_property
    def _seal(self) -> Seal:
        return seal_of(self.store)

    @property
    def digest(self) -> str:
        """The digest of the folder's files as they are now."""
        return self._seal.digest

    @property
    def sealed(self) -> bool:
        """Whether a file SEAL is there and fits."""
        file = self.store.folder / SEAL
        return file.is_file() and file.read_bytes() == self._seal.text.encode()

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        """The content of environment.json; nothing if it is absent or damaged."""
        return _object(self.store.environment_file)

    @cached_property
    def environments(self) -> int:
        """In how many environments the results were made, as far as the folder says."""
        return max(1, len(self.store.environment_files()) - 1)

    @cached_property
    def suite(self) -> str:
        """The text of suite.toml, "" if it cannot be read."""
        try:
            return self.store.suite_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    @cached_property
    def planned(self) -> int:
        """The number of cells in the plan."""
        return len(self.store.kept()[0])

    def record(self, key: str) -> Record | None:
        """Return a cell's record, None if it cannot be read."""
        try:
            return self.store.read(key)
        except CorruptFileError:
            return None


def read_sources(
    folders: Sequence[ResultStore], previews: Path | None = None, verifications: Sequence[Path] = ()
) -> list[Source]:
    """Return the results folders with their leaderboards.

    Args:
        folders: The results; one that is named twice counts once.
        previews: A folder of previews for cells whose own results folder has none.
        verifications: Files that `bnsbench verify --json` has written.

    Raises:
        UsageError: If a verification is no such file, or is of another folder.
    """
    stores = list({store.folder.resolve(): store for store in folders}.values())
    found = _verifications(verifications, stores)
    return [
        Source(
            name=name,
            store=store,
            frame=read_leaderboard(store),
            previews=store.previews if store.previews.is_dir() or previews is None else previews,
            verification=found.get(store.folder.resolve()),
        )
        for name, store in zip(_names([store.folder.resolve() for store in stores]), stores, strict=True)
    ]


def scenarios(sources: Sequence[Source]) -> Iterator[Scenario]:
    """Yield the scenarios of all folders, in the order of their rows, as many as have MOST_CELLS, and at least one."""
    names: set[str] = set()
    left = MOST_CELLS
    for source in sources:
        seeds = source.frame["seed"].nunique() > 1 if len(source.frame) else False
        for key, rows in source.frame.groupby(list(FIELD), sort=False):
            left -= len(rows)
            if left < 0 and names:
                return
            model, guidance, seed = key
            title = field_title((model, guidance, seed), seeds)
            name = _word(title, names)
            names.add(name)
            shown = f"{title} ({source.name})" if len(sources) > 1 else title
            yield _scenario(name, shown, source, rows)


def left_out(sources: Sequence[Source], shown: Sequence[Scenario]) -> str:
    """Return a sentence on the scenarios that are too many for a page, "" if there are none."""
    frames = [source.frame for source in sources]
    there = sum(frame.groupby(list(FIELD), sort=False).ngroups for frame in frames)
    if there == len(shown):
        return ""
    cells = sum(len(scenario.cells) for scenario in shown)
    return (
        f"These results have {there:,} scenarios with {sum(map(len, frames)):,} cells, more than a page can hold: it shows"
        f" {len(shown):,} of them, the first, with {cells:,} cells one by one, while profiles are over all."
        " 'bnsbench leaderboard' shows the others too, and every cell is in leaderboard.csv."
    )


def _scenario(name: str, title: str, source: Source, rows: pd.DataFrame) -> Scenario:
    rows.attrs.update(source.frame.attrs)
    first = rows.iloc[0]
    measures = [each for each in measures_of(source.frame) if rows[each].notna().any()]
    boards = {each: next(iter(matrices(rows, each))) for each in measures}
    return Scenario(
        name=name,
        title=title,
        source=source,
        model=str(first["model"]),
        guidance=float(first["guidance"]),
        seed=int(first["seed"]),
        cells=tuple(_cell(int(k), row, measures) for k, row in zip(rows.index, rows.to_dict("records"), strict=True)),
        measures=tuple(Measure(each, unit_of(rows, each), direction_in(rows, each)) for each in measures),
        boards=boards,
        rows=rows,
        devices=_devices(rows),
    )


def _devices(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the devices of the rows that have seconds, each once."""
    found = rows.attrs.get("devices", ())
    timed = [number for number, seconds in zip(rows.index, rows["seconds"], strict=True) if pd.notna(seconds)]
    return tuple(dict.fromkeys(found[number] for number in timed if number < len(found)))


def _cell(number: int, row: Mapping[Any, Any], measures: Sequence[str]) -> Cell:
    values = {}
    for measure in measures:
        value = _number(row, measure)
        if value is not None:
            low, high = (_number(row, f"{measure}{end}") for end in ("_low", "_high"))
            rank_low, rank_high = (_whole(row, f"{measure}{end}") for end in RANKS)
            standing = str(row.get(f"{measure}{STANDING}") or "")
            values[measure] = Value(value, low, high, standing, rank_low, rank_high)
    return Cell(
        number=number,
        key=str(row["key"]),
        solver=str(row["solver"]),
        kind=str(row["kind"]),
        nfe=int(row["nfe"]),
        status=str(row["status"]),
        reason=str(row["reason"] or ""),
        forwards=_whole(row, "forwards"),
        train_forwards=_whole(row, "train_forwards"),
        seconds=_number(row, "seconds"),
        rule=str(row["rule"] or ""),
        grid=str(row["grid"] or ""),
        values=values,
        row=row,
    )


def _number(row: Mapping[Any, Any], name: str) -> float | None:
    value = row.get(name)
    return None if value is None or not math.isfinite(value) else float(value)


def _whole(row: Mapping[Any, Any], name: str) -> int | None:
    value = _number(row, name)
    return None if value is None else int(value)


def _word(title: str, taken: set[str]) -> str:
    """Return a title as letters, digits and hyphens that is not yet taken."""
    word = "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in title).split()).lower() or "scenario"
    numbers = (f"{word}-{k}" for k in range(2, len(taken) + 3))
    return word if word not in taken else next(each for each in numbers if each not in taken)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, with the names of as many folders above as make each unique."""
    for depth in range(1, max((len(folder.parts) for folder in folders), default=1)):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _verifications(files: Sequence[Path], stores: Sequence[ResultStore]) -> dict[Path, Mapping[str, Any]]:
    known = {store.folder.resolve() for store in stores}
    found: dict[Path, Mapping[str, Any]] = {}
    for file in files:
        told = _object(file)
        folder = told.get("folder")
        if not isinstance(folder, str) or not isinstance(told.get("faults"), list):
            raise UsageError(f"{file} is not what 'bnsbench verify RESULTS --json' prints.")
        if Path(folder).resolve() not in known:
            raise UsageError(f"{file} tells of the results {folder}, which are not on this page.")
        found[Path(folder).resolve()] = told
    return found


def _object(file: Path) -> Mapping[str, Any]:
    try:
        content = read_json(file)
    except CorruptFileError:
        return {}
    return content if isinstance(content, dict) else {}
