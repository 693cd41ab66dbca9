"""UniPC: a predictor and a corrector in lambda that share their evaluations (Zhao et al. 2023, arXiv 2302.04867)."""

from __future__ import annotations

from itertools import pairwise
from math import expm1, factorial

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, grid_levels, predict_data, recent

VARIANTS = ("bh1", "bh2")


def unipc(
    field: VelocityField,
    x0: Tensor,
    nfe: int,
    *,
    order: int = 2,
    variant: str = "bh2",
    lower_order_final: bool = True,
    grid: Grid = "uniform",
) -> Tensor:
    """UniPC on the data prediction, multistep, corrected at every step but the last (Zhao et al. 2023, Algorithms 1 and 2).

    order: of the predictor, 1 to 3; the corrector's is one higher. variant: B(h) = h ("bh1") or exp(h) - 1 ("bh2").
    lower_order_final: whether the order falls to 1 in the last step and to 2 in the one before, as in the authors' code.
    The corrector takes the value that the next predictor needs anyway, so that it costs no evaluation.
    """
    if order not in (1, 2, 3) or variant not in VARIANTS:
        raise UsageError(f"UniPC has orders 1 to 3 and the variants bh1 and bh2, not order {order} and variant {variant!r}.")
    x = before = x0
    past: list[Evaluation] = []
    history: list[Evaluation] = []
    for i, (s, t) in enumerate(pairwise(grid_levels(field, grid, nfe))):
        newest = Evaluation(s, predict_data(field, s, x))
        if past:
            x = _correct(before, past, newest, variant)
        history.append(newest)
        before, past = x, recent(history, min(order, nfe - i) if lower_order_final else order)
        x = _predict(x, past, t, variant) if past and t.finite else ddim_step(x, s, t, newest.value)
    return x


def _predict(x: Tensor, past: list[Evaluation], t: Level, variant: str) -> Tensor:
    """UniP: the step to t with the values before it, the newest of which is at the step's beginning."""
    # For two values any weight of order h does; the paper takes 1/2 (Section 3.2).
    weights = [0.5] if len(past) == 2 else _weights(past, t, len(past) - 1, variant)
    return _unified(x, past, t, weights, variant)


def _correct(x: Tensor, past: list[Evaluation], newest: Evaluation, variant: str) -> Tensor:
    """UniC: the same step once more, with the value at its end, which comes last."""
    t = newest.level
    nodes = [*past, newest]
    weights = [0.5] if len(nodes) == 2 else _weights(nodes, t, len(nodes) - 1, variant)
    return _unified(x, nodes, t, weights, variant)


def _unified(x: Tensor, nodes: list[Evaluation], t: Level, weights: list[float], variant: str) -> Tensor:
    """Eq. 3 in its form for the data prediction: the step for a constant value, plus weighted differences from it."""
    first, *others = nodes
    x_t = ddim_step(x, first.level, t, first.value)
    for weight, ratio, other in zip(weights, _ratios(nodes, t), others, strict=True):
        scale = -t.alpha * _b(first.level.log_snr - t.log_snr, variant) * weight / ratio
        x_t = x_t + scale * (other.value - first.value)
    return x_t


def _b(hh: float, variant: str) -> float:
    """B(h) for hh = -h, since the data prediction integrates exp(-h)."""
    return hh if variant == "bh1" else expm1(hh)


def _ratios(nodes: list[Evaluation], t: Level) -> list[float]:
    """Where the nodes after the first lie, in steps from the first."""
    s = nodes[0].level.log_snr
    return [(node.level.log_snr - s) / (t.log_snr - s) for node in nodes[1:]]


def _weights(nodes: list[Evaluation], t: Level, count: int, variant: str) -> list[float]:
    """Solve R_p(h) a_p B(h) = phi_p(h), which makes the step of order ``count`` + 1 (Theorem 3.1)."""
    if count == 0:
        return []
    hh = nodes[0].level.log_snr - t.log_snr
    ratios = torch.tensor(_ratios(nodes, t), dtype=torch.float64)
    powers = torch.stack([ratios**k for k in range(count)])
    phi, right = expm1(hh) / hh - 1, []
    for k in range(1, count + 1):
        right.append(phi * factorial(k) / _b(hh, variant))
        phi = phi / hh - 1 / factorial(k + 1)
    weights: list[float] = torch.linalg.solve(powers, torch.tensor(right, dtype=torch.float64)).tolist()
    return weights
