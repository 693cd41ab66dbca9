"""The picture of a solver's table: its times, its rows, and how it follows a decay."""

from __future__ import annotations

import math
from pathlib import Path as FilePath

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import FuncNorm, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bnsbench.errors import UsageError
from bnsbench.flows.paths import Path
from bnsbench.media.drawing import label, plain_style
from bnsbench.nonstationary.stability import stability, stability_limit
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.report.plots import STYLE, save_figure
from bnsbench.report.solver_styles import COLOURS, PINNED
from bnsbench.report.solver_words import names_of_weights

SUFFIXES = (".png", ".svg")

MOST_NUMBERS = 10
"""Tables of more columns have colours only: numbers would be too small to read."""

_OWN, _REFERENCE, _GREY = PINNED["dss"], COLOURS[0], "#777777"
_SIGNED = LinearSegmentedColormap.from_list("signed", ["#5b8cc0", "#f4f4f4", "#f0963c"])  # paler, to be written on
_LOG_SNRS = (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6)
_CLOSEST = 0.045  # of an axis, below which two labels would touch


def draw_table(table: NonStationarySolver, path: Path, title: str, file: FilePath) -> None:
    """Draw a solver's table: its times, its coefficients, and how it follows a decay.

    Args:
        table: The table.
        path: The Gaussian path of the fields that it is for.
        title: What stands above the picture.
        file: Ends in .png or .svg; its folder is made if there is none.

    Raises:
        UsageError: If the file has another suffix or cannot be written.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"The picture {str(file)!r} must end in {' or '.join(SUFFIXES)}.")
    with plain_style(STYLE):
        figure = _figure(table, path, title)
        try:
            save_figure(figure, file)
        except OSError as error:
            raise UsageError(f"The picture {str(file)!r} cannot be written: {error.strerror}.") from error


def _figure(table: NonStationarySolver, path: Path, title: str) -> Figure:
    figure = Figure(figsize=(11.0, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(label(f"{title}, {path.name} path"), x=0.01, ha="left", fontsize=13, fontweight="bold")
    grid = figure.add_gridspec(2, 2, width_ratios=(4, 6.5), height_ratios=(5, 2.4), hspace=0.06, wspace=0.04)
    _draw_times(figure.add_subplot(grid[0, 0]), table, path)
    rows = figure.add_subplot(grid[0, 1])
    bar = figure.colorbar(_draw_rows(rows, table), ax=rows, fraction=0.03, pad=0.01, aspect=30)
    bar.outline.set_visible(False)
    bar.set_label(f"{'b[i,j]' if table.columns == 1 else 'b[i,j], c[i,j]'}, and a[i] \N{MINUS SIGN} 1")
    bar.ax.tick_params(labelsize=8, color=_GREY)
    _draw_decay(figure.add_subplot(grid[1, :]), table)
    return figure


def _draw_times(axes: Axes, table: NonStationarySolver, path: Path) -> None:
    """Draw t_i over i beside the uniform grid, with the path's log-SNR at the right."""
    times, n = table.times.numpy(), table.nfe
    begin, end = float(times[0]), float(times[-1])
    axes.plot([0, n], [begin, end], color=_GREY, linewidth=1.0, linestyle=(0, (4, 3)), label="uniform grid")
    (line,) = axes.plot(range(n + 1), times, color=_OWN, linewidth=1.8, marker="o", markeredgecolor="white")
    line.set(markersize=min(5.5, max(2.5, 100 / n)), markeredgewidth=min(0.8, 9 / n))
    # The times as ticks along the left edge, where their density shows.
    axes.hlines(times, -0.04 * n, -0.01 * n, color=_OWN, linewidth=1.6)
    axes.set_xlim(-0.05 * n, n * 1.04)
    axes.set_ylim(begin - 0.03 * (end - begin), end + 0.03 * (end - begin))
    axes.xaxis.set_major_locator(MaxNLocator(min(n, 10), integer=True))
    axes.set_title("Times", fontweight="bold")
    axes.set_xlabel(f"evaluation i (i = {n} is the end)")
    axes.set_ylabel("time t[i], from noise to data")
    early = float(times.mean()) < (begin + end) / 2
    axes.legend(loc="upper left" if early else "lower right", bbox_to_anchor=(0.08, 0.0, 0.92, 1.0), frameon=False)
    _add_log_snr(axes, path, begin, end)


def _add_log_snr(axes: Axes, path: Path, begin: float, end: float) -> None:
    """Label the right edge with round values of the log-SNR at their times, as many as do not overlap."""
    kept: list[tuple[float, int]] = []
    for value in _LOG_SNRS:
        t = float(path.time(float(value)))
        apart = all(abs(t - other) > _CLOSEST * (end - begin) for other, _ in kept)
        if begin < t < end and apart:
            kept.append((t, value))
    right = axes.secondary_yaxis("right")
    right.set_yticks([t for t, _ in kept], [_signed(f"{value:+d}" if value else "0") for _, value in kept])
    right.set_ylabel("log(alpha / sigma) of the path")
    right.spines["right"].set_visible(True)


