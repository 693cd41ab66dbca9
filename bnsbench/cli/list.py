"""``bnsbench list``: what there is to choose from, and all that is known about one of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsbench.cli.completion import complete_components
from bnsbench.cli.options import AsJson, PluginFiles, open_host
from bnsbench.cli.printing import print_json, print_table
from bnsbench.contract.choices import Choice, Option
from bnsbench.contract.selectors import did_you_mean, parse_selector
from bnsbench.contract.sources import BUILTIN
from bnsbench.contract.specs import (
    AnySpec,
    Budgets,
    MetricSpec,
    ModelSpec,
    PathSpec,
    ReportSpec,
    Scalar,
    SolverSpec,
    SuiteSpec,
)
from bnsbench.errors import UsageError

if TYPE_CHECKING:
    from bnsbench.contract import PluginHost

Record = AnySpec | Choice
Row = tuple[str, str]

SINGULAR = {
    "models": "model",
    "solvers": "solver",
    "metrics": "metric",
    "suites": "suite",
    "paths": "path",
    "grids": "time grid",
    "objectives": "objective",
    "families": "family of trained solvers",
    "executors": "executor",
    "reports": "report",
    "exporters": "exporter",
}
"""The kinds of things that can be listed, and what one of them is called."""

OFFERED = ("models", "solvers", "metrics", "suites", "executors", "reports", "exporters")
"""Kinds of which all are records; of paths, those of plugins are."""


def _complete_kinds_and_names(incomplete: str) -> list[str]:
    return [*(kind for kind in SINGULAR if kind.startswith(incomplete)), *complete_components(incomplete)]


def list_components(
    ctx: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND|NAME",
            help=f"{', '.join(SINGULAR)}, or a name of any kind; everything if nothing is given.",
            autocompletion=_complete_kinds_and_names,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Which of that kind is told in full.", autocompletion=complete_components),
    ] = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """List what can be used by name, or tell all about one: its parameters, budgets, reference and other names."""
    host = open_host(plugin)
    if what is None or (what in SINGULAR and name is None):
        _print_lists({kind: _records(host, kind) for kind in ([what] if what else SINGULAR)}, what, as_json)
        return
    if name is not None and what not in SINGULAR:
        raise typer.BadParameter(f"There is no kind {what!r}; {did_you_mean(what, SINGULAR)}", ctx)
    found = list(_named(host, what if name else None, name or what))
    if not found:
        raise typer.BadParameter(_unknown(host, what if name else None, name or what), ctx)
    _print_in_full(found, as_json)


def _records(host: PluginHost, kind: str) -> Sequence[Record]:
    if kind == "executors":
        from bnsbench.suite.executors import AUTO

        return AUTO, *host.executors
    if kind in OFFERED:
        records: Sequence[Record] = getattr(host, kind)
        return records
    from bnsbench.flows.known_paths import PATHS
    from bnsbench.solvers.known_grids import GRIDS
    from bnsbench.training.known_choices import FAMILIES, FORMS, OBJECTIVES

    own: dict[str, Sequence[Record]] = {
        "paths": (*PATHS, *host.paths),
        "grids": GRIDS,
        "objectives": (*OBJECTIVES, *FORMS),
        "families": FAMILIES,
    }
    return own[kind]


def _named(host: PluginHost, kind: str | None, selector: str) -> Iterator[tuple[str, Record]]:
    """Yield everything that a selector's name means, with its kind; of one kind only, if one is given."""
    text, colon, _ = selector.partition(":")
    provider, name, _ = parse_selector(text)
    # Only grids have options after a colon; every family is a solver, which tells the same.
    any_kind = ["grids"] if colon else [each for each in SINGULAR if each != "families"]
    for each in [kind] if kind else any_kind:
        for record in _records(host, each):
            known = (record.name, *record.known_as) if isinstance(record, Choice) else (record.name,)
            if name in known and provider in (None, getattr(record, "provider", BUILTIN)):
                yield each, record


def _unknown(host: PluginHost, kind: str | None, name: str) -> str:
    """Return the sentence on a name that means nothing, with other software's name of a solver explained."""
    if kind == "solvers":
        return _no_solver(host, name)
    if kind:
        return f"There is no {SINGULAR[kind]} {name!r}; {did_you_mean(name, [each.name for each in _records(host, kind)])}"
    names = [record.name for each in SINGULAR for record in _records(host, each)]
    # A kind that is spelt alike is meant rather than a component, and a solver's name elsewhere rather than its like here.
    hints = (did_you_mean(name, SINGULAR), _no_solver(host, name).partition("; ")[2], did_you_mean(name, names))
    everything = f"`bnsbench list` has all names, of {', '.join(SINGULAR)}."
    return f"There is nothing called {name!r}; {next(filter(_is_close, hints), everything)}"


def _is_close(hint: str) -> bool:
    return hint.startswith("did you mean")


def _no_solver(host: PluginHost, name: str) -> str:
    """Return the sentence on a name that no solver has; it explains those of other software."""
    try:
        host.solver(name)
    except UsageError as error:
        return str(error)
    return ""


