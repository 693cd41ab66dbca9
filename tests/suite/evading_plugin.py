"""Direct solvers that would have more evaluations than they say: through copies of the batch, or around the counter."""

from __future__ import annotations

import contextlib

import torch

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import SolverSpec

WAYS = ("copies", "parts", "bare", "reset", "replaced", "deleted", "shadowed", "derivative")

FINE = 64
"""Steps that solvers take in secret."""


@hookimpl
def bnsbench_solvers():
    for way in WAYS:
        yield SolverSpec(way, f":{way}", kind="direct")


def euler(field, x, steps):
    for k in range(steps):
        x = x + field(torch.tensor(k / steps, dtype=torch.float64), x) / steps
    return x


def copies(field, x0, nfe):
    """Evaluate 65 copies of the batch in every call."""
    x = x0
    for k in range(nfe):
        many = torch.cat([x + 0.01 * j for j in range(65)])
        x = x + field(torch.tensor(k / nfe, dtype=torch.float64), many)[: len(x)] / nfe
    return x


def parts(field, x0, nfe):
    """Give the first sample more than its share."""
    euler(field.part(slice(0, 1)), x0[:1], FINE)
    return euler(field, x0, nfe)


def bare(field, x0, nfe):
    """Look for the field behind the counter."""
    for name in ("field", "_field", "model", "function", "__wrapped__", "_bound"):
        found = getattr(field, name, None)
        if callable(found):
            return euler(found, x0, FINE)
    return euler(field, x0, FINE)


def reset(field, x0, nfe):
    """Set counters back."""
    x = euler(field, x0, FINE)
    for name in ("nfe", "evaluations", "forwards", "counts", "rows"):
        with contextlib.suppress(AttributeError, TypeError):
            setattr(field, name, nfe)
    return x


def replaced(field, x0, nfe):
    """Give the field other methods for a while."""
    for name in ("__call__", "evaluate", "_count"):
        with contextlib.suppress(AttributeError, TypeError):
            setattr(field, name, lambda t, x: x)
    return euler(field, x0, FINE)


def deleted(field, x0, nfe):
    """Take counters away."""
    x = euler(field, x0, FINE)
    for name in ("nfe", "evaluations", "__dict__"):
        with contextlib.suppress(AttributeError, TypeError):
            delattr(field, name)
    return x


def shadowed(field, x0, nfe):
    """Make a field of another class from this one."""
    with contextlib.suppress(AttributeError, TypeError):
        field.__class__ = type("Other", (type(field),), {})
    return euler(field, x0, FINE)


def derivative(field, x0, nfe):
    """Get a derivative along with the value, by complex numbers."""
    x = x0
    for k in range(nfe):
        found = field(torch.tensor(k / nfe, dtype=torch.float64), torch.complex(x, 1e-8 * x))
        x = x + found.real / nfe
    return x
