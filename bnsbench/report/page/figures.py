"""The figures of a page: a measure over NFE, over seconds and over the forwards of training, and performance profiles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import pandas as pd

from bnsbench.report.judging import GAIN
from bnsbench.report.kinds import CLASSIC, TUNED
from bnsbench.report.matrix import readable
from bnsbench.report.page.boards import interval
from bnsbench.report.page.chart import Axis, Line, Point, chart, ticks
from bnsbench.report.page.markup import Html
from bnsbench.report.page.palette import Ink
from bnsbench.report.page.sources import Cell, Measure, Scenario, Value
from bnsbench.report.page.words import best_cell
from bnsbench.report.profiles import area

MOST_NAMED = 6
"""Solvers that a figure names; all others are told by their markers, the legend and the pointer."""

DECADES = 50.0
"""The ratio of a measure's largest to its smallest value from which on its axis is logarithmic."""

Inks = Mapping[str, Ink]


def curves(scenario: Scenario, measure: Measure, colours: Inks, table: str) -> Html:
    """Return a measure over the NFE, with the best solver of every kind and the best ones on average named."""
    label = f"{measure.title} over NFE, {scenario.title}: arrow keys go from point to point"
    lines = _lines(scenario, measure, colours, named_in(scenario, measure.name), lambda cell: float(cell.nfe))
    x = Axis("NFE", ticks=tuple(map(float, scenario.nfe)))
    return chart(lines, x, _quality(measure, lines), name="curves", label=label, described_by=table)


def over_seconds(scenario: Scenario, measure: Measure, colours: Inks, table: str) -> Html | None:
    """Return a measure over the seconds of one sample, on a logarithmic axis; None where none, or on several devices."""
    if len(scenario.devices) > 1:
        return None
    found = _lines(scenario, measure, colours, named_in(scenario, measure.name), lambda cell: cell.seconds or None)
    lines = [line for line in found if line.points]
    if not lines:
        return None
    label = f"{measure.title} over the seconds of one sample, {scenario.title}"
    x = Axis("seconds of one sample", "log")
    return chart(lines, x, _quality(measure, lines), name="seconds", label=label, described_by=table)


def over_training(scenario: Scenario, measure: Measure, nfe: int, colours: Inks, table: str) -> Html | None:
    """Return a measure over the forwards of training at one NFE; untrained solvers stand at the left of a logarithmic axis.

    Those that no cheaper solver surpasses are named. None where nothing was trained.
    """
    found = [(cell, cell.values[measure.name]) for cell in scenario.at(nfe) if measure.name in cell.values]
    costs = [cell.train_forwards for cell, _ in found if cell.train_forwards]
    if not costs:
        return None
    zero = min(costs) / 4
    front = _front([pair for pair in found if pair[0].train_forwards is not None], measure.direction)
    lines = [
        Line(
            cell.solver,
            colours[cell.solver],
            (
                Point(
                    float(cell.train_forwards or zero), value.value, _says_cost(cell, value, measure), value.low, value.high
                ),
            ),
            named=cell.solver in front,
        )
        for cell, value in found
        if cell.train_forwards is not None
    ]
    marks = [tick for tick in ticks(min(costs) / 2, float(max(costs)), "log", most=4) if tick > 1.5 * zero]
    axis = Axis(
        "network forwards that training took",
        "log",
        (zero, *marks),
        lambda value: "none" if value == zero else f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k",
    )
    label = f"{measure.title} over forwards of training at {nfe} NFE, {scenario.title}"
    return chart(lines, axis, _quality(measure, lines), name="training", label=label, described_by=table)


def summary(scenario: Scenario, colours: Inks) -> Html | None:
    """Return the small picture of what won: the winner, the classic that it is measured by, and the best untuned one."""
    best = best_cell(scenario, scenario.headline)
    if best is None:
        return None
    measure = scenario.measures[0]
    order = [line.solver for line in scenario.boards[measure.name].lines if line.gap is not None]
    over = best.row.get(f"{measure.name}{GAIN[-1]}")
    plain = [solver for solver in order if scenario.kinds[solver] == CLASSIC]
    learned = [solver for solver in order if scenario.kinds[solver] not in (CLASSIC, TUNED)]
    chosen = dict.fromkeys([best.solver, *([over] if isinstance(over, str) else order[:1]), *plain[:1], *learned[:1]])
    lines = [
        line for line in _lines(scenario, measure, colours, chosen, lambda cell: float(cell.nfe)) if line.solver in chosen
    ]
    x = Axis("NFE", ticks=tuple(map(float, scenario.nfe)))
    label = f"{measure.title} over NFE of {', '.join(chosen)}"
    return chart(lines, x, _quality(measure, lines), name="summary", label=label, size=(520, 270))


