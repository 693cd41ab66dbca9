"""A plugin that offers one sound model among faulty records, and a hook that raises."""

from bnsbench.plugin import MetricSpec, ModelSpec, SolverSpec, hookimpl


@hookimpl
def bnsbench_models():
    """Offer a model, its name again, a metric and a record without a proper target."""
    yield ModelSpec("sound", "bnsbench_broken.exposed_model:Ball")
    yield ModelSpec("sound", "bnsbench_broken.exposed_model:Ball")
    yield MetricSpec("not-a-model", "bnsbench_broken.solvers:spoiling_samples")
    yield ModelSpec("targetless", "bnsbench_broken.exposed_model.Ball")


@hookimpl
def bnsbench_solvers():
    """Offer a solver and raise."""
    yield SolverSpec("lost", "bnsbench_broken.solvers:greedy")
    raise RuntimeError("the list of solvers ended badly")
