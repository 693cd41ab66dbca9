"""The whole page: what won, all scenarios together, each by itself, and where the numbers come from."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from bnsbench._version import __version__
from bnsbench.errors import UsageError
from bnsbench.report.matrix import LEGEND
from bnsbench.report.page import figures
from bnsbench.report.page.boards import board, costs, details, sheet_table, without
from bnsbench.report.page.distillation import distillation
from bnsbench.report.page.learned import learned_tables
from bnsbench.report.page.manifest import manifest
from bnsbench.report.page.markup import Content, Html, markup, tag, void
from bnsbench.report.page.media import Allowance, gallery
from bnsbench.report.page.palette import Ink, inks, markers, rules, swatch
from bnsbench.report.page.sources import Measure, Scenario, Source, left_out, read_sources, scenarios
from bnsbench.report.page.trajectories import trajectories
from bnsbench.report.page.words import outcome
from bnsbench.report.profiles import profile, shared_targets
from bnsbench.report.views import LEGENDS, profile_sheets, view_sheets
from bnsbench.suite.store import ResultStore

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 7_900_000
"""Characters of a page up to which pictures and sounds of samples are taken in."""

Step = Callable[[str], None]


def build_page(
    folders: Sequence[ResultStore],
    *,
    previews: Path | None = None,
    verifications: Sequence[Path] = (),
    told: Step = lambda _: None,
) -> str:
    """Return the page of results as HTML that asks for nothing from anywhere.

    Args:
        folders: The results.
        previews: A folder of previews for cells whose own results folder has none.
        verifications: Files that `bnsbench verify --json` has written.
        told: Hears what is being made.

    Raises:
        UsageError: If a verification is no such file, or is of another folder.
    """
    told("reading results")
    sources = read_sources(folders, previews, verifications)
    found = list(scenarios(sources))
    kinds = {solver: kind for scenario in found for solver, kind in scenario.kinds.items()}
    for source in sources:  # solvers of scenarios that are not shown are in profiles
        kinds = kinds | dict(zip(source.frame["solver"], source.frame["kind"], strict=True)) | kinds
    colours = inks(kinds)
    told("drawing what all scenarios have in common")
    omitted = left_out(sources, found)
    before = [_won(found, colours, omitted), _together(sources, found, colours, kinds)]
    manifests = markup(map(manifest, sources))
    shown = []
    for scenario in found:
        told(f"drawing {scenario.title}")
        shown.append(_parts(scenario, colours))
    allowance = Allowance(LARGEST - sum(map(len, [*map(markup, before), *shown, manifests, *_head(colours)])))
    articles = []
    for scenario, each in zip(found, shown, strict=True):
        told(f"looking for samples of {scenario.title}")
        samples = trajectories(scenario, colours, allowance) or gallery(scenario, colours, allowance)
        articles.append(_article(scenario, each, samples))
    parts = [*before, _by_scenario(found, articles, kinds), _origin(manifests, allowance)]
    return _document(f"bnsbench: {', '.join(source.name for source in sources)}", markup(parts), colours)


def _won(found: Sequence[Scenario], colours: Mapping[str, Ink], omitted: str) -> Html:
    cards = [
        tag(
            "article",
            tag("h3", tag("a", scenario.title, href=_link(scenario))),
            tag("p", outcome(scenario)),
            figures.summary(scenario, colours),
            class_="card",
        )
        for scenario in found
    ]
    note = tag("p", omitted, class_="note") if omitted else None
    won = tag("div", cards, class_="cards") if cards else tag("p", "There are no results yet.")
    return _section("won", "What won", note, won)


def _link(scenario: Scenario) -> str:
    """Return the link to a scenario, which the page's script reads as well."""
    return f"#scenario={scenario.name}"


def _together(
    sources: Sequence[Source], found: Sequence[Scenario], colours: Mapping[str, Ink], kinds: Mapping[str, str]
) -> Html | None:
    """Return performance profiles, and gains over the best classic at every NFE, of each folder that has them.

    Profiles are over all results, gains those of the scenarios that are shown.
    """
    parts: list[Html] = []
    for number, source in enumerate(sources):
        shown = _shown_rows(source, found)
        parts += _of_source(source, shown, number, len(sources), colours, kinds)
    return _section("together", "All scenarios together", parts) if parts else None


