"""What won in a scenario, by how much and against whom, in a sentence or two with the leaderboard's own numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bnsbench.report.judging import GAIN
from bnsbench.report.matrix import readable
from bnsbench.report.page.boards import interval
from bnsbench.report.page.markup import Content, Html, tag
from bnsbench.report.page.sources import Cell, Measure, Scenario
from bnsbench.report.tables import number_text

NAMED = 3
"""Solvers tied with the best that are named; more are counted."""


def outcome(scenario: Scenario) -> list[Content]:
    """Return who won a scenario by its first measure at the headline NFE, over whom, and at how many other NFE."""
    if not scenario.measures:
        return [f"No solver has a value here: {_statuses(scenario)}."]
    measure, nfe = scenario.measures[0], scenario.headline
    cells = [cell for cell in scenario.at(nfe) if measure.name in cell.values]
    best = [cell for cell in cells if cell.values[measure.name].standing == "best"]
    if not best:
        return [" ".join(scenario.boards[measure.name].notes) or f"Nothing is marked at {nfe} NFE."]
    tied = [cell for cell in cells if cell.values[measure.name].standing == "tied"]
    return [*_winner(best[0], [*best[1:], *tied], measure), *_lead(best[0], cells, measure), *_elsewhere(scenario, best[0])]


def best_cell(scenario: Scenario, nfe: int) -> Cell | None:
    """Return the cell with the best value of the first measure at some NFE, None if nothing is marked."""
    for measure in scenario.measures[:1]:
        for cell in scenario.at(nfe):
            if measure.name in cell.values and cell.values[measure.name].standing == "best":
                return cell
    return None


def number(cell: Cell, column: str, signed: bool = False) -> Html:
    """Return a number of the leaderboard as people read it, marked with its row and column."""
    value = float(cell.row[column])
    text = f"{value:+.2f}" if signed else readable(value)
    return tag("data", text, value=number_text(value), data_row=cell.number, data_column=column)


def gain_of(cell: Cell, measure: str) -> float | None:
    """Return the cell's gain over the best classic, None if it has none."""
    value = cell.row.get(f"{measure}{GAIN[0]}")
    return None if value is None or math.isnan(value) else float(value)


def _winner(best: Cell, others: Sequence[Cell], measure: Measure) -> Iterator[Content]:
    yield tag("strong", best.solver)
    yield f" ({_which(best)}) has the best {measure.name} at {best.nfe} NFE, "
    yield number(best, measure.name)
    yield f" {measure.unit}".rstrip()
    if ends := interval(best.values[measure.name]):
        yield f" ({ends})"
    if others:
        names = ", ".join(cell.solver for cell in others[:NAMED])
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        yield f"; the noise cannot tell it from {names}{more}"


def _lead(best: Cell, cells: Sequence[Cell], measure: Measure) -> Iterator[Content]:
    """Yield the gain over the best classic of the winner, or of the best solver that has one."""
    gaining = [cell for cell in cells if gain_of(cell, measure.name) is not None]
    if not gaining:
        yield ". "
        return
    shown = best if best in gaining else max(gaining, key=lambda cell: gain_of(cell, measure.name) or 0.0)
    gain = f"{measure.name}{GAIN[0]}"
    yield ": " if shown is best else f". The best {shown.kind} solver, {shown.solver}, is "
    yield number(shown, gain, signed=True)
    yield f" {measure.unit}"
    if not math.isnan(shown.row.get(f"{gain}_low") or math.nan):
        yield " ("
        yield number(shown, f"{gain}_low", signed=True)
        yield " to "
        yield number(shown, f"{gain}_high", signed=True)
        yield ")"
    over = next((cell for cell in cells if cell.solver == shown.row[f"{measure.name}{GAIN[-1]}"]), None)
    if over is not None:
        yield " over the best classic, " if shown is best else " from the best classic, "
        yield tag("strong", over.solver)
        yield f" ({_which(over)}) with "
        yield number(over, measure.name)
    yield ". "


def _elsewhere(scenario: Scenario, best: Cell) -> Iterator[Content]:
    """Yield at how many NFE the winner is the best, or tied with it."""
    measure = scenario.measures[0].name
    marks = [cell.values[measure].standing for cell, _ in scenario.curve(best.solver, measure)]
    first, tied = marks.count("best"), marks.count("tied")
    columns = len({cell.nfe for cell in scenario.cells if measure in cell.values})
    if columns > 1:
        ties = f", and tied with the best at {tied}" if tied else ""
        yield f"It is the best at {first} of {columns} NFE{ties}."


def _which(cell: Cell) -> str:
    """Return a solver's kind, with its rule and grid where the name does not say them."""
    rule = cell.rule if not cell.solver.startswith(cell.rule.partition("[")[0]) else ""
    return ", ".join(part for part in (cell.kind, rule, cell.grid) if part)


def _statuses(scenario: Scenario) -> str:
    counts: dict[str, int] = {}
    for cell in scenario.cells:
        counts[cell.status] = counts.get(cell.status, 0) + 1
    return ", ".join(f"{count} cells {status}" for status, count in counts.items())
