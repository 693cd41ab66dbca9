"""Tables of a page: leaderboards, costs and views, whose rows can be sorted and filtered, and copied as CSV or LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bnsbench.report.matrix import TIE, Sheet, readable
from bnsbench.report.page.markup import Content, Html, tag
from bnsbench.report.page.palette import Ink, swatch
from bnsbench.report.page.sources import Cell, Measure, Scenario, Value
from bnsbench.report.tables import number_text


def interval(value: Value) -> str:
    """Return the ends of a value's interval, "?" for an end that too few samples leave open; "" if it has none."""
    if value.low is None and value.high is None:
        return ""
    return " to ".join("?" if end is None else readable(end) for end in (value.low, value.high))


def board(scenario: Scenario, measure: Measure, colours: Mapping[str, Ink], name: str) -> Html:
    """Return the leaderboard of a scenario by one measure, best solvers first.

    Args:
        scenario: The scenario.
        measure: One of its measures.
        colours: Of the page's solvers.
        name: The table's identifier.
    """
    matrix = scenario.boards[measure.name]
    head = [heading("solver"), heading("kind"), *(heading(f"{n} NFE", n) for n in matrix.nfe), heading("mean gap")]
    rows = []
    for line in matrix.lines:
        cells = [value_cell(scenario.cell(line.solver, n), n, measure.name) for n in matrix.nfe]
        gap = tag("td", None if line.gap is None else readable(line.gap), data_v=_exact(line.gap))
        rows.append(solver_row(line.solver, scenario.kinds[line.solver], colours[line.solver], [*cells, gap]))
    caption = f"{scenario.title}: {measure.title}, {measure.direction} is better"
    notes = [tag("p", note, class_="note") for note in matrix.notes]
    return tag("div", table(name, caption, head, rows), notes, without(scenario, measure.name), data_measure=measure.name)


def costs(scenario: Scenario, colours: Mapping[str, Ink], name: str) -> Html:
    """Return the table of what solvers cost: forwards of training by NFE, and below them those of sampling, and seconds."""
    head = [heading("solver"), heading("kind"), *(heading(f"{n} NFE", n) for n in scenario.nfe)]
    rows = [
        solver_row(solver, kind, colours[solver], [_cost(scenario.cell(solver, n), n) for n in scenario.nfe])
        for solver, kind in scenario.kinds.items()
    ]
    caption = f"{scenario.title}: network forwards of the solver's training; below, of one sample, and its seconds"
    return table(name, caption, head, rows)


def without(scenario: Scenario, measure: str = "") -> Html | None:
    """Return a list of the cells that have no value although they were to run, each with its reason."""
    found = [cell for cell in scenario.cells if cell.status not in ("ok", "skipped") and measure not in cell.values]
    if not found:
        return None
    lines = (tag("li", f"{cell.solver}, {cell.nfe} NFE: {cell.status}", _because(cell)) for cell in found)
    return details(f"{len(found)} without a value", tag("ul", lines))


def sheet_table(sheet: Sheet, caption: str, name: str, colours: Mapping[str, Ink], kinds: Mapping[str, str]) -> Html:
    """Return a view's table; its rows bear the solvers' colours where they are solvers.

    Args:
        sheet: The table.
        caption: What it is a table of.
        name: Its identifier.
        colours: Of the page's solvers.
        kinds: Of the page's solvers.
    """
    head = [
        heading(sheet.head),
        *(heading(f"{column} {sheet.of}".strip() if sheet.of else column) for column in sheet.columns),
    ]
    rows = []
    for line in sheet.lines:
        solver = line.solver if line.solver in colours else line.solver.rpartition(" (")[0]
        entries = [tag("td", entry.text, data_v=_leading_number(entry.text)) for entry in line.entries]
        if solver in colours:
            rows.append(solver_row(line.solver, kinds[solver], colours[solver], entries, kind_column=False))
        else:
            rows.append(tag("tr", tag("th", line.solver, scope="row"), entries))
    return table(name, caption, head, rows)


def details(summary: str, *content: Content) -> Html:
    """Return content behind a summary that opens it."""
    return tag("details", tag("summary", summary), content)


