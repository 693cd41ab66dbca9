"""The tables of learned solvers as pictures: times beside those they began from, and coefficients as a map of squares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bnsbench.errors import BnsbenchError, CorruptFileError
from bnsbench.report.kinds import CLASSIC, DISTILLED, TUNED
from bnsbench.report.page.boards import details, plain_table
from bnsbench.report.page.chart import LINE
from bnsbench.report.page.markup import Content, Html, tag, void
from bnsbench.report.page.palette import Ink, swatch
from bnsbench.report.page.sources import Cell, Scenario

if TYPE_CHECKING:
    from bnsbench.nonstationary.artefact import SolverArtefact
    from bnsbench.nonstationary.table import NonStationarySolver

FEW = 3
"""Learned solvers of a scenario up to which the tables of all NFE are drawn; of more, those at the headline NFE."""

SIDE = 250
"""The width and height of a map of coefficients."""


def learned_tables(scenario: Scenario, colours: Mapping[str, Ink]) -> Html | None:
    """Return the tables of a scenario's learned solvers, each behind a summary; None if it has none that can be read."""
    solvers = [solver for solver, kind in scenario.kinds.items() if kind not in (CLASSIC, TUNED, DISTILLED, "direct")]
    nfe = scenario.nfe if len(solvers) <= FEW else (scenario.headline,)
    drawn = [
        _drawn(cell, artefact, colours[solver], f"{scenario.name}-table-{colours[solver].number}-{n}")
        for solver in solvers
        for n in nfe
        if (cell := scenario.cell(solver, n)) is not None and (artefact := artefact_of(scenario, cell)) is not None
    ]
    return tag("div", drawn, class_="learned") if drawn else None


def artefact_of(scenario: Scenario, cell: Cell) -> SolverArtefact | None:
    """Return the file of a cell's trained solver, None if it has none that can be read."""
    record = scenario.source.record(cell.key)
    name = None if record is None else record.solver.get("file")
    if not name or "/" in str(name) or "\\" in str(name):
        return None
    from bnsbench.nonstationary.artefact import SolverArtefact  # noqa: PLC0415 (loads torch)

    try:
        return SolverArtefact.load(scenario.source.store.solvers / str(name))
    except BnsbenchError:
        return None


def _drawn(cell: Cell, artefact: SolverArtefact, ink: Ink, name: str) -> Html:
    from bnsbench.report.solver_words import origin_in_words  # noqa: PLC0415 (as above)

    start, begun = _start(artefact.training)
    table = artefact.solver
    if start is not None and (start.nfe, start.columns) != (table.nfe, table.columns):
        start = None
    pictures: list[Content] = [_times(table, start, ink), _map(table, f"{cell.solver}: its coefficients")]
    if start is not None:
        pictures.append(_map(start, f"where it began: {begun or 'its start'}"))
    told = tag("ul", (tag("li", line) for line in origin_in_words(artefact)))
    numbers = details("its numbers", _numbers(table, name, f"{cell.solver}, {cell.nfe} NFE"))
    summary = tag("summary", swatch(ink), f"{cell.solver}, {cell.nfe} NFE")
    inner = tag("div", pictures, class_="maps")
    return tag("details", summary, inner, told, numbers, data_s=ink.number, data_k=cell.kind, data_n=cell.nfe)


def _start(training: Mapping[str, Any]) -> tuple[NonStationarySolver | None, str]:
    """Return the table that a training began from, as far as its record holds it, and its name."""
    start = training.get("start")
    if not isinstance(start, Mapping):
        return None, start if isinstance(start, str) else ""
    from bnsbench.nonstationary.table import NonStationarySolver  # noqa: PLC0415 (as above)

    name = start.get("name")
    try:
        table = NonStationarySolver.from_dict(start["table"])
    except (KeyError, CorruptFileError):
        table = None
    return table, name if isinstance(name, str) else ""


