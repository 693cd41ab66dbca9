"""UniPC: a predictor and a corrector in lambda that share their evaluations (Zhao et al. 2023, arXiv 2302.04867).

Both are the paper's Eq. 3, here for the data prediction D: with h = lambda_t - lambda_s > 0 a step from s to t is

    x_t = (sigma_t / sigma_s) x_s + alpha_t (1 - exp(-h)) D_s + alpha_t B(h) sum_m (a_m / r_m) (D_m - D_s),

where D_m was evaluated at lambda_s + r_m h. UniP has r_m < 0 throughout; UniC adds r = 1, the value at the step's end. The
weights a_p solve R_p(h) a_p B(h) = phi_p(h). The data prediction is integrated with exp(-h) where the noise prediction has
exp(h), so that B and phi_p are those of the paper's main text at -h, up to signs that make them positive.
"""

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
    """UniPC on the data prediction, multistep, corrected at every step but the last.

    Order: 2. Stages: 1. One evaluation a step, since the corrector takes the value that the next predictor needs. The first
    step is DDIM's; from the second on the order is ``order`` + 1.

    Reference: Zhao et al. 2023, UniPC, arXiv 2302.04867, Algorithms 1 and 2.

    Also known as: diffusers' UniPCMultistepScheduler; its bh1 is not a number at sigma = 0, where this takes DDIM's step.

    Not to be confused with: `sa_solver`, whose Adams predictor and corrector share evaluations in the same way; a singlestep
    UniPC, which is not here.

    When to use it: on guided models, at few evaluations.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        order: Of the predictor, 1 to 3; the corrector's is one higher.
        variant: B(h) = h ("bh1") or 1 - exp(-h) ("bh2").
        lower_order_final: Whether the order falls to 1 in the last step and to 2 in the one before, as in the authors' code.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the order, variant or grid is unknown, or the grid does not fit the steps.
    """
    if order not in (1, 2, 3) or variant not in VARIANTS:
        raise UsageError(f"UniPC has orders 1 to 3 and the variants bh1 and bh2, not order {order} and variant {variant!r}.")
    x = before = x0
    past: list[Evaluation] = []
    history: list[Evaluation] = []
    for i, (s, t) in enumerate(pairwise(grid_levels(field, grid, nfe))):
        newest = Evaluation(s, predict_data(field, s, x))
        # UniC: the last step once more from its beginning, with the value at its end, s, as well.
        if past:
            x = unified_step(before, [*past, newest], s, variant)
        # UniP: the step from s to t with the values up to s.
        history.append(newest)
        before, past = x, recent(history, min(order, nfe - i) if lower_order_final else order)
        x = unified_step(x, past, t, variant) if past and t.finite else ddim_step(x, s, t, newest.value)
    return x


def unified_step(x: Tensor, nodes: list[Evaluation], t: Level, variant: str) -> Tensor:
    """One step of Eq. 3: UniC if a node lies at its end, and otherwise UniP.

    Args:
        x: State at the first node's level s.
        nodes: Data predictions, D_s first and then D_m in any order.
        t: Level at the step's end.
        variant: Which B(h), "bh1" or "bh2".

    Returns:
        The state at t.
    """
    start, *others = nodes
    s = start.level
    h = t.log_snr - s.log_snr
    # r_m, where D_m lies in units of the step.
    r = [(node.level.log_snr - s.log_snr) / h for node in others]
    # B(h), any function h + O(h^2).
    b_h = h if variant == "bh1" else -expm1(-h)
    a_p = weights(r, h, b_h)
    # The terms in D_s are DDIM's step.
    x_t = ddim_step(x, s, t, start.value)
    for a_m, r_m, node in zip(a_p, r, others, strict=True):
        x_t = x_t + t.alpha * b_h * a_m / r_m * (node.value - start.value)
    return x_t


def weights(r: list[float], h: float, b_h: float) -> list[float]:
    """a_p of R_p(h) a_p B(h) = phi_p(h), which makes the step of order p + 1 (Theorem 3.1).

    Args:
        r: r_1 to r_p.
        h: Length of the step in lambda, above 0.
        b_h: B(h).

    Returns:
        a_1 to a_p.
    """
    if not r:
        return []
    # For p = 1 any weight 1/2 + O(h) keeps the order; the paper takes 1/2 (Section 3.2).
    if len(r) == 1:
        return [0.5]
    p = range(1, len(r) + 1)
    # R_p(h): row k has the powers (r_m h)^(k - 1).
    r_p = torch.tensor([[(r_m * h) ** (k - 1) for r_m in r] for k in p], dtype=torch.float64)
    # phi_p(h): entry k is h^k k! varphi_{k+1}(h), with varphi_k(h) the integral of exp(-h (1 - u)) u^(k-1) / (k - 1)! over u
    # from 0 to 1: varphi_1 = (1 - exp(-h)) / h and varphi_{k+1} = (1 / k! - varphi_k) / h.
    phi_p, varphi = [], -expm1(-h) / h
    for k in p:
        varphi = (1 / factorial(k) - varphi) / h
        phi_p.append(h**k * factorial(k) * varphi)
    a_p: list[float] = torch.linalg.solve(r_p, torch.tensor(phi_p, dtype=torch.float64) / b_h).tolist()
    return a_p