def scrolled(label: str, *content: Content) -> Html:
    """Return content that scrolls sideways by itself where it is wider than the page."""
    return tag("div", content, class_="scroll", role="region", aria_label=label, tabindex=0)


def plain_table(name: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Content]]) -> Html:
    """Return a table of texts, the first of each row its heading."""
    lines = [tag("tr", tag("th", first, scope="row"), (tag("td", each) for each in rest)) for first, *rest in rows]
    return table(name, caption, [heading(column) for column in columns], lines)


def table(name: str, caption: str, head: Sequence[Html], rows: Sequence[Html]) -> Html:
    """Return a table that can be sorted, and copied as CSV or LaTeX; name: its identifier."""
    whole = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", rows), id=name, class_="sortable"
    )
    buttons = (
        tag("button", f"Copy as {form}", type="button", data_copy=form, aria_controls=name) for form in ("CSV", "LaTeX")
    )
    return tag("div", scrolled(caption, whole), tag("p", buttons, class_="copy"), class_="table")


def heading(text: str, nfe: int | None = None) -> Html:
    """Return the heading of a column, which sorts by it; of one NFE's column with that NFE."""
    return tag("th", tag("button", text, type="button", class_="sort"), scope="col", data_n=nfe)


def solver_row(
    solver: str, kind: str, ink: Ink, cells: Sequence[Content], kind_column: bool = True, nfe: int | None = None
) -> Html:
    """Return a solver's row; of a table of several NFE by rows with its own."""
    mark = swatch(ink)
    name = tag("th", mark, tag("span", solver), scope="row", data_v=solver)
    return tag(
        "tr", name, tag("td", kind, data_v=kind) if kind_column else None, cells, data_s=ink.number, data_k=kind, data_n=nfe
    )


def value_cell(cell: Cell | None, nfe: int, measure: str) -> Html:
    """Return the value of a measure with its marks, interval and ranks, or why there is none."""
    if cell is None:
        return tag("td", data_n=nfe, data_v="")
    found = cell.values.get(measure)
    if found is None:
        text = {"ok": "-", "skipped": "-"}.get(cell.status, cell.status)
        return tag("td", text, data_n=nfe, data_v="", data_row=cell.number, title=cell.reason or None)
    ends, ranks = interval(found), _ranks(found)
    mark = tag("span", TIE, title="tied with the best", class_="tie") if found.standing == "tied" else None
    return tag(
        "td",
        tag("b" if found.standing == "best" else "span", readable(found.value)),
        mark,
        tag("small", ends, class_="ends") if ends else None,
        tag("small", ranks, class_="rank") if ranks else None,
        data_n=nfe,
        data_v=number_text(found.value),
        data_row=cell.number,
    )


def _ranks(value: Value) -> str:
    if value.rank_low is None or value.rank_high is None:
        return ""
    one = value.rank_low == value.rank_high
    return f"rank {value.rank_low}" if one else f"rank {value.rank_low}-{value.rank_high}"


def _cost(cell: Cell | None, nfe: int) -> Html:
    if cell is None or cell.train_forwards is None:
        return tag("td", "" if cell is None else "-", data_n=nfe, data_v="")
    sampling = [f"{cell.forwards:,}"] if cell.forwards is not None else []
    sampling += [f"{cell.seconds:.3g} s"] if cell.seconds is not None else []
    return tag(
        "td",
        f"{cell.train_forwards:,}",
        tag("small", ", ".join(sampling)) if sampling else None,
        data_n=nfe,
        data_v=cell.train_forwards,
        data_row=cell.number,
    )


def _because(cell: Cell) -> Iterator[str]:
    if cell.reason:
        yield f" ({cell.reason})"


def _exact(value: float | None) -> str:
    return "" if value is None else number_text(value)


def _leading_number(text: str) -> str:
    """Return the number by which an entry is sorted, such as 16.001 of "> 16", the text itself if it begins with none."""
    bound, _, rest = text.rpartition(" ") if text[:1] in "<>" else ("", "", text)
    number = rest.split(" ")[0].split("-")[0] if not rest.startswith("-") else rest.split(" ")[0]
    try:
        return f"{float(number) + {'<=': -1e-3, '>': 1e6}.get(bound, 0.0):.10g}"
    except ValueError:
        return text
