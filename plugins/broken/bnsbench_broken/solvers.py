"""A plugin that loads well, but whose solvers fail when they are used."""

import importlib
import os
import sys

from bnsbench.plugin import MetricSpec, ModelSpec, SolverSpec, hookimpl

_KEPT = []


@hookimpl
def bnsbench_solvers():
    """Offer a solver for every way to fail, and one with a built-in solver's name."""
    yield SolverSpec("absent", ":nowhere")
    yield SolverSpec("raising", ":raising")
    yield SolverSpec("greedy", ":greedy", kind="direct")
    yield SolverSpec("mutating", ":mutating", kind="direct")
    yield SolverSpec("diverging", ":diverging", kind="direct")
    yield SolverSpec("exiting", ":exiting", kind="direct")
    yield SolverSpec("crashing", ":crashing", kind="direct")
    yield SolverSpec("euler", ":greedy", kind="direct")
    for name in ("parallel", "trailing", "bypassing", "resetting", "hoarding", "buffering", "vectorising", "rewriting"):
        yield SolverSpec(name, f":{name}", kind="direct")


@hookimpl
def bnsbench_models():
    """Offer a sound model that solvers of this module can get hold of."""
    yield ModelSpec("exposed", ":exposed")


@hookimpl
def bnsbench_metrics():
    """Offer metrics that write into what they are given."""
    for name in ("spoiling-samples", "spoiling-truth", "spoiling-model"):
        yield MetricSpec(name, f":{name.replace('-', '_')}")


def raising(field, x0, nfe):
    """Raise an error of its own."""
    raise ValueError("this solver never works")


def greedy(field, x0, nfe):
    """Spend one evaluation more than it may."""
    for _ in range(nfe + 1):
        x0 = x0 + field(x0.new_zeros(()), x0) / nfe
    return x0


def mutating(field, x0, nfe):
    """Integrate by Euler's method in the memory of its input."""
    for k in range(nfe):
        x0 += field(x0.new_tensor(k / nfe), x0) / nfe
    return x0


def diverging(field, x0, nfe):
    """Return infinite states."""
    for _ in range(nfe):
        x0 = x0 + field(x0.new_zeros(()), x0) * float("inf")
    return x0


def exiting(field, x0, nfe):
    """Leave the program as scripts do."""
    sys.exit(7)


def crashing(field, x0, nfe):
    """End the process at once, as a segmentation fault would."""
    os._exit(7)


def _euler(velocity, x, nfe, begin, end):
    for k in range(nfe):
        x = x + (end - begin) / nfe * velocity(x.new_tensor(begin + (end - begin) * k / nfe), x)
    return x


def parallel(field, x0, nfe):
    """Evaluate 65 copies of the batch in one call: more than one evaluation can tell."""
    copies = x0.repeat(65, *[1] * (x0.ndim - 1))
    return _euler(field, copies, nfe, *field.interval)[: len(x0)]


def trailing(field, x0, nfe):
    """Evaluate further copies of some samples."""
    return _euler(lambda t, x: field(t, _and_first(x))[: len(x)], x0, nfe, *field.interval)


def _and_first(x):
    return x.repeat(2, *[1] * (x.ndim - 1))[: len(x) + 1]


def bypassing(field, x0, nfe):
    """Evaluate the field behind the counter 16 times as often."""
    _euler(field, x0, nfe, *field.interval)
    return _euler(field.field, x0, 16 * nfe, *field.interval)


def resetting(field, x0, nfe):
    """Evaluate 16 times as often and set the counter back."""
    x1 = _euler(field, x0, 16 * nfe, *field.interval)
    field.nfe = field.evaluations = nfe
    return x1


def hoarding(field, x0, nfe):
    """Keep every field, and evaluate the one of the batch before."""
    _KEPT.append(field)
    _euler(field, x0, nfe, *field.interval)
    return _euler(_KEPT[-2] if len(_KEPT) > 1 else field, x0, 16 * nfe, *field.interval)


def vectorising(field, x0, nfe):
    """Evaluate 65 copies of the batch where the field sees one."""
    vmap = importlib.import_module("torch").vmap
    return _euler(lambda t, x: vmap(lambda y: field(t, y))(x.expand(65, *x.shape))[0], x0, nfe, *field.interval)


def buffering(field, x0, nfe):
    """Return the same memory every time; the numbers are Euler's."""
    x1 = _euler(field, x0, nfe, *field.interval)
    if not _KEPT or _KEPT[0].shape != x1.shape:
        _KEPT[:] = [x1.new_empty(x1.shape)]
    return _KEPT[0].copy_(x1)


def rewriting(field, x0, nfe):
    """Write into the model."""
    _exposed_model().made[-1].centre.data.mul_(0.5)
    return _euler(field, x0, nfe, *field.interval)


def exposed():
    """Return a ball, which stays at hand."""
    return _exposed_model().make()


def _exposed_model():
    return importlib.import_module("bnsbench_broken.exposed_model")  # it loads torch, which no listing may


def spoiling_samples():
    """Return a metric that writes into the samples."""
    return lambda samples: _value(samples.latents.mul_(0.5))


def spoiling_truth():
    """Return a metric that writes into the decoded ground truth, past any version."""
    return lambda samples: _value(samples.truth.data.mul_(0.5))


def spoiling_model():
    """Return a metric that writes into the model."""
    return lambda samples: _value(samples.model.centre.neg_())


def _value(numbers):
    return importlib.import_module("bnsbench.plugin").MetricValue(float(numbers.mean()))
