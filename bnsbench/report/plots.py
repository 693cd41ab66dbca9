"""Pictures of a leaderboard: a metric over the NFE, one panel per field, and performance profiles over all fields."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, PercentFormatter

from bnsbench.media.drawing import label, plain_style
from bnsbench.report.kinds import CLASSIC, DISTILLED, LEARNED, MADE, TUNED
from bnsbench.report.leaderboard import FIELD
from bnsbench.report.matrix import field_title, readable
from bnsbench.report.profiles import area, profile, share_at, shared_targets
from bnsbench.report.solver_styles import Style, styles_of
from bnsbench.storage.files import replacing

STYLE: dict[Any, Any] = {  # Matplotlib's stubs know keys by their names
    "svg.hashsalt": "bnsbench",  # without it every file would differ
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
}


NAMED = 3
"""Learned solvers that a panel names and emphasises: its best ones."""

ROW = 0.075
"""Height of a line of text in a panel, as a share of the panel's."""

HANDLE, LETTER = 0.6, 0.066
"""Inches that a legend's mark with its margins takes, and a letter beside it."""

MOST_PANELS = 60
"""Fields that are drawn into one picture: a hundred and more rows of panels are no picture, and too large for a PNG."""


@dataclass(frozen=True)
class PanelCurve:
    """A solver's values by NFE in one panel."""

    solver: str
    nfe: tuple[int, ...]
    values: tuple[float, ...]
    kind: str

    @property
    def made(self) -> bool:
        return self.kind in MADE

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)


def draw_metric(frame: pd.DataFrame, metric: str, file: Path) -> None:
    """Draw a metric over the NFE, one panel for every field, as PNG and SVG.

    Each panel's best learned solvers, its students and its best classic solver, on a tuned grid or not, are emphasised;
    colours and markers follow from a solver's name. Nothing is drawn if no solver has a value. Of more than MOST_PANELS
    fields the first are drawn, and the figure says so.

    Args:
        frame: A leaderboard.
        metric: One of its columns.
        file: Where to draw; its suffix is replaced by .png and .svg.
    """
    panels = [(key, rows) for key, rows in frame.groupby(list(FIELD), sort=False) if rows[metric].notna().any()]
    if not panels:
        return
    with plain_style(STYLE):
        figure = _figure(panels[:MOST_PANELS], metric, frame.attrs.get("units", {}).get(metric, ""))
        if len(panels) > MOST_PANELS:
            left_out = f"The first {MOST_PANELS} of {len(panels):,} fields; the leaderboard has all of them."
            figure.suptitle(left_out, fontsize=9, x=0.01, ha="left")
        _save(figure, file)


def draw_profile(frame: pd.DataFrame, metric: str, file: Path) -> None:
    """Draw the performance profiles of a metric in dB, one panel for every target, as PNG and SVG.

    Targets that fewer than SHARED solvers reach anywhere, or that fewer than SHARED fields have, get no panel. The best
    learned solvers and the best classic one are emphasised and named.

    Args:
        frame: A leaderboard.
        metric: One of its columns, in dB.
        file: Where to draw; its suffix is replaced by .png and .svg.

    Raises:
        UsageError: If the metric is not in dB.
    """
    shared = list(shared_targets(profile(frame, metric)))
    if not shared:
        return
    with plain_style(STYLE):
        _save(_profile_figure(shared), file)


def _save(figure: Figure, file: Path) -> None:
    save_figure(figure, file.with_suffix(".png"))
    save_figure(figure, file.with_suffix(".svg"))


