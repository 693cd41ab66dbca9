"""Solvers over all NFE and fields: ranks with ties, the NFE that a PSNR needs, and performance profiles.

Between measured NFE a solver's PSNR is taken to be linear; nothing is said beyond the smallest and the largest. What has
once been reached counts as reached, though a larger NFE may fall behind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from bnsbench.errors import UsageError
from bnsbench.report.judging import RANKS
from bnsbench.report.leaderboard import FIELD
from bnsbench.report.matrix import direction_in, known_measure, unit_of, without_attrs

STEP = 5.0
"""Decibels between the PSNRs of which the needed NFE is listed, from FIRST on."""
FIRST = 20.0

SHARED = 3
"""Solvers and fields that a target of a profile needs to be drawn: a share of two fields says little."""

Bound = Literal["", "<=", ">"]

KEYS = (*FIELD, "solver", "kind")


@dataclass(frozen=True)
class Need:
    """The NFE at which a solver reaches a target.

    bound: "<=" if the smallest measured NFE exceeds the target already, ">" if the largest does not reach it, else "".
    """

    nfe: float
    bound: Bound = ""

    @property
    def text(self) -> str:
        """The need for people, such as "5.3", "<= 4" or "> 16"."""
        return f"{self.bound} {self.nfe:.3g}".strip()


@dataclass(frozen=True)
class Curve:
    """The values of one solver in one field by increasing NFE, without the cells that have none."""

    nfe: tuple[int, ...]
    values: tuple[float, ...]

    def need(self, target: float) -> Need:
        """Return the NFE at which the curve first reaches the target."""
        if self.values[0] >= target:
            return Need(float(self.nfe[0]), "" if self.values[0] == target else "<=")
        for k in range(1, len(self.nfe)):
            if self.values[k] >= target:
                before, after = self.values[k - 1], self.values[k]
                part = (target - before) / (after - before)
                return Need(self.nfe[k - 1] + part * (self.nfe[k] - self.nfe[k - 1]))
        return Need(float(self.nfe[-1]), ">")


def ranks(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return for every cell that is ranked the measure and its range of ranks among the solvers of its column."""
    low, high = (f"{known_measure(frame, measure)}{part}" for part in RANKS)
    columns = [*FIELD, "solver", "kind", "nfe", measure, "rank_low", "rank_high"]
    if low not in frame.columns:
        return pd.DataFrame(columns=columns)
    ranked = frame[frame[low].notna()].rename(columns={low: "rank_low", high: "rank_high"})
    return ranked.astype({"rank_low": int, "rank_high": int})[columns].reset_index(drop=True)


def needed_nfe(frame: pd.DataFrame, measure: str, targets: Sequence[float] | None = None) -> pd.DataFrame:
    """Return the NFE that every solver needs for each target: columns of KEYS, target, nfe and bound (see `Need`).

    Args:
        frame: A leaderboard.
        measure: One of its measures, in dB.
        targets: In dB; None for the multiples of 5 dB from 20 on, as far as a solver of the field reaches.

    Raises:
        UsageError: If the measure is not in dB.
    """
    _require_decibels(frame, measure)
    rows = []
    for field, curves in _fields(frame, measure):
        for target in _multiples(curves.values()) if targets is None else targets:
            for (solver, kind), curve in curves.items():
                need = curve.need(target)
                rows.append((*field, solver, kind, target, need.nfe, need.bound))
    return pd.DataFrame(rows, columns=[*KEYS, "target", "nfe", "bound"])


