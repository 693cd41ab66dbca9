"""A plugin whose hooks are never called: one mistyped, one not marked."""

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import MetricSpec, SolverSpec


@hookimpl
def bnsbench_solver():
    """Offer a solver under a name that is no hook's."""
    yield SolverSpec("unheard", "bnsbench.solvers.runge_kutta:euler")


def bnsbench_metrics():
    """Offer a metric without the marker."""
    yield MetricSpec("unmarked", "bnsbench.metrics.image:Psnr")
