"""A plugin that offers one sound model among faulty records, and a hook that raises."""

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import MetricSpec, ModelSpec, SolverSpec


@hookimpl
def bnsbench_models():
    """Offer a model, its name again, a metric and a record without a proper target."""
    yield ModelSpec("sound", "bnsbench.models.mixtures:ring8")
    yield ModelSpec("sound", "bnsbench.models.mixtures:aniso5")
    yield MetricSpec("not-a-model", "bnsbench.metrics.image:Psnr")
    yield ModelSpec("targetless", "bnsbench.models.mixtures.ring8")


@hookimpl
def bnsbench_solvers():
    """Offer a solver and raise."""
    yield SolverSpec("lost", "bnsbench.solvers.runge_kutta:euler")
    raise RuntimeError("the list of solvers ended badly")
