"""Figures for papers: one measure, chosen models and solvers, colours that all eyes tell apart, names at the lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator, PercentFormatter
from PIL import Image

from bnsbench.errors import UsageError
from bnsbench.media.drawing import label, plain_style
from bnsbench.media.pictures import sheet_pairs
from bnsbench.report.matrix import TIE
from bnsbench.report.page.chart import spread
from bnsbench.report.page.figures import named_in
from bnsbench.report.page.sources import Cell, Measure, Scenario
from bnsbench.report.plots import STYLE, save_figure
from bnsbench.report.profiles import area, profile, shared_targets
from bnsbench.suite.previews import COUNT

Kind = Literal["curves", "profile", "cost", "table", "gallery"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SUFFIXES = (".pdf", ".svg", ".png")
WIDTH = 5.5
"""Inches: the text of a page of one column."""

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#b58900", "#000000")
"""After Okabe and Ito, who chose them so that all eyes tell them apart; their yellow darkened, to be seen on white."""
MARKERS = "osD^vP*"
REST = "#c4c4c4"
LINE = 9.5
"""Points between the names of two lines."""
LETTER, HEADING = 0.058, 0.34
"""Inches of a letter of a solver's name, and of the headings over a gallery."""
NARROW = 4.0
"""Inches below which panels stand below each other."""

_FONTS = {"pdf.fonttype": 42, "svg.fonttype": "path", "font.size": 8, "axes.titlesize": 8.5}


@dataclass(frozen=True)
class Choice:
    """What a figure shows.

    measure: "" for the first. solvers: the named ones, () for the best of every kind and the best of all. nfe: of a cost
    figure, None for the one that sentences speak of. width: in inches.
    """

    measure: str = ""
    solvers: tuple[str, ...] = ()
    nfe: int | None = None
    width: float = WIDTH


def draw_paper_figure(scenarios: Sequence[Scenario], kind: Kind, choice: Choice, file: Path) -> None:
    """Draw a figure.

    Args:
        scenarios: Of one results folder; each gets a panel, but for a profile.
        kind: One of KINDS.
        choice: What is shown of them.
        file: Ends in .pdf, .svg or .png.

    Raises:
        UsageError: If there is nothing to draw, or the file has another suffix or cannot be written.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"The figure {str(file)!r} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    drawn: Mapping[Kind, Callable[[Sequence[Scenario], Choice], Figure]] = {
        "curves": _curves,
        "profile": _profile,
        "cost": _cost,
        "table": _tables,
        "gallery": _gallery,
    }
    with plain_style({**STYLE, **_FONTS}):
        figure = drawn[kind](_checked(scenarios, choice), choice)
        try:
            save_figure(figure, file)
        except OSError as error:
            raise UsageError(f"The figure {str(file)!r} cannot be written: {error.strerror}.") from error


def chosen(scenarios: Sequence[Scenario], models: Sequence[str]) -> list[Scenario]:
    """Return the scenarios of these models, named with or without a guidance scale as in "digits-ot, w = 2"; all if none.

    Raises:
        UsageError: If there is none of a name, or no scenario at all.
    """
    if not scenarios:
        raise UsageError("There are no results to draw.")
    for name in models:
        if not any(name in (each.model, each.title) for each in scenarios):
            known = "; ".join(each.title for each in scenarios)
            raise UsageError(f"These results have no model {name!r}; they have {known}.")
    return [each for each in scenarios if not models or each.model in models or each.title in models]


def _checked(scenarios: Sequence[Scenario], choice: Choice) -> Sequence[Scenario]:
    """Return the scenarios; UsageError if one lacks the metric, or if a solver stands in none of them."""
    for scenario in scenarios:
        _measure(scenario, choice)
    known = dict.fromkeys(solver for scenario in scenarios for solver in scenario.kinds)
    unknown = [solver for solver in choice.solvers if solver not in known]
    if unknown:
        titles = " and ".join(scenario.title for scenario in scenarios[:3]) + (" and others" if len(scenarios) > 3 else "")
        raise UsageError(f"There is no solver {unknown[0]!r} in {titles}; there are {', '.join(known)}.")
    return scenarios


def _measure(scenario: Scenario, choice: Choice) -> Measure:
    for measure in scenario.measures:
        if choice.measure in ("", measure.name):
            return measure
    known = ", ".join(measure.name for measure in scenario.measures) or "none"
    raise UsageError(f"{scenario.title} has no metric {choice.measure!r}; it has {known}.")


def _solvers(scenario: Scenario, choice: Choice) -> list[str]:
    return list(choice.solvers) or named_in(scenario, _measure(scenario, choice).name)


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels, each of that height in inches."""
    columns = 1 if width < NARROW else min(count, 2)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, k + 1) for k in range(count)]


