"""A look at the files of trained solvers behind finished records, without loading torch."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bnsbench.errors import CorruptFileError
from bnsbench.storage.strict_json import read_json
from bnsbench.suite.record import Record

PARTS = ("name", "model", "fingerprint", "guidance", "path", "interval", "training")
"""What a solver file holds beside the table."""


def fault_of(file: Path, record: Record) -> str:
    """Return what is wrong with the solver file of a record, as the end of a sentence on the file; "" if nothing is.

    Args:
        file: Where it should be.
        record: That of a trained or tuned solver, which knows the fingerprint of its table.
    """
    if not file.exists():
        return "is missing"
    try:
        content = read_json(file)
        if not isinstance(content, dict) or not content.keys() >= {*PARTS, "solver"}:
            raise CorruptFileError("it is no description of a trained solver")
        found = table_fingerprint(content["solver"])
    except CorruptFileError as error:
        return f"is damaged: {error}"
    if found != record.solver.get("fingerprint"):
        return "holds another table than the one that was measured"
    made_for = record.model.get("fingerprint")
    return "was made for another model" if made_for not in (None, content["fingerprint"]) else ""


def table_fingerprint(description: Mapping[str, Any]) -> str:
    """Return the fingerprint that `NonStationarySolver.fingerprint` gives a described table; CorruptFileError for none."""
    try:
        parts = [array("d", description["times"]), array("d", description["a"]), _square(description["b"])]
        if description.get("c") is not None:
            parts += [_square(description["c"]), array("d", [description["guidance"]])]
        n = len(parts[1])
        if not n or [len(part) for part in parts] != [n + 1, n, n * n, n * n, 1][: len(parts)]:
            raise CorruptFileError("its table has not the right size")
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise CorruptFileError("its table is none") from error
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def _square(rows: Sequence[Sequence[float]]) -> array[float]:
    """Return a matrix row by row from its rows up to the diagonal."""
    if any(len(row) > len(rows) for row in rows):
        raise CorruptFileError("its table has not the right size")
    return array("d", _filled(rows))


def _filled(rows: Sequence[Sequence[float]]) -> Iterator[float]:
    for row in rows:
        yield from row
        yield from (0.0 for _ in range(len(rows) - len(row)))
