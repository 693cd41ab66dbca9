"""The table of where a solver stands among the classics, which ``train`` and ``tune`` end with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from bnsbench.cli.printing import print_table

if TYPE_CHECKING:
    from torch import Tensor

    from bnsbench.cli.training import Placing

WORST = 0.05
"""The quantile that stands for the worst samples."""


def print_placings(placings: Sequence[Placing], scales: Sequence[float], only: str = "") -> None:
    """Print the solvers, the best first: PSNR as the mean over samples, and for one scale two measures that it may flatter.

    only: print this solver and the best of the others.
    """
    from bnsbench.cli.training import TEST_SAMPLES

    several = len(scales) > 1
    first = [f"PSNR, w = {w:g}" for w in scales] if several else ["PSNR", "of mean MSE", "5 % quantile"]
    others = [placing for placing in placings if placing.solver != only]
    shown = [placing for placing in placings if not only or placing.solver == only or placing is others[0]]
    rows = [[each.solver, *_figures(each.psnr, several), each.grid] for each in shown]
    typer.echo(
        f"In dB on {TEST_SAMPLES} test samples; every classic on the best grid that a search on training noise found:"
    )
    print_table(("solver", *first, "time grid"), rows)


def _figures(psnr: Sequence[Tensor], several: bool) -> list[str]:
    if several:
        return [f"{float(each.mean()):.2f}" for each in psnr]
    (values,) = psnr
    of_mean = -10 * float((10 ** (-values / 10)).mean().log10())
    return [f"{value:.2f}" for value in (float(values.mean()), of_mean, float(values.quantile(WORST)))]