def _shown_rows(source: Source, found: Sequence[Scenario]) -> pd.DataFrame:
    """Return the rows of a folder's leaderboard that belong to the scenarios that are shown."""
    own = [scenario for scenario in found if scenario.source is source]
    if sum(len(scenario.cells) for scenario in own) == len(source.frame):
        return source.frame
    rows = source.frame.loc[[cell.number for scenario in own for cell in scenario.cells]]
    rows.attrs.update(source.frame.attrs)
    return rows


def _of_source(
    source: Source, rows: pd.DataFrame, number: int, sources: int, colours: Mapping[str, Ink], kinds: Mapping[str, str]
) -> Iterator[Html]:
    suffix = f" ({source.name})" if sources > 1 else ""
    measures = [each for each in source.frame.attrs["measures"] if source.frame[each].notna().any()]
    if not measures:
        return
    measure = measures[0]
    try:
        steps = profile(source.frame, measure)
        gained = list(view_sheets(rows, measure, "gain"))
    except UsageError:  # the measure is not in dB
        return
    shown = []
    for target, part in shared_targets(steps):
        sheet = next(profile_sheets(steps[steps["target"] == target]))
        name = f"profile-{number}-{target}"
        drawn = figures.profile_chart(part, target, colours, name)
        caption = f"{sheet.title}, {part['fields'].max()} fields{suffix}"
        table = details("as a table", sheet_table(sheet, caption, name, colours, kinds))
        shown.append(tag("figure", tag("figcaption", caption), drawn, table))
    if shown:
        yield tag("h3", f"How many evaluations solvers need for the same {measure}{suffix}")
        yield tag("p", LEGENDS["profile"], class_="note")
        yield tag("div", shown, class_="figures")
    if gained:
        yield tag("h3", f"Gains over the best classic{suffix}")
        yield tag("p", LEGENDS["gain"], class_="note")
        for sheet in gained:
            caption = f"{sheet.title}: gain in {measure}{suffix}"
            yield details(caption, sheet_table(sheet, caption, f"gain-{number}-{sheet.title.split()[0]}", colours, kinds))


def _by_scenario(found: Sequence[Scenario], shown: Sequence[Html], kinds: Mapping[str, str]) -> Html | None:
    if not found:
        return None
    measures = dict.fromkeys(measure.name for scenario in found for measure in scenario.measures)
    nfe = sorted({n for scenario in found for n in scenario.nfe})
    controls = [
        _choice("scenario", "Scenario", {scenario.name: scenario.title for scenario in found}),
        _choice("measure", "Measure", {name: name for name in measures}),
        _choice("nfe", "NFE", {"": "all", **{str(n): str(n) for n in nfe}}),
        tag("label", "Solver ", void("input", type="search", id="solver", placeholder="part of a name")),
        tag(
            "span",
            (_checkbox(f"kind-{kind}", kind, data_kind=kind) for kind in dict.fromkeys(kinds.values())),
            class_="kinds",
        ),
        tag("span", _checkbox("ends", "intervals"), _checkbox("rank", "ranks", checked=False), class_="kinds"),
    ]
    bar = tag("div", controls, class_="bar", role="group", aria_label="What is shown")
    status = tag("p", id="status", role="status", class_="note")
    return _section("scenarios", "Scenario by scenario", bar, status, tag("p", LEGEND, class_="note"), shown)


def _choice(name: str, label: str, options: Mapping[str, str]) -> Html:
    chosen = (tag("option", text, value=value) for value, text in options.items())
    return tag("label", f"{label} ", tag("select", chosen, id=name))


def _checkbox(name: str, label: str, checked: bool = True, **data: str) -> Html:
    box = void("input", type="checkbox", id=name, checked=checked, **data)
    return tag("label", box, f" {label}")


def _parts(scenario: Scenario, colours: Mapping[str, Ink]) -> Html:
    """Return everything of one scenario but samples."""
    parts: list[Content] = [tag("h3", scenario.title), tag("p", outcome(scenario)), _legend(scenario, colours)]
    parts += [_panel(scenario, measure, colours) for measure in scenario.measures]
    parts += [] if scenario.measures else [without(scenario)]
    parts += [*_needed(scenario, colours), *_costs(scenario, colours)]
    students = distillation(scenario, colours, f"{scenario.name}-distillation")
    parts += [] if students is None else [tag("h4", "Distillation"), students]
    tables = learned_tables(scenario, colours)
    parts += [] if tables is None else [tag("h4", "Learned tables"), tables]
    return markup(parts)