def profile(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the share of fields in which a solver needs at most tau times the NFE of the best, for the same PSNR.

    These are performance profiles (Dolan and More 2002). Columns: target, solver, kind, tau, share, fields. A target n
    stands for a PSNR of every field, the one that its best solver has at n NFE; the best is then the solver that needs the
    fewest for it. Each row is a step: from tau on, the solver has that share of the ``fields`` in which it was to run and
    the target exists. A solver that nowhere reaches it has one row with share 0.
    """
    _require_decibels(frame, measure)
    fields = list(_fields(frame, measure))
    known = without_attrs(frame)[list(KEYS)].drop_duplicates().to_dict("records")
    planned = {(tuple(row[part] for part in FIELD), str(row["solver"])) for row in known}
    kinds = {str(row["solver"]): str(row["kind"]) for row in reversed(known)}
    kinds = {solver: kinds[solver] for solver in dict.fromkeys(str(row["solver"]) for row in known)}
    rows: list[dict[str, Any]] = []
    for target in sorted({n for _, curves in fields for curve in curves.values() for n in curve.nfe}):
        ratios = {field: found for field, curves in fields if (found := _ratios(curves, target))}
        for solver, kind in kinds.items():
            of_solver = [found.get(solver) for field, found in ratios.items() if (field, solver) in planned]
            rows += [{"target": target, "solver": solver, "kind": kind, **step} for step in _steps(of_solver)]
    return pd.DataFrame(rows, columns=["target", "solver", "kind", "tau", "share", "fields"])


def share_at(steps: pd.DataFrame, tau: float) -> float:
    """Return the share of fields of one solver and target at tau, given the steps of `profile`."""
    return float(steps[steps["tau"] <= tau]["share"].max()) if (steps["tau"] <= tau).any() else 0.0


def shared_targets(steps: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the targets of a `profile` that SHARED solvers reach somewhere and SHARED fields have, with their steps.

    Solvers that nowhere reach a target are left out.
    """
    for target, part in without_attrs(steps[steps["share"] > 0]).groupby("target"):
        if min(part["solver"].nunique(), part["fields"].max()) >= SHARED:
            yield int(str(target)), part


def area(steps: pd.DataFrame, right: float) -> float:
    """Return the area under the shares of one solver and target over log tau, from 1 to ``right``; see `profile`."""
    ends = [*steps["tau"].iloc[1:], right]
    parts = zip(steps["tau"].astype(float), steps["share"].astype(float), ends, strict=True)
    return sum((share * math.log(end / tau) for tau, share, end in parts), 0.0)


def _ratios(curves: Mapping[tuple[str, str], Curve], n: int) -> dict[str, float]:
    """Return the NFE that solvers need for the best value at n over the least that any needs, of those that reach it."""
    values = [curve.values[curve.nfe.index(n)] for curve in curves.values() if n in curve.nfe]
    if not values:
        return {}
    needs = {solver: curve.need(max(values)) for (solver, _), curve in curves.items()}
    reached = {solver: need.nfe for solver, need in needs.items() if need.bound != ">"}
    return {solver: nfe / min(reached.values()) for solver, nfe in reached.items()}


def _steps(ratios: Sequence[float | None]) -> Iterator[dict[str, Any]]:
    """Yield where the share of ratios up to tau rises; None is a field in which the target is missed."""
    reached = sorted(ratio for ratio in ratios if ratio is not None)
    if ratios and not reached:
        yield {"tau": 1.0, "share": 0.0, "fields": len(ratios)}
    for tau in dict.fromkeys(reached):
        yield {"tau": tau, "share": sum(each <= tau for each in reached) / len(ratios), "fields": len(ratios)}


def _fields(frame: pd.DataFrame, measure: str) -> Iterator[tuple[tuple[Any, ...], dict[tuple[str, str], Curve]]]:
    """Yield every field that has values, with the curves of its solvers."""
    bare = without_attrs(frame)[[*KEYS, "nfe", measure]]
    for field, rows in bare[bare[measure].notna()].groupby(list(FIELD), sort=False):
        curves = {}
        for solver, part in rows.sort_values("nfe", kind="stable").groupby("solver", sort=False):
            nfe, values = part["nfe"].astype(int), part[measure].astype(float)
            curves[str(solver), str(part["kind"].iloc[0])] = Curve(tuple(nfe), tuple(values))
        yield field, curves


def _multiples(curves: Iterable[Curve]) -> list[float]:
    highest = max(max(curve.values) for curve in curves)
    return [FIRST + k * STEP for k in range(int((highest - FIRST) // STEP) + 1)]


def _require_decibels(frame: pd.DataFrame, measure: str) -> None:
    known_measure(frame, measure)
    if unit_of(frame, measure) != "dB" or direction_in(frame, measure) != "higher":
        raise UsageError(f"What NFE a value needs is told for measures in dB, such as psnr, not for {measure!r}.")