def _draw_rows(axes: Axes, table: NonStationarySolver) -> QuadMesh:
    """Draw a and b as a heat map and return it.

    a is coloured by a - 1, since 1 leaves x_0 as it is. Colours follow the square root of a number's size, so that small
    ones still show beside large ones.
    """
    n, numbers = table.nfe, table.rows.numpy()
    weights = n * table.columns
    known = np.tri(n, dtype=bool).repeat(table.columns, axis=1)
    shades = np.concatenate([numbers[:, :1] - 1.0, np.where(known, numbers[:, 1:], np.nan)], axis=1)
    largest = max(float(np.nanmax(np.abs(shades))), 1e-12)
    norm = FuncNorm((lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda y: np.sign(y) * y**2), -largest, largest)
    # The column of a stands apart from those of b by a gap, and is wide enough for its label.
    width = max(1.0, weights / 10)
    edges = np.concatenate([[-1.3 * width, -0.3 * width], np.arange(weights + 1)])
    padded = np.insert(shades, 1, np.nan, axis=1)
    mesh = axes.pcolormesh(edges, np.arange(n + 1), padded, cmap=_SIGNED, norm=norm, edgecolor="white")
    mesh.set_linewidth(min(0.8, 12 / weights))
    centres = [-0.8 * width, *(j + 0.5 for j in range(weights))]
    if weights <= MOST_NUMBERS:
        _write_numbers(axes, numbers, centres, table.columns)
    step, across = (1 if count <= MOST_NUMBERS else math.ceil(count / 8) for count in (n, weights))
    axes.set_xticks([centres[0], *centres[1::across]], ["a[i]", *names_of_weights(table.rows)[::across]])
    axes.set_yticks([i + 0.5 for i in range(n - 1, -1, -step)], [f"x[{i + 1}]" for i in range(n - 1, -1, -step)])
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    whole = "x[i+1] = a[i] x[0] + sum over j of b[i,j] u[j]"
    split = "b[i,j] weighs u[j] with the condition, c[i,j] without it"
    axes.set_title(f"Rows: {whole if table.columns == 1 else split}", fontweight="bold")
    return mesh


def _write_numbers(axes: Axes, numbers: NDArray[np.float64], centres: list[float], columns: int) -> None:
    for i, row in enumerate(numbers):
        known = 1 + (i + 1) * columns
        for centre, value in zip(centres[:known], row[:known], strict=True):
            axes.text(centre, i + 0.5, _short(float(value)), ha="center", va="center", fontsize=8, color="#222222")


def _short(value: float) -> str:
    """Return the number in at most six characters or so; exact zeros stand out as such."""
    if abs(value) < 1e-12:
        return "0"
    return _signed(f"{value:.3f}" if abs(value) < 10 else f"{value:.3g}")


def _signed(number: str) -> str:
    """Return a number with the minus sign that matplotlib's own labels have."""
    return number.replace("-", "\N{MINUS SIGN}")


def _draw_decay(axes: Axes, table: NonStationarySolver) -> None:
    """Draw |R(z)| and exp(z) a fifth further than the stability limit, on a logarithmic scale."""
    limit = stability_limit(table)
    bounded = limit < math.inf
    seen = 1.2 * limit if 0.1 < limit < math.inf else 2.4 * table.nfe
    z = torch.linspace(-seen, 0.0, 1201, dtype=torch.float64)
    low = max(math.exp(-seen), 1e-5)
    # Zeros of R have no place on a logarithmic axis; they leave through its bottom.
    amplification = stability(table, z).abs().clamp_min(1e-3 * low).numpy()
    axes.semilogy(z, amplification, color=_OWN, linewidth=2.4, label="|R(z)|, the table's end")
    axes.semilogy(z, z.exp(), color=_REFERENCE, linewidth=1.4, linestyle=(0, (4, 2)), label="exp(z), the true end")
    axes.axhline(1.0, color=_GREY, linewidth=0.8)
    axes.set_xlim(-seen, 0.0)
    axes.set_ylim(low, max(3.0, 1.5 * float(amplification[-1])))
    if bounded:
        axes.axvspan(-seen, -limit, color=PINNED["bns"], alpha=0.08, linewidth=0)
    stable = f"stable down to z = {_signed(f'{-limit:.4g}')}" if bounded else "stable for all z < 0"
    axes.set_title(f"Decay dx/dt = (z / T) x from x[0] = 1: {stable}", fontweight="bold")
    axes.set_xlabel("z, for an interval of length T")
    # Beside the title, where no curve comes.
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, borderaxespad=0.2)
