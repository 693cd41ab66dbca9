"""A plugin that loads well, but whose solvers fail when they are used."""

import os
import sys

from bnsbench.hookspecs import hookimpl
from bnsbench.specs import SolverSpec


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
