"""Students beside the solvers that leave the network as it is: the best learned one and the best classic, by NFE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bnsbench.report.kinds import CLASSIC, DISTILLED, LEARNED, TUNED
from bnsbench.report.leaderboard import SIZES
from bnsbench.report.page.boards import heading, solver_row, table, value_cell
from bnsbench.report.page.markup import Content, Html, tag
from bnsbench.report.page.palette import Ink
from bnsbench.report.page.sources import Cell, Measure, Scenario

NOTE = (
    "A student is a network of its own, trained to do in few steps what its teacher does in many; tables of coefficients and"
    " grids leave the network as it is. At every NFE that a student was measured at stand all students, the best learned"
    " table and the best classic by the first measure, a tuned one where there is any. Students may drift from the ground"
    " truth of the same noise and still have good samples: read distances to it beside those of distributions."
)

DISTANCES = ("fid-gt", "kid-gt", "fad-gt")
"""Metrics of the distance between distributions of samples and ground truth, of which the first one measured is shown."""

VARIETY = ("diversity", "coverage", "coverage-gt")
"""Metrics of the variety of samples, all of which are shown."""


def distillation(scenario: Scenario, colours: Mapping[str, Ink], name: str) -> Html | None:
    """Return the table of a scenario's students and their rivals by NFE; None if no student was measured.

    Args:
        scenario: The scenario.
        colours: Of the page's solvers.
        name: The table's identifier.
    """
    rows = [cell for nfe in scenario.nfe for cell in _side_by_side(scenario, nfe)]
    if not rows:
        return None
    shown = list(_shown(scenario.measures))
    head = [heading(text) for text in ("solver", "kind", "NFE", *(measure.title for measure in shown))]
    head += [heading(text) for text in ("learned numbers", "forwards of training", "pairs or images")]
    lines = [solver_row(cell.solver, cell.kind, colours[cell.solver], _entries(cell, shown), nfe=cell.nfe) for cell in rows]
    caption = f"{scenario.title}: students beside the best learned table and the best classic"
    return tag("div", tag("p", NOTE, class_="note"), table(name, caption, head, lines), class_="distillation")


def _side_by_side(scenario: Scenario, nfe: int) -> list[Cell]:
    """Return the cells of one NFE that are compared, best first; none where no student has a value."""
    if not scenario.measures:
        return []
    measure = scenario.measures[0]
    sign = -1.0 if measure.direction == "higher" else 1.0
    known = [cell for cell in scenario.at(nfe) if measure.name in cell.values]
    known.sort(key=lambda cell: sign * cell.values[measure.name].value)
    students = [cell for cell in known if cell.kind == DISTILLED]
    if not students:
        return []
    learned, tuned, classic = (
        next((cell for cell in known if cell.kind == kind), None) for kind in (LEARNED, TUNED, CLASSIC)
    )
    rivals = [cell for cell in (learned, tuned or classic) if cell is not None]
    return [cell for cell in known if cell in students or cell in rivals]


def _shown(measures: Sequence[Measure]) -> Iterator[Measure]:
    """Yield the first measure, the first distance between distributions, and all of variety."""
    yield from measures[:1]
    rest = measures[1:]
    distances = [each for name in DISTANCES for each in rest if _bare(each) == name]
    yield from distances[:1]
    yield from (each for name in VARIETY for each in rest if _bare(each) == name)


def _bare(measure: Measure) -> str:
    return measure.name.partition("[")[0].rpartition("/")[2]


def _entries(cell: Cell, shown: Sequence[Measure]) -> list[Content]:
    parameters, examples = (cell.row.get(name) for name in SIZES)
    return [
        tag("td", cell.nfe, data_v=cell.nfe),
        *(value_cell(cell, cell.nfe, measure.name) for measure in shown),
        *(_count(number) for number in (parameters, cell.train_forwards, examples)),
    ]


def _count(number: float | None) -> Html:
    """Return a count, "-" where it is not known."""
    if number is None or number != number:  # noqa: PLR0124 (NaN is what pandas has for no count)
        return tag("td", "-", data_v="")
    return tag("td", f"{int(number):,}", data_v=int(number))
