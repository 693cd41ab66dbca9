"""Checks of distilled solvers, on a model of which they have a student."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import BnsbenchError, NotApplicableError
from bnsbench.flows.fields import BatchField
from bnsbench.flows.model import Model
from bnsbench.flows.paths import CondOT
from bnsbench.solvers.samplers import run_metered
from bnsbench.solvers.students import Student, student_of
from bnsbench.testing.problems import image_model
from bnsbench.testing.randomness import equal_to_the_bit, global_randomness, repeatable
from bnsbench.testing.records import Subject
from bnsbench.testing.report import Check, Verdict, failed, hint, passed
from bnsbench.truth.noise import noise

STEPS = (1, 2, 4, 8, 16, 32, 3)
SCALES = (0.0, 1.0, 2.0)
SAMPLES = 4


@dataclass(frozen=True)
class Lesson:
    """A model and the student of it that was found: its steps, its field, and initial states."""

    name: str
    model: Model
    student: Student
    guidance: float
    nfe: int
    field: BatchField
    x0: Tensor


class StudentSubject(Subject[SolverSpec]):
    """A distilled solver under test."""

    @cached_property
    def lesson(self) -> Lesson:
        """The first student that it has of a model at hand, its own plugin's models first; NotApplicableError if none."""
        for name, model in self._models():
            for guidance in SCALES:
                for nfe in (steps for steps in STEPS if self.spec.budgets.reason_against(steps) is None):
                    try:
                        student = student_of(self.selection, model, guidance, nfe)
                    except NotApplicableError:
                        continue
                    x0 = noise(0, "conformance", "test", range(SAMPLES), model.shape).to(model.dtype)
                    field = student.field(model.field(model.conditions(torch.arange(SAMPLES)), guidance))
                    return Lesson(name, model, student, guidance, nfe, field, x0)
        raise NotApplicableError("It has no student of any model at hand, so nothing of it can be run.")

    def _models(self) -> Iterator[tuple[str, Model]]:
        for spec in sorted(self.host.models, key=lambda each: each.provider != self.spec.provider):
            selection = self.host.model(f"{spec.provider}/{spec.name}")
            try:
                yield selection.name, selection.make()
            except BnsbenchError:  # weights that are not here, or a package
                continue

    def sample(self, batch: int = SAMPLES) -> tuple[Tensor, int]:
        """Return end states and the evaluations of each sample."""
        lesson = self.lesson
        return run_metered(lesson.student.sampler(lesson.nfe), lesson.field, lesson.x0, lesson.nfe, batch)


def runs(subject: StudentSubject) -> Verdict:
    """Check that it has a student of a model at hand, whose samples are finite."""
    try:
        lesson = subject.lesson
    except NotApplicableError as error:
        return Verdict("not applicable", str(error))
    if bool(subject.sample()[0].isfinite().all()):
        return passed(f"It has a student of {lesson.name} with {lesson.nfe} steps at w = {lesson.guidance:g}.")
    return failed(f"Its student of {lesson.name} gives states that are not finite.", "Distil it again.")


def budget(subject: StudentSubject) -> Verdict:
    """Check that the student spends what was asked for."""
    asked, (_, spent) = subject.lesson.nfe, subject.sample()
    if asked == spent:
        return passed()
    return failed(f"Asked for {asked} evaluations, its student spends {spent}.", "Call the field once for each evaluation.")


def refusal(subject: StudentSubject) -> Verdict:
    """Check that it refuses a model that it does not know."""
    stranger = image_model(CondOT(), (0.0, 1.0))
    try:
        student_of(subject.selection, stranger, 0.0, subject.lesson.nfe)
    except NotApplicableError:
        return passed()
    return failed(
        "It returns a student of a model that it cannot know.",
        "Compare model.fingerprint() with its teacher's, and raise NotApplicableError.",
    )


def cost(subject: StudentSubject) -> Verdict:
    """Check that it says what its training has cost."""
    if sum(subject.lesson.student.forwards.values()):
        return passed()
    return hint("It does not say what its training has cost.", "Give Student the forwards of the whole training.")


def deterministic(subject: StudentSubject) -> Verdict:
    """Check that two runs give the same samples."""
    return repeatable(lambda: [subject.sample()[0]])


def batches(subject: StudentSubject) -> Verdict:
    """Check that a sample does not depend on those that are sampled with it."""
    together, alone = subject.sample()[0], subject.sample(batch=1)[0]
    if torch.allclose(together, alone, rtol=1e-4, atol=1e-4):
        return passed()
    return failed("A sample depends on the others of its batch.", "Treat every sample alike.")


def input_kept(subject: StudentSubject) -> Verdict:
    """Check that the initial states stay as they are."""
    lesson = subject.lesson
    given, x0 = lesson.x0.clone(), lesson.x0.clone()
    with torch.no_grad():
        lesson.student.sample(lesson.field, given, lesson.nfe)
    if equal_to_the_bit([given], [x0]):
        return passed()
    return failed("It writes into the initial states.", "Compute new tensors.")


def random_state(subject: StudentSubject) -> Verdict:
    """Check that it neither moves nor needs the global random states."""
    return global_randomness(lambda: lambda: [subject.sample()[0]])


STUDENT_CHECKS: Mapping[str, Check[StudentSubject]] = {
    "runs": runs,
    "budget": budget,
    "refusal": refusal,
    "cost": cost,
    "deterministic": deterministic,
    "batches": batches,
    "input": input_kept,
    "random state": random_state,
}