def _curves(scenarios: Sequence[Scenario], choice: Choice) -> Figure:
    figure, panels = _panels(len(scenarios), choice.width, 2.5)
    for axes, scenario in zip(panels, scenarios, strict=True):
        measure, named = _measure(scenario, choice), _solvers(scenario, choice)
        ends = []
        for solver in dict.fromkeys([*scenario.kinds, *named]):
            curve = scenario.curve(solver, measure.name)
            if curve:
                xs, ys = [cell.nfe for cell, _ in curve], [value.value for _, value in curve]
                ends += _line(axes, solver, named, xs, ys)
                if solver in named:
                    _bars(axes, named.index(solver), curve)
        axes.set_title(label(scenario.title), fontweight="bold")
        axes.set_xlabel("NFE")
        axes.set_ylabel(label(measure.title))
        axes.set_xticks(scenario.nfe)
        _name_ends(axes, ends)
    return figure


def _line(axes: Axes, solver: str, named: Sequence[str], xs: Sequence[float], ys: Sequence[float]) -> list[Any]:
    """Draw a line, grey if it is not named; return its name, colour and last point if it is."""
    if solver not in named:
        axes.plot(xs, ys, color=REST, linewidth=0.6, zorder=1)
        return []
    place = named.index(solver)
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    axes.plot(xs, ys, color=colour, marker=marker, markersize=3.6, linewidth=1.4, zorder=20 - place)
    return [(solver, colour, xs[-1], ys[-1])]


def _bars(axes: Axes, place: int, curve: Sequence[tuple[Cell, Any]]) -> None:
    known = [(cell.nfe, value.low, value.high) for cell, value in curve if None not in (value.low, value.high)]
    if known:
        axes.vlines(*zip(*known, strict=True), color=COLOURS[place % len(COLOURS)], linewidth=1.0)


def _name_ends(axes: Axes, ends: Sequence[tuple[str, str, float, float]], height: float = 125.0) -> None:
    """Write names at the right of a panel of that height in points, beside their lines' ends and apart from each other."""
    if not ends:
        return
    axes.autoscale_view()
    bottom, top = axes.get_ylim()
    places = spread([(y - bottom) / (top - bottom) for *_, y in ends], LINE / height, 0.0, 1.0)
    for (solver, colour, _, _), place in zip(ends, places, strict=True):
        axes.annotate(
            label(solver),
            (1.0, place),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=7,
            fontweight="bold",
            annotation_clip=False,
        )


