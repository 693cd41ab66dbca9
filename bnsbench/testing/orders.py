"""Measured orders of convergence, on a flow that is known in closed form."""

from __future__ import annotations

import math

from bnsbench.testing.problems import quantile_case
from bnsbench.testing.report import Verdict, failed, hint, not_applicable, passed
from bnsbench.testing.subjects import Setting, SolverSubject

LADDERS = ((120, 240), (24, 48), (12, 24))
"""Budgets between which an order is measured; the fewer evaluations are for rules that reach rounding with more.

They have many divisors, since rules that deal a budget out to steps often end with a lower order where one is left over.
"""

SLACK = 0.3
_ROUNDING = 1e-11


def order(subject: SolverSubject) -> Verdict:
    """Check that a solver converges with the declared order or a higher one."""
    slopes = [slope for setting in subject.settings if (slope := measured_order(subject, setting)) is not None]
    declared = subject.spec.order
    if not slopes:
        return passed("It is exact where its order would be measured.")
    least = min(slopes)
    if declared is None:
        return not_applicable(f"It declares no order; measured {least:.2f}.")
    if least > declared - SLACK:
        return passed(f"Measured {least:.2f}, declared {declared}.")
    finding = f"It converges with order {least:.2f}, not with {declared} as it declares."
    if subject.selection.parameters != subject.spec.parameters:
        return hint(finding, "Orders are declared for the default parameters; tell its users that these lower it.")
    return failed(finding, "Look for a wrong coefficient or a first-order start, or declare the order that it has.")


def measured_order(subject: SolverSubject, setting: Setting) -> float | None:
    """Return the slope of log error over log NFE, the lowest that there is for wrong results; None for an exact solver."""
    case, x1 = quantile_case(*setting)
    for ladder in LADDERS:
        coarse, fine = (subject.budget_from(nfe) for nfe in ladder)
        first, second = (float((subject.run(nfe, case).x1 - x1).norm()) for nfe in (coarse, fine))
        if not math.isfinite(first + second):
            return -math.inf
        if min(first, second) > _ROUNDING:
            return math.log(first / second) / math.log(fine / coarse)
    return None
