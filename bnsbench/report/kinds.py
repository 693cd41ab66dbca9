"""The kinds of solvers in records: classic on its plain grid, tuned, learned, distilled, or direct, which has no table."""

from __future__ import annotations

from collections.abc import Sequence

from bnsbench.suite.record import Record

LEARNED, DISTILLED, CLASSIC, TUNED = "learned", "distilled", "classic", "tuned"
MADE = frozenset({LEARNED, DISTILLED})
"""What was trained for one model; pictures draw it strongly."""


def kinds(records: Sequence[Record]) -> list[str]:
    """Return the kinds of the records' solvers: "classic", "tuned", "learned", "distilled" or "direct".

    The record of a cell that failed early does not say it; its solver then has the kind that other records say.
    """
    own = [record.solver.get("kind") or (LEARNED if record.train_forwards else None) for record in records]
    known = {_selector(record): str(kind) for record, kind in zip(records, own, strict=True) if kind}
    return [
        str(kind or (known.get(_selector(record), CLASSIC) if record.train_forwards is None else CLASSIC))
        for record, kind in zip(records, own, strict=True)
    ]


def _selector(record: Record) -> str:
    solver = record.cell["solver"]
    return f"{solver['provider']}/{solver['name']}"