def _print_lists(found: Mapping[str, Sequence[Record]], only: str | None, as_json: bool) -> None:
    if as_json:
        content = {kind: [asdict(record) for record in records] for kind, records in found.items()}
        print_json(content[only] if only else content)
        return
    for index, (kind, records) in enumerate(found.items()):
        if only is None:
            typer.echo(f"{'' if index == 0 else chr(10)}{kind}\n")
        columns, rows = _overview(kind, records)
        print_table(columns, rows)


def _overview(kind: str, records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of a list: what one chooses by, and in a sentence what it is."""
    between = _PROPERTIES.get(kind, ())
    rows = [[record.name, *(_properties(record) if between else ()), _summary(record)] for record in records]
    return ["name", *between, "summary"], rows


def _summary(record: Record) -> str:
    """Return a record's summary, with range and default of the options that are written, or the plugin that offers it."""
    if isinstance(record, Choice):
        ranges = [_range(each) for each in record.options if each.name in record.written and each.allowed]
        return f"{record.summary} ({'; '.join(ranges)})" if ranges else record.summary
    return record.summary if record.provider == BUILTIN else f"{record.summary} (plugin {record.provider})".lstrip()


def _range(option: Option) -> str:
    default = "" if option.default is None else f", {_value(option.default)} if not given"
    return f"{option.name} {option.allowed}{default}"


_PROPERTIES = {
    "models": ("makes", "guidable"),
    "solvers": ("order", "budgets"),
    "metrics": ("unit", "better"),
    "reports": ("file",),
    "paths": ("written",),
    "grids": ("written",),
    "objectives": ("written",),
    "families": ("written",),
}
"""Columns between name and summary."""


def _properties(record: Record) -> list[str]:
    if isinstance(record, Choice):
        return [record.written]
    if isinstance(record, ModelSpec):
        return [record.modality, _yes_or_no(record.guidable)]
    if isinstance(record, SolverSpec):
        return [_order(record), _budgets(record.budgets)]
    if isinstance(record, MetricSpec):
        return [record.unit, record.direction]
    if isinstance(record, PathSpec):
        return [":".join([record.name, *record.parameters])]
    return [record.suffix] if isinstance(record, ReportSpec) else []


def _print_in_full(found: Sequence[tuple[str, Record]], as_json: bool) -> None:
    if as_json:
        print_json([{"type": SINGULAR[kind], **asdict(record)} for kind, record in found])
        return
    for index, (kind, record) in enumerate(found):
        if index:
            typer.echo()
        print_table((SINGULAR[kind], record.name), [list(row) for row in _facts(record)])


def _facts(record: Record) -> Iterator[Row]:
    """Yield all that is known about a record, a line each; what it does not have is left out."""
    yield "summary", record.summary
    if isinstance(record, Choice):
        yield "written", record.written
        yield from (("option", _option_in_words(option)) for option in record.options)
        yield from (("known as", name) for name in record.known_as)
        return
    if isinstance(record, SuiteSpec):
        yield from (("file", str(record.file)), ("provider", record.provider))
        return
    yield from _special_facts(record)
    family = _family_of(record)
    if family is not None:
        yield "chooses", family.summary
    options = {option.name: option for option in family.options} if family else {}
    for key, value in record.parameters.items():
        described = options.get(key, Option(key, value, "see `bnsbench list grids`" if key == "grid" else ""))
        yield "parameter", _option_in_words(described)
    if isinstance(record, SolverSpec):
        yield from (("reference", text) for text in [record.reference] if text)
        yield from (("known as", name) for name in record.known_as)
    yield from (("provider", record.provider), ("version", record.version), ("target", record.target))


def _special_facts(record: AnySpec) -> Iterator[Row]:
    """Yield what only records of this kind have."""
    if isinstance(record, ModelSpec):
        yield from (("makes", record.modality), ("guidable", _yes_or_no(record.guidable)))
    elif isinstance(record, SolverSpec):
        yield "kind", record.kind
        yield from (("order", text) for text in [_order(record)] if text)
        yield from (("budgets", f"{_budgets(record.budgets)} evaluations"), ("stages", str(record.stages)))
    elif isinstance(record, MetricSpec):
        yield from (("unit", text) for text in [record.unit] if text)
        yield "better", record.direction
    elif isinstance(record, ReportSpec):
        yield "file", record.suffix


def _family_of(record: AnySpec) -> Choice | None:
    """Return what a solver that is made for a model has to choose, None for another record."""
    from bnsbench.training.known_choices import FAMILIES

    made = isinstance(record, SolverSpec) and record.trained and record.provider == BUILTIN
    return next((family for family in FAMILIES if made and family.name == record.name), None)


def _option_in_words(option: Option) -> str:
    """Return an option with its default, what it may be, and what it means."""
    named = option.name if option.default is None else f"{option.name}={_value(option.default)}"
    described = "; ".join(text for text in (option.allowed, option.meaning) if text)
    return f"{named}: {described}" if described else named


def _value(value: Scalar) -> str:
    """Return a default as it may be written; an empty text can only be left out."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "(empty)"


def _order(record: SolverSpec) -> str:
    return "" if record.order is None else str(record.order)


def _budgets(budgets: Budgets) -> str:
    first, step = budgets.minimum, budgets.step
    return f"{first}, {first + step}, {first + 2 * step}, ..."


def _yes_or_no(value: Any) -> str:
    return "yes" if value else "no"
