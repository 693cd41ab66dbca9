"""Students: networks that were distilled from a model for a fixed number of steps, and how they are sampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from bnsbench.contract import Selection
from bnsbench.contract.returned import kind_of, mapping, whole
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import BnsbenchError
from bnsbench.flows.fields import VelocityField
from bnsbench.flows.model import Model, ModelField
from bnsbench.process.surroundings import guarded
from bnsbench.solvers.runge_kutta import euler
from bnsbench.solvers.samplers import Sampler


@dataclass(frozen=True)
class Student:
    """A network that was distilled from a model, its teacher, and the sampler for which it was.

    Initial noise, conditions and decoding are its teacher's, and its samples are compared with its teacher's ground truth.
    What is counted as NFE are its own evaluations: with guidance distilled into it, each is one forward.

    Attributes:
        model: The student as a model; of its methods `predict` is used, and what belongs to it.
        sample: A function (field, x0 [n, ...], nfe) that returns end states like x0; the field is the student's velocity.
        forwards: Network forwards that its training cost, by purpose, its teacher students' included; a backward pass counts
            as two.
        images: Samples of the data that its training saw, each time that it saw them.
    """

    model: Model
    sample: Callable[[VelocityField, Tensor, int], Tensor] = euler
    forwards: Mapping[str, int] = field(default_factory=dict)
    images: int = 0

    @property
    def parameters(self) -> int:
        """The numbers of its networks; 0 if its model does not name them."""
        return sum(each.numel() for network in self.model.networks() for each in network.parameters())

    def sampler(self, nfe: int) -> Sampler:
        """Return the sampler of so many evaluations."""
        return lambda velocity, x0: self.sample(velocity, x0, nfe)

    def field(self, teacher: ModelField) -> ModelField:
        """Return the student's field under the conditions of a field of its teacher."""
        return self.model.field(teacher.condition)


def student_of(selection: Selection[SolverSpec], model: Model, guidance: float, nfe: int) -> Student:
    """Return the student that a solver of kind "distilled" has for a model, where the model lies.

    Raises:
        NotApplicableError: If it has none for this model, scale and number of steps.
        BnsbenchError: If what it returns is no student of the model.
    """
    with guarded():
        found: Any = selection.make()(model, guidance, nfe)
    if not isinstance(found, Student):
        raise BnsbenchError(f"it returned {kind_of(found)} instead of a Student")
    if tuple(found.model.shape) != tuple(model.shape):
        raise BnsbenchError(f"it returned a student of shape {tuple(found.model.shape)}, not {tuple(model.shape)}")
    for name, count in mapping(found.forwards, "the forwards of its training").items():
        whole(count, f"the forwards for {name}")
    whole(found.images, "the samples of its training")
    return replace(found, model=found.model.to(model.device or "cpu", model.dtype))
