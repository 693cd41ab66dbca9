"""What kind of solver a record is of: a classic on its plain grid, a tuned one, a learned one, or one that runs directly."""

from __future__ import annotations

from collections.abc import Sequence

from bnsbench.suite.record import Record

LEARNED, CLASSIC, TUNED = "learned", "classic", "tuned"


def kinds(records: Sequence[Record]) -> list[str]:
    """Return whether the solvers are "classic", "tuned", "learned" or "direct", as far as the records say it.

    A cell that did not get as far is of the kind that its solver is elsewhere.
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
