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

    Order 2, since the first step is DDIM's, and ``order`` + 1 from the second on; one evaluation a step, since the corrector
    takes the value that the next predictor needs.
    Also known as diffusers' UniPCMultistepScheduler.
    Not to be confused with `sa_solver`, whose Adams predictor and corrector share evaluations in the same way, nor with a
    single-step UniPC, which is not here.

    order: of the predictor, 1 to 3; the corrector's is one higher. variant: B(h) = h ("bh1") or exp(h) - 1 ("bh2").
    lower_order_final: whether the order falls to 1 in the last step and to 2 in the one before, as in the authors' code.
    """
    if order not in (1, 2, 3) or variant not in VARIANTS:
        raise UsageError(f"UniPC has orders 1 to 3 and the variants bh1 and bh2, not order {order} and variant {variant!r}.")
    x = before = x0
    past: list[Evaluation] = []
    history: list[Evaluation] = []
    for i, (s, t) in enumerate(pairwise(grid_levels(field, grid, nfe))):
        newest = Evaluation(s, predict_data(field, s, x))
        if past:  # UniC: the step to s once more, with the value at its end as well
            x = _unified_step(before, [*past, newest], s, variant)
        history.append(newest)
        # UniP: the step to t with the values before it, the newest of which is at its beginning.
        before, past = x, recent(history, min(order, nfe - i) if lower_order_final else order)
        x = _unified_step(x, past, t, variant) if past and t.finite else ddim_step(x, s, t, newest.value)
    return x


def _unified_step(x: Tensor, nodes: list[Evaluation], t: Level, variant: str) -> Tensor:
    """x_t = (sigma_t / sigma_s) x_s - alpha_t (exp(-h) - 1) D_s - alpha_t B sum_m (a_m / r_m) (D_m - D_s).

    That is Eq. 3 for the data prediction D, which integrates exp(-h) where the noise prediction integrates exp(h): -h stands
    for h throughout. The first node is at s; the others, D_m, lie at lambda_s + r_m h.
    """
    start, *others = nodes
    h = t.log_snr - start.level.log_snr
    r = [(node.level.log_snr - start.level.log_snr) / h for node in others]
    b_h = -h if variant == "bh1" else expm1(-h)  # B(-h)
    # For one difference any weight of order h does; the paper takes 1/2 (Section 3.2).
    a = [0.5] if len(r) == 1 else _weights(r, -h, b_h)
    x_t = ddim_step(x, start.level, t, start.value)
    for a_m, r_m, node in zip(a, r, others, strict=True):
        x_t = x_t - t.alpha * b_h * a_m / r_m * (node.value - start.value)
    return x_t


def _weights(r: list[float], h: float, b_h: float) -> list[float]:
    """Solve R_p(h) a_p B(h) = phi_p(h), which makes the step of order p + 1 (Theorem 3.1); h may be negative."""
    if not r:
        return []
    p = range(1, len(r) + 1)
    # R_p: its row k has the powers (r_m h)^(k - 1).
    r_p = torch.tensor([[(r_m * h) ** (k - 1) for r_m in r] for k in p], dtype=torch.float64)
    # phi_p: its entry k is h^k k! varphi_{k+1}(h); varphi_1 = (exp(h) - 1) / h and varphi_{k+1} = (varphi_k - 1 / k!) / h.
    phi_p, varphi = [], expm1(h) / h
    for k in p:
        varphi = (varphi - 1 / factorial(k)) / h
        phi_p.append(h**k * factorial(k) * varphi)
    a_p: list[float] = torch.linalg.solve(r_p, torch.tensor(phi_p, dtype=torch.float64) / b_h).tolist()
    return a_p