def save_figure(figure: Figure, file: Path) -> None:
    """Write a figure as PNG, PDF or SVG, whole or not at all, always the same bytes for it; OSError if it cannot be."""
    with replacing(file) as temporary:
        if file.suffix.lower() == ".png":
            figure.savefig(temporary, format="png", dpi=160, metadata={"Software": None})
        elif file.suffix.lower() == ".pdf":
            figure.savefig(temporary, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
        else:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


def _figure(panels: list[tuple[Any, pd.DataFrame]], metric: str, unit: str) -> Figure:
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    styles = styles_of({curve.solver: curve.made for _, part in panels for curve in _curves(part, metric)})
    width = max(7.5, 4.1 * columns)
    legend_columns = _legend_columns(styles, width)
    height = 2.9 * rows + 0.19 * math.ceil(len(styles) / legend_columns) + 0.7
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    seeds = len({key[2] for key, _ in panels}) > 1
    for index, (field, part) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_panel(axes, list(_curves(part, metric)), styles, unit)
        axes.set_title(label(field_title(field, seeds)), fontweight="bold")
        axes.set_xlabel("NFE" if index + columns >= len(panels) else "")
        axes.set_ylabel(label(f"{metric.upper()} [{unit}]") if unit and index % columns == 0 else "")
    _legend(figure, styles, legend_columns)
    return figure


def _legend_columns(names: Iterable[str], width: float) -> int:
    """Return how many columns of the names fit side by side into a figure that is so many inches wide."""
    return max(1, int(width / (HANDLE + LETTER * max(map(len, names)))))


def _legend(figure: Figure, styles: Mapping[str, Style], columns: int) -> None:
    ordered = sorted(styles, key=lambda name: (not styles[name].learned, name))
    handles = [_line(name, styles[name], emphasised=styles[name].learned) for name in ordered]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def _draw_panel(axes: Axes, curves: list[PanelCurve], styles: dict[str, Style], unit: str) -> None:
    learned = sorted((curve for curve in curves if curve.kind == LEARNED), key=lambda curve: -curve.mean)
    others = [_best([curve for curve in curves if curve.kind in kinds]) for kinds in ((DISTILLED,), (CLASSIC, TUNED))]
    named = [*learned[:NAMED], *(curve for curve in others if curve is not None)]
    for curve in curves:
        line = _line(curve.solver, styles[curve.solver], emphasised=curve in named)
        line.set_data(curve.nfe, curve.values)
        axes.add_line(line)
    axes.autoscale_view()
    axes.set_xticks(sorted({n for curve in curves for n in curve.nfe}))
    _name(axes, named, styles, unit)


def _curves(part: pd.DataFrame, metric: str) -> Iterator[PanelCurve]:
    known = part[part[metric].notna()].sort_values("nfe")
    for solver, rows in known.groupby("solver"):
        yield PanelCurve(
            str(solver), tuple(rows["nfe"].astype(int)), tuple(rows[metric].astype(float)), str(rows["kind"].iloc[0])
        )


def _best(curves: list[PanelCurve]) -> PanelCurve | None:
    """Return the curve that lies the least below the highest at each NFE, on average over the NFE that it has."""
    highest: dict[int, float] = {}
    for curve in curves:
        for n, value in zip(curve.nfe, curve.values, strict=True):
            highest[n] = max(value, highest.get(n, value))

    def gap(curve: PanelCurve) -> float:
        return sum(highest[n] - value for n, value in zip(curve.nfe, curve.values, strict=True)) / len(curve.nfe)

    return min(curves, key=gap, default=None)


def _line(solver: str, style: Style, emphasised: bool) -> Line2D:
    """Return a line without points, drawn as that solver's."""
    return Line2D(
        [],
        [],
        label=label(solver),
        color=style.colour,
        marker=style.marker,
        linewidth=(2.4 if style.learned else 1.9) if emphasised else (1.2 if style.learned else 0.9),
        markersize=5.5 if emphasised else 3.2,
        markeredgecolor="white",
        markeredgewidth=0.5,
        alpha=1.0 if emphasised else 0.6,
        zorder=2 + emphasised + style.learned,
    )


def _name(axes: Axes, curves: list[PanelCurve], styles: dict[str, Style], unit: str) -> None:
    """Name curves with their last values in the upper left corner, which rising curves leave free."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.09 * len(curves) * (high - low))
    for row, curve in enumerate(sorted(curves, key=lambda curve: -curve.mean)):
        _write(
            axes, row, f"{curve.solver}  {readable(curve.values[-1])} {unit} at {curve.nfe[-1]}", styles[curve.solver].colour
        )


def _write(axes: Axes, row: int, text: str, colour: str) -> None:
    """Write a line of text into the upper left corner of a panel."""
    axes.text(
        0.02, 0.97 - ROW * row, label(text), transform=axes.transAxes, va="top", fontsize=8, fontweight="bold", color=colour
    )


def _profile_figure(panels: list[tuple[int, pd.DataFrame]]) -> Figure:
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    kinds = {str(row.solver): str(row.kind) for _, steps in panels for row in steps.itertuples()}
    styles = styles_of({solver: kind in MADE for solver, kind in kinds.items()})
    width = max(7.5, 4.6 * columns)
    legend_columns = _legend_columns(styles, width)
    height = 3.9 * rows + 0.19 * math.ceil(len(styles) / legend_columns) + 0.7
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    right = 1.03 * max(float(steps["tau"].max()) for _, steps in panels)
    for index, (target, steps) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_profile(axes, steps, styles, right)
        axes.set_title(f"The best solver's PSNR at {target} NFE, {steps['fields'].max()} fields", fontweight="bold")
        axes.set_xlabel("NFE, over the least that a solver needs for it" if index + columns >= len(panels) else "")
        axes.set_ylabel("fields in which that many suffice" if index % columns == 0 else "")
    _legend(figure, styles, legend_columns)
    return figure


def _draw_profile(axes: Axes, steps: pd.DataFrame, styles: Mapping[str, Style], right: float) -> None:
    """Draw on a logarithmic axis in what share of the fields each solver has reached the target up to tau."""
    curves = {str(solver): part for solver, part in steps.groupby("solver", sort=False)}
    named = _named(curves, right)
    for solver, part in curves.items():
        line = _line(solver, styles[solver], emphasised=solver in named)
        line.set_data([part["tau"].iloc[0], *part["tau"], right], [0.0, *part["share"], part["share"].iloc[-1]])
        marked = range(1, len(part) + 1) if solver in named else {1, len(part)}
        line.set(drawstyle="steps-post", markevery=sorted(marked), clip_on=False)
        axes.add_line(line)
    axes.set_xscale("log", base=2)
    axes.set_xlim(1.0, right)
    # The names stand above the curves, which end at 100 %.
    axes.set_ylim(0.0, 1.04 / (0.97 - ROW * len(named)))
    ticks = [tau for tau in (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0) if tau <= right]
    axes.set_xticks(ticks, [f"{tau:g}" for tau in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    for row, solver in enumerate(named):
        shares = ", ".join(f"{share_at(curves[solver], tau):.0%} within {tau:g}" for tau in (1.1, 2.0))
        _write(axes, row, f"{solver}  {shares}", styles[solver].colour)


def _named(curves: Mapping[str, pd.DataFrame], right: float) -> list[str]:
    """Return the best learned solvers and the best classic one, best first."""
    ordered = sorted(curves, key=lambda solver: -area(curves[solver], right))
    kinds = {solver: str(part["kind"].iloc[0]) for solver, part in curves.items()}
    learned = [solver for solver in ordered if kinds[solver] == LEARNED][:NAMED]
    others = [[solver for solver in ordered if kinds[solver] in group][:1] for group in ((DISTILLED,), (CLASSIC, TUNED))]
    return [solver for solver in ordered if solver in [*learned, *others[0], *others[1]]]
