"""Classic solvers as material for learned ones: reached by selector, traced on any time grid."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bnsbench.contract.selectors import Selection, parse_selector, select
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import retrace, trace
from bnsbench.solvers.grids import NamedGrid, time_grid
from bnsbench.solvers.specs import SOLVERS
from bnsbench.training.families.classic_rules import Rule
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Classic, Cost, Problem

JUDGED = 128
"""Training pairs on which grids are compared."""


def classic(problem: Problem, name: str) -> Classic:
    """Return a classic solver by selector, a plugin's too if the problem knows them; UsageError for an unknown one."""
    if problem.classic is not None:
        return problem.classic(name)
    specs = {spec.name: spec for spec in SOLVERS}
    _, plain, settings = parse_selector(name)
    if plain not in specs:
        raise UsageError(f"There is no built-in solver {name!r} to learn from.")
    return classic_of(select(specs[plain], settings))


def classic_of(selection: Selection[SolverSpec]) -> Classic:
    """Return a selected classic solver."""
    grid = selection.parameters.get("grid")
    return Classic(selection.make(), selection.spec.stages if grid else 0, str(grid or "uniform"))


def named_grid_rule(problem: Problem, nfe: int, name: str) -> tuple[Callable[[NamedGrid], NonStationarySolver], NamedGrid]:
    """Return a classic solver as a function of a named grid, and its own default grid.

    Unlike `rule_on_grid` it leaves to the solver how many nodes its grid has. Raises as that does.
    """
    model, rule = problem.source.model, classic(problem, name)
    _require_grid(rule, name, nfe)

    def on(grid: NamedGrid | str) -> Callable[..., Tensor]:
        return lambda field, x0: rule.sample(field, x0, nfe, grid=grid)

    default = NamedGrid.parse(rule.grid)
    trace(on(default), model.path, model.interval)  # checks linearity once
    return lambda grid: retrace(on(grid), model.path, model.interval, nfe), default


def rule_on_grid(problem: Problem, nfe: int, name: str) -> tuple[Rule, int]:
    """Return a classic solver as a function of its time grid [steps + 1], and its steps.

    Raises UsageError for an unknown solver and NotApplicableError for one that takes no grid of its own at this NFE.
    """
    model, rule = problem.source.model, classic(problem, name)
    _require_grid(rule, name, nfe)

    def on(times: Tensor) -> Callable[..., Tensor]:
        return lambda field, x0: rule.sample(field, x0, nfe, grid=times)

    steps = nfe // rule.stages
    trace(on(time_grid("uniform", model.path, model.interval, steps)), model.path, model.interval)  # checks linearity once
    return lambda times: retrace(on(times), model.path, model.interval, nfe), steps


def _require_grid(rule: Classic, name: str, nfe: int) -> None:
    if rule.stages == 0 or nfe % rule.stages:
        raise NotApplicableError(f"The solver {name!r} takes no time grid at {nfe} NFE, so its times cannot be learned.")


def best_grid(problem: Problem, rule: Rule, nfe: int, grids: dict[str, Tensor], cost: Cost) -> Tensor:
    """Return the grid on which a rule's PSNR on the first training pairs is best."""
    source, judged = problem.source, min(JUDGED, problem.effort.judged)
    # A budget may allow fewer of them, which are solved by themselves.
    few = source if judged == JUDGED else source.coarser(source.truth_tolerance, judged)
    pairs = few.pairs("train", judged)
    cost.truth("train, ends", pairs)
    cost.training += len(grids) * nfe * len(pairs)
    return max(grids.values(), key=lambda times: psnr(rule(times), pairs, problem.source.model.data_range))
