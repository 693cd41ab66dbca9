"""Where the package has its trained solvers."""

from __future__ import annotations

from pathlib import Path

from bnsbench.storage.files import name_of

SOLVERS = Path(__file__).parent / "solvers"
"""The folder of the shipped files."""


def shipped_file(name: str, guidance: float, solver: str, nfe: int, folder: Path = SOLVERS) -> Path:
    """Return the file in which a solver is shipped, if it is.

    Args:
        name: The model's selector.
        guidance: The scale w.
        solver: The solver's selector.
        nfe: Its evaluations.
        folder: Where shipped solvers are.
    """
    return folder / f"{name_of(f'{name}_w{guidance:g}_{solver}_nfe{nfe}')}.json"