def profile_chart(steps: pd.DataFrame, target: int, colours: Inks, table: str) -> Html:
    """Return the performance profiles for one target: shares of fields over the NFE that suffice, the best ones named."""
    right = max(1.03 * float(steps["tau"].max()), 1.1)
    parts = {str(solver): part for solver, part in steps.groupby("solver", sort=False)}
    named = _most_successful(parts, right)
    lines = []
    for solver, part in parts.items():
        stairs = [
            Point(1.0, 0.0, ""),
            *(Point(float(t), float(s), "") for t, s in zip(part["tau"], part["share"], strict=True)),
        ]
        stairs.append(
            Point(right, stairs[-1].y, f"{solver}: in {stairs[-1].y:.0%} of the fields within {right / 1.03:.3g} times")
        )
        lines.append(Line(solver, colours[solver], tuple(stairs), named=solver in named, step=True))
    lines.sort(key=lambda line: named.index(line.solver) if line.named else -1)
    marks = tuple(tau for tau in (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0) if tau <= right)
    x = Axis("NFE, over the least that a solver needs", "log", marks, low=1.0, high=right)
    y = Axis("share of fields", ticks=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0), texts=lambda share: f"{share:.0%}", low=0.0, high=1.03)
    label = f"Performance profiles for the best solver's value at {target} NFE"
    return chart(lines, x, y, name="profile", label=label, described_by=table, size=(560, 340))


def named_in(scenario: Scenario, measure: str) -> list[str]:
    """Return the solvers that a scenario's figures name: the best of every kind, then the best ones of all."""
    order = [line.solver for line in scenario.boards[measure].lines if line.gap is not None]
    of_kinds = {scenario.kinds[solver]: solver for solver in reversed(order)}
    chosen = list(dict.fromkeys([*(solver for solver in order if solver in of_kinds.values()), *order]))
    return chosen[:MOST_NAMED]


def _lines(
    scenario: Scenario, measure: Measure, colours: Inks, named: Collection[str], x: Callable[[Cell], float | None]
) -> list[Line]:
    lines = []
    for solver in scenario.kinds:
        placed = [(x(cell), cell, value) for cell, value in scenario.curve(solver, measure.name)]
        points = tuple(
            Point(place, value.value, _says(cell, value, measure), value.low, value.high)
            for place, cell, value in placed
            if place is not None
        )
        if points:
            lines.append(Line(solver, colours[solver], points, named=solver in named))
    return lines


def _says(cell: Cell, value: Value, measure: Measure) -> str:
    """Return what a point says of its cell."""
    ends = f" ({interval(value)})" if interval(value) else ""
    standing = f", {value.standing}" if value.standing else ""
    return f"{cell.solver}, {cell.nfe} NFE: {readable(value.value)} {measure.unit}".rstrip() + f"{ends}{standing}"


def _says_cost(cell: Cell, value: Value, measure: Measure) -> str:
    return f"{_says(cell, value, measure)}; {cell.train_forwards or 0:,} forwards of training"


def _quality(measure: Measure, lines: Sequence[Line]) -> Axis:
    values = [point.y for line in lines for point in line.points]
    spans = min(values, default=0.0) > 0.0 and max(values) / min(values) >= DECADES and measure.direction == "lower"
    arrow = "higher is better" if measure.direction == "higher" else "lower is better"
    return Axis(f"{measure.title}, {arrow}", "log" if spans else "linear")


def _front(found: Sequence[tuple[Cell, Value]], direction: str) -> set[str]:
    """Return the solvers that are better than all cheaper ones, the best of equally cheap ones."""
    sign = -1.0 if direction == "higher" else 1.0
    front: list[str] = []
    best = float("inf")
    for cell, value in sorted(found, key=lambda pair: (pair[0].train_forwards or 0, sign * pair[1].value)):
        if sign * value.value < best:
            best = sign * value.value
            front.append(cell.solver)
    return set(front[-MOST_NAMED:])


def _most_successful(parts: Mapping[str, pd.DataFrame], right: float) -> list[str]:
    """Return the solvers with the largest area under their shares, the best of every kind first."""
    order = sorted(parts, key=lambda solver: -area(parts[solver], right))
    kinds = {str(parts[solver]["kind"].iloc[0]): solver for solver in reversed(order)}
    chosen = dict.fromkeys([*(solver for solver in order if solver in kinds.values()), *order])
    return [solver for solver in chosen if parts[solver]["share"].max() > 0][:MOST_NAMED]
