"""Students of the exact digits that have learned its guidance perfectly, and some that no student can be."""

from __future__ import annotations

import torch

from bnsbench.plugin import Model, NotApplicableError, SolverSpec, Student, hookimpl
from bnsbench.solvers.runge_kutta import euler

NAMES = ("perfect", "overspends", "forgets", "dull", "costless", "leaky", "misshapen")


@hookimpl
def bnsbench_solvers():
    for name in NAMES:
        yield SolverSpec(name, f":{name.replace('-', '_')}", "A student of the exact digits.", kind="distilled")


class Taught(Model):
    """A student whose velocity is the guided one of its teacher, by one forward."""

    def __init__(self, teacher, guidance):
        self.teacher, self.guidance = teacher, guidance
        self.path, self.shape, self.interval, self.dtype = teacher.path, teacher.shape, teacher.interval, teacher.dtype

    def predict(self, t, x, condition):
        return self.teacher.field(condition, self.guidance)(t, x)

    def fingerprint(self):
        return "5" * 64


def perfect(model, guidance, nfe):
    if model.shape != (1, 8, 8) or nfe == 3:
        raise NotApplicableError("it has no such student")
    return Student(Taught(model, guidance), forwards={"teacher": 600, "training": 300}, images=100)


def overspends(model, guidance, nfe):
    own = perfect(model, guidance, nfe)
    return Student(own.model, sample=lambda field, x0, n: euler(field, x0, n + 1), forwards=own.forwards)


def forgets(model, guidance, nfe):
    own = perfect(model, guidance, nfe)

    def sample(field, x0, n):
        x0 += 1.0
        return euler(field, x0, n)

    return Student(own.model, sample, own.forwards)


def dull(model, guidance, nfe):
    return "not a student"


def costless(model, guidance, nfe):
    return Student(Taught(model, guidance), images=-1 if nfe == 2 else 0)


def leaky(model, guidance, nfe):
    own = perfect(model, guidance, nfe)
    return Student(own.model, lambda field, x0, n: euler(field, x0, n) + torch.rand(()), own.forwards)


def misshapen(model, guidance, nfe):
    own = perfect(model, guidance, nfe)
    own.model.shape = (2, 2)
    return own
