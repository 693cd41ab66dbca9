"""The table of where a solver stands among the classics, which ``train`` and ``tune`` end with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from bnsbench.cli.printing import print_table

if TYPE_CHECKING:
    from bnsbench.api.placings import Placing


def print_placings(placings: Sequence[Placing], scales: Sequence[float], only: str = "") -> None:
    """Print the solvers, the best first: PSNR as the mean over samples, and for one scale two measures that it may flatter.

    only: print this solver and the best of the others.
    """
    from bnsbench.api.placings import TEST_SAMPLES

    several = len(scales) > 1
    first = [f"PSNR, w = {w:g}" for w in scales] if several else ["PSNR", "of mean MSE", "5 % quantile"]
    others = [placing for placing in placings if placing.solver != only]
    shown = [placing for placing in placings if not only or placing.solver == only or placing is others[0]]
    rows = [[each.solver, *(f"{value:.2f}" for value in _figures(each, several)), each.grid] for each in shown]
    typer.echo(
        f"In dB on {TEST_SAMPLES} test samples; every classic on the best grid that a search on training noise found:"
    )
    print_table(("solver", *first, "time grid"), rows)


def placings_as_json(placings: Sequence[Placing], scales: Sequence[float]) -> list[dict[str, object]]:
    """Return the solvers, the best first, with their figures in dB under every guidance scale."""
    return [
        {
            "solver": each.solver,
            "grid": each.grid,
            "guidance": list(scales),
            "psnr": each.means,
            "psnr_mse": each.of_mean_error,
            "psnr_p05": each.worst,
        }
        for each in placings
    ]


def _figures(placing: Placing, several: bool) -> list[float]:
    return placing.means if several else [*placing.means, *placing.of_mean_error, *placing.worst]
