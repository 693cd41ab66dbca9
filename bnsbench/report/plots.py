"""The picture of a leaderboard: a metric over the NFE, one panel per field."""

from __future__ import annotations

import hashlib
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

from bnsbench.report.leaderboard import FIELD

COLOURS = (
    *("#4477aa", "#66ccee", "#228833", "#aa9933", "#7a6fac", "#44aa99", "#999933", "#885544"),
    *("#6699cc", "#bb8899", "#557788", "#88aa55"),
)
LEARNED = ("#d62246", "#e07a00", "#a4168f", "#7a1f1f")
MARKERS = "osD^vP*X<>"

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

    Learned solvers and each panel's best other one are emphasised; colours and markers depend on a solver's name alone.
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
    solvers = sorted({name for _, part in panels for name in part["solver"]})
    legend_lines = math.ceil(len(solvers) / max(3, columns * 2))
    height = 2.9 * rows + 0.19 * legend_lines + 0.7
    figure = Figure(figsize=(max(7.5, 4.1 * columns), height), layout="constrained")
    FigureCanvasAgg(figure)
    handles: dict[str, Any] = {}
    for index, ((model, guidance, _), part) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        handles |= _draw_panel(axes, part, metric)
        axes.set_title(f"{model}, w = {guidance:g}", fontweight="bold")
        axes.set_xlabel("NFE" if index + columns >= len(panels) else "")
        axes.set_ylabel(f"{metric.upper()} [{unit}]" if unit and index % columns == 0 else "")
    ordered = sorted(handles, key=lambda name: (handles[name].get_gid() != "learned", name))
    figure.legend(
        [handles[name] for name in ordered],
        ordered,
        loc="outside lower center",
        ncols=max(3, columns * 2),
        frameon=False,
        fontsize=8,
    )
    return figure


def _draw_panel(axes: Axes, part: pd.DataFrame, metric: str) -> dict[str, Any]:
    curves = list(_curves(part, metric))
    best = max((curve for curve in curves if not curve.learned), key=lambda curve: curve.mean, default=None)
    handles = {curve.solver: _draw_curve(axes, curve, emphasised=curve.learned or curve is best) for curve in curves}
    _label_ends(axes, [curve for curve in curves if curve.learned or curve is best])
    axes.set_xticks(sorted({n for curve in curves for n in curve.nfe}))
    return handles


def _curves(part: pd.DataFrame, metric: str) -> Iterator[Curve]:
    known = part[part[metric].notna()].sort_values("nfe")
    for solver, rows in known.groupby("solver"):
        learned = bool((rows["train_forwards"].fillna(0) > 0).any())
        yield Curve(str(solver), tuple(rows["nfe"].astype(int)), tuple(rows[metric].astype(float)), learned)


def _draw_curve(axes: Axes, curve: Curve, emphasised: bool) -> Any:
    colour, marker = _look(curve.solver, curve.learned)
    weight = 2.4 if curve.learned else 1.9 if emphasised else 0.9
    (line,) = axes.plot(
        curve.nfe,
        curve.values,
        color=colour,
        marker=marker,
        linewidth=weight,
        markersize=5.5 if emphasised else 3.2,
        markeredgecolor="white",
        markeredgewidth=0.5,
        alpha=1.0 if emphasised else 0.6,
        zorder=4 if curve.learned else 3 if emphasised else 2,
    )
    line.set_gid("learned" if curve.learned else "classic")
    return line


def _look(solver: str, learned: bool) -> tuple[str, str]:
    """Return colour and marker of a solver, which depend on its name alone and so never change between pictures."""
    number = int.from_bytes(hashlib.sha256(solver.encode()).digest()[:4], "big")
    palette = LEARNED if learned else COLOURS
    colour = LEARNED[0] if solver == "bns" else palette[number % len(palette)]
    return colour, MARKERS[number // len(palette) % len(MARKERS)]


def _label_ends(axes: Axes, curves: list[Curve]) -> None:
    """Write the names of curves at their right ends, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    height = -math.inf
    for curve in sorted(curves, key=lambda curve: curve.values[-1]):
        height = max(curve.values[-1], height + gap)
        axes.annotate(
            curve.solver,
            (curve.nfe[-1], height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            fontweight="bold",
            color=_look(curve.solver, curve.learned)[0],
            annotation_clip=False,
        )
