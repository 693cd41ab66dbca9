"""Leaderboards seen otherwise: ranks with ties, performance profiles, and the NFE that a PSNR needs, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import pandas as pd

from bnsbench.report.leaderboard import FIELD
from bnsbench.report.matrix import Entry, Line, Sheet, field_title, matrices
from bnsbench.report.profiles import Need, needed, profile, ranks, share_at

View = Literal["standings", "ranks", "profile", "nfe"]
VIEWS: tuple[View, ...] = get_args(View)

TAUS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)

LEGENDS: dict[View, str] = {
    "ranks": "2-4: the noise leaves open whether the solver is second, third or fourth: one is better than it, and all but"
    " four are worse (paired over the same samples, all pairs of a column at once, Holm, 95 %).",
    "profile": "Share of the fields in which a solver needs at most tau times the NFE of the best solver for the PSNR that"
    " the best has at the NFE in the title; between measured NFE, PSNR is linear. In brackets, the fields it was to run on.",
    "nfe": "NFE at which the PSNR, linear between measured NFE, first reaches the value; <= n: exceeded already at n, the"
    " smallest that was measured; > n: not reached at n, the largest.",
}


def view_frame(frame: pd.DataFrame, measure: str, view: View) -> pd.DataFrame:
    """Return the numbers of a view: the whole leaderboard, `ranks`, `profile` or `needed`."""
    if view == "standings":
        return frame
    return {"ranks": ranks, "profile": profile, "nfe": needed}[view](frame, measure)


def view_sheets(frame: pd.DataFrame, measure: str, view: View) -> Iterator[Sheet]:
    """Yield the tables of a view, one for each field or, of a profile, one for each target."""
    if view == "standings":
        yield from (matrix.sheet for matrix in matrices(frame, measure))
        return
    numbers = view_frame(frame, measure, view)
    if view == "profile":
        yield from _profiles(numbers)
        return
    seeds = numbers["seed"].nunique() > 1
    for key, rows in numbers.groupby(list(FIELD), sort=False):
        title = field_title(key, seeds)
        yield _ranks(title, rows) if view == "ranks" else _needs(title, rows)


def _ranks(title: str, rows: pd.DataFrame) -> Sheet:
    """Return a table of ranks by NFE, sorted by their mean."""
    nfe = sorted(rows["nfe"].unique())
    lines = []
    for solver, part in rows.groupby("solver", sort=False):
        found = {n: _range(low, high) for n, low, high in zip(part["nfe"], part["rank_low"], part["rank_high"], strict=True)}
        middle = float((part["rank_low"] + part["rank_high"]).mean() / 2)
        lines.append(Line(str(solver), tuple(found.get(n, Entry("")) for n in nfe), middle))
    return Sheet(title, tuple(map(str, nfe)), _sorted(lines), of="NFE")


def _range(low: int, high: int) -> Entry:
    return Entry(str(low) if low == high else f"{low}-{high}")


def _needs(title: str, rows: pd.DataFrame) -> Sheet:
    """Return a table of needed NFE by target; first come solvers that reach the most targets, and of those the quickest."""
    targets = sorted(rows["target"].unique())
    lines = []
    for solver, part in rows.groupby("solver", sort=False):
        needs = {target: Need(*rest) for target, *rest in zip(part["target"], part["nfe"], part["bound"], strict=True)}
        missed = sum(need.bound == ">" for need in needs.values())
        quickness = sum(need.nfe for need in needs.values() if need.bound != ">")
        entries = tuple(Entry(needs[target].text if target in needs else "") for target in targets)
        lines.append(Line(str(solver), entries, 1e6 * missed + quickness))
    return Sheet(title, tuple(f"{target:g} dB" for target in targets), _sorted(lines))


def _profiles(profiles: pd.DataFrame) -> Iterator[Sheet]:
    for target, rows in profiles.groupby("target"):
        lines = []
        for solver, part in rows.groupby("solver", sort=False):
            shares = [share_at(part, tau) for tau in TAUS]
            entries = tuple(Entry(f"{100 * share:.0f} %") for share in shares)
            lines.append(Line(f"{solver} ({part['fields'].iloc[0]})", entries, -sum(shares)))
        yield Sheet(f"the best solver's PSNR at {target} NFE", tuple(f"{tau:g}" for tau in TAUS), _sorted(lines), of="tau")


def _sorted(lines: list[Line]) -> tuple[Line, ...]:
    return tuple(sorted(lines, key=lambda line: line.gap or 0.0))
