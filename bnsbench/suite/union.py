"""One suite for results of several: the smallest one that has all of their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bnsbench.errors import UsageError
from bnsbench.suite.plan import ALIKE
from bnsbench.suite.suitefile import ModelEntry, Suite

_T = TypeVar("_T")


def joined(suites: Mapping[Path, Suite]) -> Suite:
    """Return a suite with every model, guidance scale, solver, NFE and metric of several parts of one suite.

    A suite compares everything with everything, so that it may have cells which none of the parts has.

    Args:
        suites: By their files, which errors name.

    Raises:
        UsageError: If the suites have different names or seeds, or a model in them different samples, tolerances or
            precisions.
    """
    files = list(suites)
    first = suites[files[0]]
    for file in files[1:]:
        for name in ("name", "seed"):
            _agree(name, (files[0], getattr(first, name)), (file, getattr(suites[file], name)))
    entries: dict[str, tuple[Path, ModelEntry]] = {}
    for file, suite in suites.items():
        for entry in suite.full_entries():
            before = entries.get(entry.name)
            entries[entry.name] = (file, entry) if before is None else (before[0], _joined_entry(before, (file, entry)))
    plugins = _union([suite.plugins for suite in suites.values()])
    return first.model_copy(update={"models": tuple(entry for _, entry in entries.values()), "plugins": plugins})


def _joined_entry(first: tuple[Path, ModelEntry], second: tuple[Path, ModelEntry]) -> ModelEntry:
    (file, a), (other, b) = first, second
    for name in ALIKE:
        _agree(f"{name} of {a.name}", (file, getattr(a, name)), (other, getattr(b, name)))
    lists = {name: _union([getattr(a, name), getattr(b, name)]) for name in ("solvers", "metrics")}
    numbers = {name: tuple(sorted({*getattr(a, name), *getattr(b, name)})) for name in ("guidance", "nfe")}
    return a.model_copy(update={**lists, **numbers, "gflops": a.gflops or b.gflops})


def _union(lists: Sequence[Sequence[_T]]) -> tuple[_T, ...]:
    """Return the items of all lists in the order in which they first come."""
    return tuple(dict.fromkeys(item for items in lists for item in items))


def _agree(what: str, first: tuple[Path, Any], second: tuple[Path, Any]) -> None:
    if first[1] != second[1]:
        raise UsageError(
            f"{first[0]} and {second[0]} are no parts of one suite: {what} is {first[1]} in the one and {second[1]} in the"
            " other; write a suite that has the cells of both, if there can be one, and name it by --suite."
        )