def _times(table: NonStationarySolver, start: NonStationarySolver | None, ink: Ink) -> Html:
    """Draw t_i over i, with a line for the uniform grid, and hollow circles for the start's."""
    times = [float(t) for t in table.times]
    first, last, n = times[0], times[-1], table.nfe

    def place(i: int, t: float) -> tuple[float, float]:
        return 34 + (SIDE - 44) * i / n, 12 + (SIDE - 44) * (last - t) / ((last - first) or 1.0)

    (x1, y1), (x2, y2) = place(0, first), place(n, last)
    begun = [] if start is None else [place(i, float(t)) for i, t in enumerate(start.times)]
    own = [place(i, t) for i, t in enumerate(times)]
    picture = tag(
        "svg",
        void("line", class_="uniform", x1=x1, y1=y1, x2=x2, y2=y2),
        (void("circle", class_="begun", cx=round(x, 1), cy=round(y, 1), r=4.5) for x, y in begun),
        void("path", class_="line", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in own)),
        (void("circle", class_="own", cx=round(x, 1), cy=round(y, 1), r=3) for x, y in own),
        tag("text", f"{last:g}", x=24, y=round(y2 + 4, 1), text_anchor="end"),
        tag("text", f"{first:g}", x=24, y=round(y1 + 4, 1), text_anchor="end"),
        tag("text", f"evaluation 0 to {n}", x=SIDE / 2 + 10, y=SIDE - 8.0, text_anchor="middle"),
        class_=f"times s{ink.number}",
        viewBox=f"0 0 {SIDE} {SIDE}",
        role="img",
        aria_label=f"times t[i] from {first:g} to {last:g}: {', '.join(f'{t:.3f}' for t in times)}",
    )
    begun_from = "; circles: where it began" if begun else ""
    return _figure(picture, f"times, dashed: the uniform grid{begun_from}")


def _map(table: NonStationarySolver, caption: str) -> Html:
    """Draw a - 1 and the weights as squares, of which colour is the sign and opacity the root of the size."""
    rows = table.rows.tolist()
    shades = [[row[0] - 1.0, *row[1 : 1 + (i + 1) * table.columns]] for i, row in enumerate(rows)]
    largest = max(max(map(abs, row)) for row in shades) or 1.0
    squares = [
        void("rect", class_="p" if shade >= 0 else None, x=k + bool(k) / 2, y=i, fill_opacity=_opacity(shade / largest))
        for i, row in enumerate(shades)
        for k, shade in enumerate(row)
    ]
    wide = table.nfe * table.columns + 1.5
    drawn = tag(
        "svg",
        squares,
        viewBox=f"0 0 {wide:g} {table.nfe}",
        preserveAspectRatio="none",
        y=LINE,
        width=SIDE,
        height=SIDE - LINE,
    )
    weights = "b[i,j]" if table.columns == 1 else "b[i,j], c[i,j]"
    heads = (tag("text", "a", x=2, y=11), tag("text", weights, x=round(1.5 * SIDE / wide + 2, 1), y=11))
    label = f"{caption}; a within {_ends(row[0] for row in rows)}, weights up to {largest:.3g}"
    return _figure(
        tag("svg", heads, drawn, class_="map", viewBox=f"0 0 {SIDE} {SIDE}", role="img", aria_label=label), caption
    )


def _opacity(share: float) -> float:
    return round(0.04 + 0.96 * math.sqrt(abs(share)), 2)


def _ends(values: Iterator[float]) -> str:
    found = list(values)
    return f"{min(found):.3g} to {max(found):.3g}"


def _figure(picture: Html, caption: str) -> Html:
    return tag("figure", picture, tag("figcaption", caption))


def _numbers(table: NonStationarySolver, name: str, caption: str) -> Html:
    from bnsbench.report.solver_words import names_of_weights  # noqa: PLC0415 (as above)

    names = names_of_weights(table.rows)
    rows: list[list[Content]] = []
    for i, row in enumerate(table.rows.tolist()):
        weights = [f"{weight:.4f}" for weight in row[1 : 1 + (i + 1) * table.columns]]
        rows.append([str(i), f"{float(table.times[i]):.4f}", f"{row[0]:.4f}", *weights, *[""] * (len(names) - len(weights))])
    rows.append([str(table.nfe), f"{float(table.times[-1]):.4f}", *[""] * (len(names) + 1)])
    return plain_table(name, caption, ["i", "t[i]", "a[i]", *names], rows)
