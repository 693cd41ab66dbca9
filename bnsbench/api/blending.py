"""A table between two trained ones, from their files."""

from __future__ import annotations

from pathlib import Path

from bnsbench.api.named import loaded
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.blending import blend as blended


def blend(first: str | Path | SolverArtefact, second: str | Path | SolverArtefact, *, guidance: float) -> SolverArtefact:
    """Return a table for a guidance scale between those of two trained tables of one model and NFE, without training.

    Times and coefficients are interpolated linearly in log(1 + w). What such a table loses against one that is trained there
    depends on the model: `transfer` measures it.

    Args:
        first: The file of a table for one guidance scale, or what `train` returned.
        second: One for another scale.
        guidance: The scale w between the two.

    Returns:
        The solver; its record names both parents, and its cost is that of both.

    Raises:
        UsageError: For tables of other models, NFE or paths, of several scales or of split columns, and for a scale that
            does not lie between theirs.
    """
    return blended(loaded(first), loaded(second), float(guidance))