def _profile(scenarios: Sequence[Scenario], choice: Choice) -> Figure:
    rows = pd.concat([scenario.rows for scenario in scenarios])
    rows.attrs.update(scenarios[0].source.frame.attrs)
    targets = list(shared_targets(profile(rows, _measure(scenarios[0], choice).name)))
    if not targets:
        raise UsageError("A profile needs at least three scenarios, and three solvers that reach the same values.")
    figure, panels = _panels(len(targets), choice.width, 2.4)
    for axes, (target, steps) in zip(panels, targets, strict=True):
        right = max(1.03 * float(steps["tau"].max()), 1.1)
        parts = {str(solver): part for solver, part in steps.groupby("solver", sort=False)}
        order = sorted(parts, key=lambda solver: -area(parts[solver], right))
        named = [solver for solver in choice.solvers if solver in parts] or order[: len(COLOURS) - 1]
        ends = []
        for solver, part in parts.items():
            xs = [1.0, *part["tau"].astype(float), right]
            ys = [0.0, *part["share"].astype(float), float(part["share"].iloc[-1])]
            ends += _line(axes, solver, named, xs, ys)
            axes.lines[-1].set(drawstyle="steps-post", marker="", clip_on=False)
        axes.set_xscale("log", base=2)
        axes.set_xlim(1.0, right)
        axes.set_ylim(0.0, 1.03)
        ticks = [tau for tau in (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0) if tau <= right]
        axes.set_xticks(ticks, [f"{tau:g}" for tau in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title(f"best value at {target} NFE", fontweight="bold")
        axes.set_xlabel("NFE over the least that is needed")
        axes.set_ylabel("share of scenarios")
        _name_ends(axes, sorted(ends, key=lambda end: order.index(end[0]), reverse=True))
    return figure


def _cost(scenarios: Sequence[Scenario], choice: Choice) -> Figure:
    figure, panels = _panels(len(scenarios), choice.width, 2.5)
    for axes, scenario in zip(panels, scenarios, strict=True):
        measure, named = _measure(scenario, choice), _solvers(scenario, choice)
        nfe = choice.nfe or scenario.headline
        cells = [cell for cell in scenario.at(nfe) if measure.name in cell.values and cell.train_forwards is not None]
        costs = [cell.train_forwards for cell in cells if cell.train_forwards]
        if not costs:
            raise UsageError(f"{scenario.title} has no trained solver at {nfe} NFE.")
        zero, ends = min(costs) / 4, []
        for cell in cells:
            ends += _line(axes, cell.solver, named, [float(cell.train_forwards or zero)], [cell.values[measure.name].value])
            if cell.solver not in named:
                axes.lines[-1].set(marker="o", markersize=2.4)
        axes.set_xscale("log")
        ticks = [10.0**k for k in range(math.ceil(math.log10(1.5 * zero)), math.floor(math.log10(max(costs))) + 1)]
        axes.set_xticks([zero, *ticks], ["none", *(f"{tick:,.0f}" for tick in ticks)])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(label(f"{scenario.title}, {nfe} NFE"), fontweight="bold")
        axes.set_xlabel("network forwards of training")
        axes.set_ylabel(label(measure.title))
        _name_ends(axes, ends)
    return figure


def _tables(scenarios: Sequence[Scenario], choice: Choice) -> Figure:
    """Draw leaderboards as tables: the best of each NFE bold, those tied with it marked."""
    parts = []
    for scenario in scenarios:
        measure = _measure(scenario, choice)
        lines = [line for line in scenario.boards[measure.name].lines if not choice.solvers or line.solver in choice.solvers]
        parts.append((f"{scenario.title}: {measure.title}", scenario.boards[measure.name].nfe, lines))
    rows = sum(len(lines) + 3 for _, _, lines in parts)
    figure = Figure(figsize=(choice.width, 0.17 * rows + 0.2))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(rows + 0.5, 0))
    axes.axis("off")
    y = 1.0
    for title, nfe, lines in parts:
        columns = [0.42 + 0.56 * (k + 1) / len(nfe) for k in range(len(nfe))]
        axes.text(0.02, y, label(title), fontweight="bold", va="center")
        for x, n in zip(columns, nfe, strict=True):
            axes.text(x, y + 1, f"{n} NFE", ha="right", va="center")
        axes.hlines([y + 0.5, y + 1.5, y + 1.5 + len(lines)], 0.02, 0.98, color="black", linewidth=(0.9, 0.5, 0.9))
        for k, line in enumerate(lines):
            axes.text(0.02, y + 2 + k, label(line.solver), va="center")
            for x, entry in zip(columns, line.entries, strict=True):
                text = f"{entry.text} {TIE}" if entry.standing == "tied" else entry.text
                weight = "bold" if entry.standing == "best" else "normal"
                axes.text(x, y + 2 + k, label(text), ha="right", va="center", fontweight=weight)
        y += len(lines) + 3
    return figure


def _gallery(scenarios: Sequence[Scenario], choice: Choice) -> Figure:
    """Draw samples from the same noise: rows are solvers, columns NFE, and beside each row the ground truth."""
    shown = {scenario.title: _tiles(scenario, choice) for scenario in scenarios}
    missing = [title for title, tiles in shown.items() if not tiles]
    if missing:
        raise UsageError(f"There are no pictures of samples of {missing[0]}: they are in the previews of a run.")
    columns = max(len(row) for tiles in shown.values() for row in tiles.values())
    rows = sum(len(tiles) for tiles in shown.values())
    # As high as the tiles are where they fill the width beside the names.
    names = LETTER * max(len(label(solver)) for tiles in shown.values() for solver in tiles)
    side = max((choice.width - names) / columns, 0.2)
    close = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    figure = Figure(figsize=(choice.width, side * rows + HEADING * len(shown)), layout=close)
    FigureCanvasAgg(figure)
    heights = [side * len(tiles) + HEADING for tiles in shown.values()]
    parts = figure.subfigures(len(shown), height_ratios=heights, squeeze=False)[:, 0]
    for part, (title, tiles) in zip(parts, shown.items(), strict=True):
        part.suptitle(label(title), fontsize=8, fontweight="bold")
        grid = part.add_gridspec(len(tiles), columns)
        for row, (solver, pictures) in enumerate(tiles.items()):
            for column, (head, pixels) in enumerate(pictures.items()):
                axes = part.add_subplot(grid[row, column])
                axes.imshow(pixels, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.grid(visible=False)
                axes.spines[:].set_visible(False)
                if row == 0:
                    axes.set_title(head, fontsize=7)
                if column == 0:
                    axes.set_ylabel(label(solver), rotation=0, ha="right", va="center", fontsize=7)
    return figure


def _tiles(scenario: Scenario, choice: Choice) -> dict[str, dict[str, Any]]:
    """Return pictures by solver and heading: an NFE, or last the ground truth; nothing if there are no previews."""
    found: dict[str, dict[str, Any]] = {}
    for solver in _solvers(scenario, choice):
        pairs = {nfe: pair for nfe in scenario.nfe if (pair := _pair(scenario, solver, nfe)) is not None}
        if pairs:
            samples = {
                f"{nfe} NFE": pairs[nfe][0] if nfe in pairs else np.full((1, 1, 3), 255, np.uint8) for nfe in scenario.nfe
            }
            found[solver] = {**samples, "ground truth": next(iter(pairs.values()))[1]}
    return found


def _pair(scenario: Scenario, solver: str, nfe: int) -> tuple[Any, Any] | None:
    """Return a picture of a cell's first samples, and one of their ground truth; None if there is no preview."""
    cell = scenario.cell(solver, nfe)
    file = scenario.source.previews / f"{cell.key if cell else ''}.png"
    if cell is None or not file.is_file():
        return None
    with Image.open(file) as picture:
        pairs = sheet_pairs(np.asarray(picture.convert("RGB")), min(COUNT, int(cell.row["samples"])))
    if pairs is None:
        return None
    sample, truth = (
        np.concatenate([np.concatenate(list(part[k : k + 2]), axis=1) for k in (0, 2)]) if len(part) >= 4 else part[0]
        for part in pairs
    )
    return sample, truth
