"""Where the numbers of a page come from: for every results folder its cells, environment, command, seal and verification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from bnsbench.report.page.boards import details
from bnsbench.report.page.markup import Content, Html, tag
from bnsbench.report.page.sources import Source
from bnsbench.report.results import SUMS

PLAIN = (
    *("commands", "bnsbench", "code", "python"),
    *("system", "machine", "processor", "cores", "threads", "device", "device_name"),
)
"""Entries of environment.json in their order; packages and plugins follow, and whatever else it says."""


def manifest(source: Source) -> Html:
    """Return what is known of a results folder."""
    rows = [tag("tr", tag("th", term, scope="row"), tag("td", told)) for term, told in _told(source)]
    suite = details("suite.toml", tag("pre", source.suite, tabindex=0)) if source.suite else None
    return tag("article", tag("h3", source.name), tag("table", tag("tbody", rows)), suite, class_="manifest")


def _told(source: Source) -> Iterator[tuple[str, Content]]:
    yield "cells", _cells(source)
    yield "run again", tag("code", f"bnsbench run {source.name}/{source.store.suite_file.name}")
    yield "check", tag("code", f"bnsbench verify {source.name}" + (f" --seal {source.digest}" if source.sealed else ""))
    yield (
        "seal",
        [tag("code", source.digest), " " if source.sealed else " of the files as they are now; they are not sealed"],
    )
    yield "files", _files(source)
    yield "verification", _verification(source.verification)
    if notes := source.frame.attrs.get("notes"):
        yield "notes", tag("ul", (tag("li", note) for note in notes))
    yield from _environment(source.environment)
    if source.environments > 1:
        yield "environments", f"{source.environments}, of which this is one; the others are in environments/"


def _cells(source: Source) -> str:
    counts = Counter(str(status) for status in source.frame["status"])
    missing = source.planned - len(source.frame)
    told = [f"{count:,} {status}" for status, count in counts.items()] + (
        [f"{missing:,} not run yet"] if missing > 0 else []
    )
    return f"{source.planned:,} planned: {', '.join(told) or 'none was run'}"


def _files(source: Source) -> Content:
    if not source.faults:
        return f"all are those that {SUMS} lists"
    return tag("ul", (tag("li", fault) for fault in source.faults))


def _verification(found: Mapping[str, Any] | None) -> Content:
    if found is None:
        return "nobody has given one to this page"
    agrees = "it agrees" if found.get("agrees") else "it does not agree"
    counted = ", ".join(
        f"{found[name]} {what}"
        for name, what in (("records", "records read"), ("rerun", "cells run again"))
        if isinstance(found.get(name), int)
    )
    sentences = [str(line) for name in ("faults", "unchecked", "notes") for line in found.get(name) or ()]
    return [f"{agrees}; {counted}", tag("ul", (tag("li", line) for line in sentences)) if sentences else None]


def _environment(found: Mapping[str, Any]) -> Iterator[tuple[str, Content]]:
    if not found:
        yield "environment", "environment.json is absent or damaged"
        return
    for name in (*(each for each in PLAIN if each in found), *(each for each in found if each not in PLAIN)):
        value = found[name]
        yield name.replace("_", " "), _entry(value)


def _entry(value: object) -> Content:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, list):
        return tag("ul", (tag("li", tag("code", str(each))) for each in value))
    return str(value)
