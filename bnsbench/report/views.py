"""Views of a leaderboard as tables: gains, ranks with ties, performance profiles, and the NFE that a PSNR needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import pandas as pd

from bnsbench.errors import UsageError
from bnsbench.report.judging import GAIN
from bnsbench.report.leaderboard import FIELD
from bnsbench.report.matrix import Entry, Line, Sheet, field_title, known_measure, matrices, readable
from bnsbench.report.profiles import Need, needed_nfe, profile, ranks, share_at

View = Literal["standings", "gain", "ranks", "profile", "nfe"]
VIEWS: tuple[View, ...] = get_args(View)

TAUS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)

LEGENDS: dict[View, str] = {
    "gain": "Gain in dB over the best classic of the same field and NFE, plain or tuned, with its paired 95 % interval (?"
    " where samples cannot be paired), and beside it the gain over the best classic that was not tuned.",
    "ranks": "2-4: the noise leaves open whether the solver is second, third or fourth: one is better than it, and all but"
    " four are worse (paired over the same samples, all pairs of a column at once, Holm, 95 %).",
    "profile": "Share of the fields in which a solver needs at most tau times the NFE of the best solver for the PSNR that"
    " the best has at the NFE in the title; between measured NFE, PSNR is linear. In brackets, the fields it was to run on.",
    "nfe": "NFE at which the PSNR, linear between measured NFE, first reaches the value; <= n: exceeded already at n, the"
    " smallest that was measured; > n: not reached at n, the largest.",
}


def known_view(name: str) -> View:
    """Return the view of that name; UsageError if there is none."""
    for view in VIEWS:
        if view == name:
            return view
    raise UsageError(f"There is no view {name!r}; views are {', '.join(VIEWS)}.")


def view_frame(frame: pd.DataFrame, measure: str, view: View) -> pd.DataFrame:
    """Return the numbers of a view: the whole leaderboard, `gains_over_classics`, `ranks`, `profile` or `needed_nfe`.

    Args:
        frame: A leaderboard.
        measure: One of its measures; profiles and NFE need one in dB.
        view: One of VIEWS.

    Raises:
        UsageError: If there is no such view or measure, or the view needs one in dB.
    """
    if known_view(view) == "standings":
        return frame
    return {"gain": gains_over_classics, "ranks": ranks, "profile": profile, "nfe": needed_nfe}[view](frame, measure)


def gains_over_classics(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return for every learned solver's cell its gain over the best classic, and that classic.

    Columns: model, guidance, seed, solver, nfe, the measure, gain, gain_low, gain_high, gain_untuned, train_forwards; over
    (the best classic), over_rule, over_grid, over_value, over_train_forwards. See `bnsbench.report.gains.Gain`.
    """
    known_measure(frame, measure)
    cell, figures, facts = [*FIELD, "nfe"], [part.removeprefix("_") for part in GAIN], ["rule", "grid", "train_forwards"]
    columns = [*FIELD, "solver", "nfe", measure, *figures[:-1], "train_forwards", "over"]
    if f"{measure}{GAIN[0]}" not in frame.columns:
        return pd.DataFrame(columns=[*columns, "over_rule", "over_grid", "over_value", "over_train_forwards"])
    named = {f"{measure}{part}": name for part, name in zip(GAIN, (*figures[:-1], "over"), strict=True)}
    rows = frame.reindex(columns=[*frame.columns, *(set(named) - set(frame.columns))]).rename(columns=named)
    classics = frame[[*cell, "solver", *facts, measure]].rename(
        columns={"solver": "over", measure: "over_value", **{name: f"over_{name}" for name in facts}}
    )
    return rows[rows["gain"].notna()][columns].merge(classics, how="left", on=[*cell, "over"])


def view_sheets(frame: pd.DataFrame, measure: str, view: View) -> Iterator[Sheet]:
    """Yield the tables of a view, one for each field; of gains, one for each NFE; of a profile, one for each target.

    Args:
        frame: A leaderboard.
        measure: One of its measures; profiles and NFE need one in dB.
        view: One of VIEWS.

    Raises:
        UsageError: If there is no such view or measure, or the view needs one in dB.
    """
    if view == "standings":
        yield from (matrix.sheet for matrix in matrices(frame, measure))
        return
    numbers = view_frame(frame, measure, view)
    if view == "profile":
        yield from profile_sheets(numbers)
        return
    seeds = numbers["seed"].nunique() > 1
    if view == "gain":
        yield from (_gains(str(nfe), rows, seeds) for nfe, rows in numbers.groupby("nfe"))
        return
    for key, rows in numbers.groupby(list(FIELD), sort=False):
        title = field_title(key, seeds)
        yield _ranks(title, rows) if view == "ranks" else _needs(title, rows)


def _gains(nfe: str, rows: pd.DataFrame, seeds: bool) -> Sheet:
    """Return a table of the learned solvers of all fields at one NFE."""
    lines = []
    for _, row in rows.iterrows():
        name = f"{field_title([row[part] for part in FIELD], seeds)}: {row['solver']}"
        ends = "?" if pd.isna(row["gain_low"]) else f"{row['gain_low']:+.2f} to {row['gain_high']:+.2f}"
        untuned = "" if pd.isna(row["gain_untuned"]) else f"{row['gain_untuned']:+.2f}"
        texts = (f"{row['gain']:+.2f}", ends, readable(float(row["over_value"])), _over(row), untuned)
        lines.append(Line(name, tuple(Entry(text) for text in texts)))
    return Sheet(f"{nfe} NFE", ("gain", "95 %", "best classic", "which", "over untuned"), tuple(lines), head="field")


def _over(row: pd.Series[Any]) -> str:
    """Return the name of the best classic, with the rule that the solver "tuned" has chosen."""
    rule = str(row["over_rule"] or "")
    return f"{row['over']} ({rule})" if rule and row["over"] == "tuned" else str(row["over"])


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


def profile_sheets(profiles: pd.DataFrame) -> Iterator[Sheet]:
    """Yield a table of shares for every target of performance profiles; see `bnsbench.report.profiles.profile`."""
    for target, rows in profiles.groupby("target"):
        lines = []
        for solver, part in rows.groupby("solver", sort=False):
            shares = [share_at(part, tau) for tau in TAUS]
            entries = tuple(Entry(f"{100 * share:.0f} %") for share in shares)
            lines.append(Line(f"{solver} ({part['fields'].iloc[0]})", entries, -sum(shares)))
        yield Sheet(f"the best solver's PSNR at {target} NFE", tuple(f"{tau:g}" for tau in TAUS), _sorted(lines), of="tau")


def _sorted(lines: list[Line]) -> tuple[Line, ...]:
    return tuple(sorted(lines, key=lambda line: line.gap or 0.0))
