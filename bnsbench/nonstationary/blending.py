"""A table for a guidance scale between those of two trained ones, by interpolation of their numbers.

The family is closed under changes of scale and time, so numbers are interpolated on the canonical path, where one field has
one best table; see `bnsbench.nonstationary.change_of_path`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from bnsbench.errors import UsageError
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.flows.network_state import NetworkState
from bnsbench.flows.paths import CANONICAL
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.change_of_path import on_path
from bnsbench.nonstationary.table import NonStationarySolver

BLEND = "blend"
"""The name of what was interpolated."""


def blend(first: SolverArtefact, second: SolverArtefact, guidance: float) -> SolverArtefact:
    """Return a table for a guidance scale between those of two tables of one model and NFE.

    Times and coefficients are linear in log(1 + w) from one table to the other. What it does on a model is not known before
    it is measured there, as `bnsbench transfer` does.

    Args:
        first: A table for one guidance scale.
        second: One for another scale.
        guidance: The scale w between the two.

    Returns:
        The table, with its parents in its record; it has cost what both have cost.

    Raises:
        UsageError: For tables of other models, NFE or paths, of several scales or of split columns, and for a scale that
            does not lie between theirs.
    """
    _check_pair(first, second)
    low, high = (_scale(each) for each in (first, second))
    if not min(low, high) <= guidance <= max(low, high) or low == high:
        raise UsageError(f"The guidance {guidance:g} does not lie between those of the two tables, {low:g} and {high:g}.")
    share = (math.log1p(guidance) - math.log1p(low)) / (math.log1p(high) - math.log1p(low))
    one, other = (on_path(each.solver, each.path, CANONICAL) for each in (first, second))
    mixed = NonStationarySolver.from_rows(torch.lerp(one.times, other.times, share), torch.lerp(one.rows, other.rows, share))
    ends = torch.tensor(first.interval, dtype=torch.float64)
    return replace(
        first,
        solver=on_path(mixed, CANONICAL, first.path, ends).validated(),
        guidance=float(guidance),
        name=BLEND,
        training=_record(first, second, share),
        network=_common(first.network, second.network),
    )


def trained_kind(artefact: SolverArtefact) -> str:
    """Return the name of the solver that was trained: of a blend that of its first parent, if it says one."""
    parents: Any = artefact.training.get("parents")
    if artefact.name != BLEND or not isinstance(parents, list) or not parents or not isinstance(parents[0], Mapping):
        return artefact.name
    return str(parents[0].get("name", BLEND))


def _check_pair(first: SolverArtefact, second: SolverArtefact) -> None:
    """Raise UsageError unless two tables belong to one model and have one size."""
    facts: dict[str, list[object]] = {
        "models": [each.fingerprint for each in (first, second)],
        "paths": [(each.path, tuple(each.interval)) for each in (first, second)],
        "NFE": [each.solver.nfe for each in (first, second)],
    }
    for what, (one, other) in facts.items():
        if one != other:
            raise UsageError(f"The two tables are for other {what}, and only tables of one model and NFE can be blended.")
    if first.solver.guidance is not None or second.solver.guidance is not None:
        raise UsageError("A table of split columns is for its own guidance alone: blend two of columns=guided.")


def _scale(artefact: SolverArtefact) -> float:
    scales = artefact.scope.guidance
    if len(scales) != 1 or not scales[0] > -1:
        raise UsageError(f"A table to blend is for one guidance scale above -1, not for {guidance_in_words(scales)}.")
    return scales[0]


def _record(first: SolverArtefact, second: SolverArtefact, share: float) -> dict[str, Any]:
    """Return the record of what was interpolated: its parents, how much each counts, and what both have cost."""
    spent: Counter[str] = Counter()
    parents = []
    for artefact, counts in ((first, 1.0 - share), (second, share)):
        forwards = artefact.training.get("forwards")
        spent.update(forwards if isinstance(forwards, Mapping) else {})
        origin = {"name": trained_kind(artefact), "guidance": _scale(artefact), "table": artefact.solver.fingerprint()}
        parents.append({**origin, "share": counts})
    return {"kind": BLEND, "parents": parents, "forwards": dict(spent)}


def _common(one: NetworkState, other: NetworkState) -> NetworkState:
    """Return what two networks have in common; in what they differ is not known."""
    return NetworkState(**{name: value if value == vars(other)[name] else None for name, value in vars(one).items()})
