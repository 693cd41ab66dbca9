"""The picture of a leaderboard: a metric over the NFE, one panel per field."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnsbench.report.leaderboard import FIELD
from bnsbench.report.looks import Look, looks
from bnsbench.report.matrix import readable

STYLE: dict[str, Any] = {
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


@dataclass(frozen=True)
class Curve:
    """A solver's values by NFE in one panel."""

    solver: str
    nfe: tuple[int, ...]
    values: tuple[float, ...]
    learned: bool

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)


def draw_metric(frame: pd.DataFrame, metric: str, file: Path) -> None:
    """Draw the metric over the NFE for every field, as ``file`` with the suffixes .png and .svg.

    Each panel's best learned solvers and its best other one are emphasised; colours and markers follow from a solver's
    name.
    """
    panels = [(key, rows) for key, rows in frame.groupby(list(FIELD), sort=False) if rows[metric].notna().any()]
    if not panels:
        return
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = _figure(panels, metric, frame.attrs.get("units", {}).get(metric, ""))
        figure.savefig(file.with_suffix(".png"), dpi=160, metadata={"Software": None})
        figure.savefig(file.with_suffix(".svg"), metadata={"Date": None, "Creator": None})


def _figure(panels: list[tuple[Any, pd.DataFrame]], metric: str, unit: str) -> Figure:
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    look = looks({curve.solver: curve.learned for _, part in panels for curve in _curves(part, metric)})
    legend_columns = max(3, columns * 2)
    height = 2.9 * rows + 0.19 * math.ceil(len(look) / legend_columns) + 0.7
    figure = Figure(figsize=(max(7.5, 4.1 * columns), height), layout="constrained")
    FigureCanvasAgg(figure)
    for index, ((model, guidance, seed), part) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_panel(axes, list(_curves(part, metric)), look, unit)
        seeds = len({key[2] for key, _ in panels}) > 1
        axes.set_title(f"{model}, w = {guidance:g}" + (f", seed {seed}" if seeds else ""), fontweight="bold")
        axes.set_xlabel("NFE" if index + columns >= len(panels) else "")
        axes.set_ylabel(f"{metric.upper()} [{unit}]" if unit and index % columns == 0 else "")
    ordered = sorted(look, key=lambda name: (not look[name].learned, name))
    handles = [_line(name, look[name], emphasised=look[name].learned) for name in ordered]
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns, frameon=False, fontsize=8)
    return figure


def _draw_panel(axes: Axes, curves: list[Curve], look: dict[str, Look], unit: str) -> None:
    best = _best([curve for curve in curves if not curve.learned])
    learned = sorted((curve for curve in curves if curve.learned), key=lambda curve: -curve.mean)
    named = [*learned[:NAMED], *([] if best is None else [best])]
    for curve in curves:
        line = _line(curve.solver, look[curve.solver], emphasised=curve in named)
        line.set_data(curve.nfe, curve.values)
        axes.add_line(line)
    axes.autoscale_view()
    axes.set_xticks(sorted({n for curve in curves for n in curve.nfe}))
    _name(axes, named, look, unit)


def _curves(part: pd.DataFrame, metric: str) -> Iterator[Curve]:
    known = part[part[metric].notna()].sort_values("nfe")
    for solver, rows in known.groupby("solver"):
        learned = bool((rows["train_forwards"].fillna(0) > 0).any())
        yield Curve(str(solver), tuple(rows["nfe"].astype(int)), tuple(rows[metric].astype(float)), learned)


def _best(curves: list[Curve]) -> Curve | None:
    """Return the curve that lies the least below the highest at each NFE, on average over the NFE that it has."""
    highest: dict[int, float] = {}
    for curve in curves:
        for n, value in zip(curve.nfe, curve.values, strict=True):
            highest[n] = max(value, highest.get(n, value))

    def gap(curve: Curve) -> float:
        return sum(highest[n] - value for n, value in zip(curve.nfe, curve.values, strict=True)) / len(curve.nfe)

    return min(curves, key=gap, default=None)


def _line(solver: str, look: Look, emphasised: bool) -> Line2D:
    """Return a line without points, drawn as that solver's."""
    return Line2D(
        [],
        [],
        label=solver,
        color=look.colour,
        marker=look.marker,
        linewidth=(2.4 if look.learned else 1.9) if emphasised else (1.2 if look.learned else 0.9),
        markersize=5.5 if emphasised else 3.2,
        markeredgecolor="white",
        markeredgewidth=0.5,
        alpha=1.0 if emphasised else 0.6,
        zorder=2 + emphasised + look.learned,
    )


def _name(axes: Axes, curves: list[Curve], look: dict[str, Look], unit: str) -> None:
    """Name curves with their last values in the upper left corner, which rising curves leave free."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.09 * len(curves) * (high - low))
    for row, curve in enumerate(sorted(curves, key=lambda curve: -curve.mean)):
        axes.text(
            0.02,
            0.97 - 0.075 * row,
            f"{curve.solver}  {readable(curve.values[-1])} {unit} at {curve.nfe[-1]}",
            transform=axes.transAxes,
            va="top",
            fontsize=8,
            fontweight="bold",
            color=look[curve.solver].colour,
        )
