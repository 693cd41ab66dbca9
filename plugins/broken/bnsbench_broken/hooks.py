"""A plugin whose hooks are never called: one mistyped, one not marked."""

from bnsbench.plugin import MetricSpec, SolverSpec, hookimpl


@hookimpl
def bnsbench_solver():
    """Offer a solver under a name that is no hook's."""
    yield SolverSpec("unheard", "bnsbench_broken.solvers:greedy")


def bnsbench_metrics():
    """Offer a metric without the marker."""
    yield MetricSpec("unmarked", "bnsbench_broken.solvers:spoiling_samples")
