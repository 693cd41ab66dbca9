"""A solver plugin: leapfrog, x_{i+1} = x_{i-1} + 2 h u_i after one Euler step (Hairer, Norsett & Wanner 1993, III.1)."""

from bnsbench.plugin import SolverSpec, hookimpl


@hookimpl
def bnsbench_solvers():
    """Yield the solver; ":leapfrog" is the function below."""
    yield SolverSpec("leapfrog", ":leapfrog", "The two-step midpoint rule.", parameters={"grid": "uniform"}, order=2)


def leapfrog(field, x0, nfe, grid):
    """Return x(t_end) for initial states x0 [batch, ...], calling field(t, x) exactly nfe times."""
    from bnsbench.plugin import time_grid  # inside, so that listing the solver does not load torch

    times = time_grid(grid, field.path, field.interval, nfe).to(x0.device)
    before, x = None, x0
    for i in range(nfe):
        start, step = (x, times[i + 1] - times[i]) if i == 0 else (before, times[i + 1] - times[i - 1])
        before, x = x, start + step * field(times[i], x)
    return x
