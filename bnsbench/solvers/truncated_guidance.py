"""Truncated guidance: a classic method whose later steps leave out the network's answer without the condition.

An evaluation under classifier-free guidance is two forwards, so that the forwards that are left out pay for more steps.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import HasConditional, VelocityField
from bnsbench.flows.guidance import one_scale, unguided
from bnsbench.solvers.adams_bashforth import ab2, ab3
from bnsbench.solvers.ddim import ddim
from bnsbench.solvers.dpm_solver_pp import dpm_solver_pp_2m
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.runge_kutta import euler
from bnsbench.solvers.unipc import unipc

RULES = {"euler": euler, "ddim": ddim, "ab2": ab2, "ab3": ab3, "dpm++2m": dpm_solver_pp_2m, "unipc": unipc}
"""Methods of one evaluation a step, by their names as solvers."""

Keep = Literal["difference", "nothing"]


def cfg_truncated(
    field: VelocityField,
    x0: Tensor,
    nfe: int,
    *,
    rule: str = "ab2",
    guided: float = 0.5,
    keep: Keep = "difference",
    grid: Grid = "uniform",
) -> Tensor:
    """A classic method of which only the first steps ask the network without the condition as well.

    Stages: 1. Of s steps the first k take two forwards each and the others one, with k about ``guided`` s and k + s = 2 nfe:
    as many forwards as nfe guided evaluations, in more steps. Without guidance it is the method itself.

    What the later steps use instead of u_w = u_cond + w (u_cond - u_uncond) is u_cond plus the last w (u_cond - u_uncond)
    that is known, or u_cond alone, which is another distribution's velocity.

    Reference: Kynkaanniemi et al. 2024, arXiv 2404.07724, for guidance on a part of the steps; Lyu et al. 2025, FasterCache,
    arXiv 2410.19355, for keeping what guidance adds.

    Not to be confused with: `ab2` at other guidance: the ground truth here is guided everywhere.

    When to use it: to see what leaving out forwards of guidance is worth beside solvers of as many forwards.

    Args:
        field: Velocity field, with its path and time interval; under guidance it gives `SolverField.conditional`.
        x0: Initial states [batch, ...].
        nfe: Guided evaluations to spend, 1 or more; one without guidance is half of one.
        rule: The method: euler, ddim, ab2, ab3, dpm++2m or unipc.
        guided: Share of the steps, above 0 and at most 1, that ask the network twice; 1 is the method itself.
        keep: What is kept of guidance in the others: "difference" or "nothing".
        grid: Time grid of the steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If rule, grid or keep is unknown, or guided is out of range.
        NotApplicableError: If guidance does not double the model's forwards.
    """
    if rule not in RULES:
        raise UsageError(f"There is no rule {rule!r} to truncate; choose from {', '.join(RULES)}.")
    if keep not in get_args(Keep):
        raise UsageError(f"What is kept of guidance is {' or '.join(get_args(Keep))}, not {keep!r}.")
    if not 0 < guided <= 1:
        raise UsageError(f"The guided share of the steps lies above 0 and is at most 1, so not {guided:g}.")
    if not isinstance(field, HasConditional) or unguided(field.guidance):
        return RULES[rule](field, x0, nfe, grid=grid)
    # k = g s and k + s = 2 n.
    full = max(1, round(2 * nfe * guided / (1 + guided)))
    return RULES[rule](_Truncated(field, one_scale(field.guidance), full, keep), x0, 2 * nfe - full, grid=grid)


class _Truncated:
    """A guided field of scale w that asks the network twice in its first ``full`` evaluations only."""

    def __init__(self, field: HasConditional, scale: float, full: int, keep: Keep) -> None:
        self.field, self.path, self.interval = field, field.path, field.interval
        self.scale, self.keep = scale, keep
        self.left = full
        self.added: Tensor | None = None

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        if not self.left:
            velocity = self.field.conditional(t, x)
            return velocity if self.added is None else velocity + self.added
        self.left -= 1
        with_condition, without = self.field.answers(t, x, self.scale).unbind()
        # u_w = u_cond + w (u_cond - u_uncond)
        added = self.scale * (with_condition - without)
        if self.keep == "difference":
            self.added = added
        return with_condition + added