def _article(scenario: Scenario, parts: Html, samples: Html | None) -> Html:
    """Return everything of one scenario, which the page's controls show and hide."""
    shown = None if samples is None else [tag("h4", "Samples"), samples]
    name = _link(scenario).removeprefix("#")
    return tag("article", parts, shown, class_="scenario", id=name, data_scenario=scenario.name, hidden=True)


def _legend(scenario: Scenario, colours: Mapping[str, Ink]) -> Html:
    """Return a button for every solver, which takes it out of the figures and back; a small screen begins without them."""
    buttons = [
        tag(
            "button",
            swatch(colours[solver]),
            solver,
            type="button",
            aria_pressed="true",
            data_toggle=colours[solver].number,
            data_s=colours[solver].number,
            data_k=kind,
        )
        for solver, kind in scenario.kinds.items()
    ]
    every = (tag("button", text, type="button", data_all=text) for text in ("all", "named", "none"))
    inner = tag("div", tag("span", every), buttons, role="group", aria_label="Solvers in figures")
    return tag("details", tag("summary", "Solvers in figures"), inner, class_="legend", open=True)


def _panel(scenario: Scenario, measure: Measure, colours: Mapping[str, Ink]) -> Html:
    name = f"{scenario.name}-{_slug(measure.name)}"
    drawn = figures.curves(scenario, measure, colours, name)
    heading = tag("h4", f"{measure.title} over NFE")
    table = board(scenario, measure, colours, name)
    return tag("section", heading, drawn, table, class_="panel", data_measure=measure.name, aria_label=measure.name)


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)


def _needed(scenario: Scenario, colours: Mapping[str, Ink]) -> list[Content]:
    """Return the table of the NFE that values in dB need."""
    measure = next((each for each in scenario.measures if each.unit == "dB" and each.direction == "higher"), None)
    if measure is None:
        return []
    sheets = list(view_sheets(scenario.rows, measure.name, "nfe"))
    if not sheets:
        return []
    caption = f"{scenario.title}: NFE needed for {measure.title}"
    table = sheet_table(sheets[0], caption, f"{scenario.name}-needed", colours, scenario.kinds)
    return [tag("h4", f"NFE needed for a {measure.name}"), tag("p", LEGENDS["nfe"], class_="note"), table]


def _costs(scenario: Scenario, colours: Mapping[str, Ink]) -> list[Content]:
    """Return the first measure against what it costs, with the table of costs."""
    if not scenario.measures:
        return []
    measure, name = scenario.measures[0], f"{scenario.name}-costs"
    drawn: list[Content] = []
    for nfe in scenario.nfe:
        shown = figures.over_training(scenario, measure, nfe, colours, name)
        if shown is not None:
            caption = f"{measure.name} at {nfe} NFE over what training took"
            drawn.append(tag("figure", tag("figcaption", caption), shown, data_n=nfe))
    seconds = figures.over_seconds(scenario, measure, colours, name)
    if seconds is not None:
        drawn.append(tag("figure", tag("figcaption", f"{measure.name} over the seconds of a sample"), seconds))
    return [
        tag("h4", "What it costs"),
        tag("div", drawn, class_="figures"),
        _of_several_devices(scenario.devices),
        costs(scenario, colours, name),
    ]


def _of_several_devices(devices: Sequence[str]) -> Html | None:
    if len(devices) < 2:
        return None
    told = f"Seconds were taken on several devices ({', '.join(devices)}): they do not compare solvers, and are not drawn."
    return tag("p", told, class_="note")


def _origin(manifests: Html, allowance: Allowance) -> Html:
    left_out = (
        f"{allowance.refused} pictures and sounds were left out, to keep this file small." if allowance.refused else ""
    )
    return _section("origin", "Where the numbers come from", tag("p", left_out) if left_out else None, manifests)


def _section(name: str, title: str, *content: Content) -> Html:
    return tag("section", tag("h2", title), content, id=name, aria_label=title)


def _document(title: str, body: Html, colours: Mapping[str, Ink]) -> str:
    style, script = _head(colours)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; media-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    return Template(_template("page.html")).substitute(
        title=markup(title),
        policy=policy,
        style=style,
        script=script,
        body=body,
        markers=markers(),
        version=markup(__version__),
    )


def _head(colours: Mapping[str, Ink]) -> tuple[str, str]:
    """Return the style and the script of a page."""
    return _template("style.css") + rules(colours), _template("script.js")


def _template(name: str) -> str:
    return (files("bnsbench.report.page") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
