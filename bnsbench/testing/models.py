"""Checks of a model's predictions: shapes, precision, batches, conditions and guidance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from bnsbench.contract.specs import ModelSpec
from bnsbench.errors import NotApplicableError
from bnsbench.flows.model import Model
from bnsbench.testing.declarations import DECLARATION_CHECKS
from bnsbench.testing.randomness import equal_to_the_bit, global_randomness, repeatable
from bnsbench.testing.records import Subject
from bnsbench.testing.report import Check, Verdict, failed, not_applicable, passed
from bnsbench.truth.noise import noise

COUNT = 4
GUIDANCE = 2.0
TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Deviations, relative to the largest number, that count as rounding; below float32 a tenth is allowed."""


@dataclass(frozen=True)
class ModelSubject(Subject[ModelSpec]):
    """A model under test, made once in its own precision."""

    @cached_property
    def model(self) -> Model:
        made: Model = self.selection.make()
        return made

    @property
    def middle(self) -> Tensor:
        """A time inside the interval."""
        begin, end = self.model.interval
        return torch.tensor((begin + end) / 2, dtype=torch.float64)

    @cached_property
    def condition(self) -> Tensor | None:
        return self.model.conditions(torch.arange(COUNT))

    def states(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Return states [COUNT, *shape] that lie at time t, with noise in place of data."""
        path, shape, indices = self.model.path, self.model.shape, torch.arange(COUNT)
        data = 0.25 * self.model.data_range * noise(0, "conformance", "train", indices, shape)
        return (path.sigma(t) * noise(0, "conformance", "test", indices, shape) + path.alpha(t) * data).to(dtype)

    def predict(self, model: Model | None = None, index: slice = slice(None)) -> Tensor:
        """Return the prediction for the samples ``index`` in the middle of the interval, in the model's precision."""
        chosen = model or self.model
        condition = None if self.condition is None else self.condition[index]
        with torch.no_grad():
            return chosen.predict(self.middle, self.states(self.middle, chosen.dtype)[index], condition)


def runs(subject: ModelSubject) -> Verdict:
    """Check that predictions have the shape and precision of the states, for one time and for one per sample."""
    made: object = subject.model
    if not isinstance(made, Model):
        return failed(f"Its target returns a {type(made).__name__}.", "Return a bnsbench.flows.model.Model.")
    model, x = subject.model, subject.states(subject.middle, subject.model.dtype)
    for time, which in ((subject.middle, "one time"), (subject.middle.expand(COUNT), "a time for each sample")):
        with torch.no_grad():
            found = model.predict(time, x, subject.condition)
        if found.shape != x.shape or found.dtype != x.dtype:
            states, prediction = f"{list(x.shape)} in {x.dtype}", f"{list(found.shape)} in {found.dtype}"
            finding = f"For {which} and states {states}, predict returns {prediction}."
            return failed(finding, "Return a prediction of the states' shape and precision.")
    return passed()


def precision(subject: ModelSubject) -> Verdict:
    """Check that it works in float32 and float64, and that both agree but for rounding."""
    found = []
    for dtype in (torch.float32, torch.float64):
        model: Model = subject.selection.make().to("cpu", dtype)
        if model.dtype != dtype:
            return failed(f"After to('cpu', {dtype}) its dtype is {model.dtype}.", "Call super().to(device, dtype) in `to`.")
        prediction = subject.predict(model)
        if prediction.dtype != dtype:
            return failed(f"States in {dtype} give predictions in {prediction.dtype}.", "Move all constants in `to`.")
        found.append(prediction.double())
    if agree(found[0], found[1], torch.float32):
        return passed()
    return failed("Its predictions in float32 and float64 differ.", "Compute times and coefficients in float64, then round.")


def finite(subject: ModelSubject) -> Verdict:
    """Check that the velocity is finite on the whole interval, its ends included."""
    model = subject.model
    dtype = torch.promote_types(model.dtype, torch.float32)
    for t in torch.linspace(*model.interval, 9, dtype=torch.float64):
        with torch.no_grad():
            velocity = model.field(subject.condition)(t, subject.states(t, dtype))
        if not bool(velocity.isfinite().all()):
            remedy = "End the interval where the prediction still says something of the velocity, such as at 1 - 1e-3."
            return failed(f"Its velocity is not finite at t = {float(t):.6g}, inside of its interval.", remedy)
    return passed()


def deterministic(subject: ModelSubject) -> Verdict:
    """Check that two predictions agree to the last bit."""
    return repeatable(lambda: [subject.predict()])


def batch_split(subject: ModelSubject) -> Verdict:
    """Check that a prediction does not depend on the batch that the sample is in."""
    parts = torch.cat([subject.predict(index=slice(k, k + 1)) for k in range(COUNT)])
    if agree(parts, subject.predict(), subject.model.dtype):
        return passed()
    remedy = "Predict every sample by itself: no batch normalisation in training mode, no mean over the batch."
    return failed("Predictions change with the batch that a sample is in.", remedy)


def keeps_input(subject: ModelSubject) -> Verdict:
    """Check that states, times and conditions are left as they were."""
    inputs = [subject.middle.expand(COUNT).clone(), subject.states(subject.middle, subject.model.dtype)]
    if subject.condition is not None:
        inputs.append(subject.condition.clone())
    before = [each.clone() for each in inputs]
    with torch.no_grad():
        subject.model.predict(inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None)
    changed = [
        name for name, a, b in zip(("t", "x", "condition"), inputs, before, strict=False) if not equal_to_the_bit([a], [b])
    ]
    return failed(f"predict overwrites its input {changed[0]}.", "Work on a copy.") if changed else passed()


def random_state(subject: ModelSubject) -> Verdict:
    """Check that predicting and decoding neither move nor need the global random states, nor weights depend on them."""

    def make() -> Callable[[], list[Tensor]]:
        return partial(_results, subject, subject.selection.make())

    return global_randomness(make)


def conditions(subject: ModelSubject) -> Verdict:
    """Check that the condition of a sample depends on its index only."""
    model = subject.model
    if subject.condition is None:
        return not_applicable("It is unconditional.")
    order = torch.tensor([2, 0, 3])
    chosen, alone = model.conditions(order), model.conditions(torch.tensor([COUNT - 1]))
    whole = subject.condition
    if chosen is not None and alone is not None and equal_to_the_bit([chosen, alone], [whole[order], whole[-1:]]):
        return passed()
    remedy = "Compute each row of conditions(indices) from its index alone, so that every solver gets the same."
    return failed("Its conditions depend on which other indices are asked for.", remedy)


def guidance(subject: ModelSubject) -> Verdict:
    """Check that it can be guided if it says so, and then by (1 + w) u_cond - w u_uncond."""
    model, x, condition = subject.model, subject.states(subject.middle, subject.model.dtype), subject.condition
    if not subject.spec.guidable or not model.linear_guidance:
        return _unguidable(subject)
    if condition is None:
        return _not_guidable(subject, "no conditions", "Return conditions, or declare guidable=False.")
    try:
        null = model.null_condition(condition)
    except NotApplicableError:
        return _not_guidable(subject, "no null condition", "Write null_condition, or say guidable=False.")
    if null.shape != condition.shape or null.dtype != condition.dtype:
        return failed("Its null condition differs from a condition in shape or type.", "Return what can stand in its place.")
    scales = torch.linspace(0.0, GUIDANCE, COUNT, dtype=torch.float64)
    with torch.no_grad():
        asked, without = (model.predict(subject.middle, x.clone(), each).double() for each in (condition, null))
        for w in (GUIDANCE, scales):
            found = model.guided(subject.middle, x.clone(), condition, w).double()
            weight = scales.reshape(-1, *[1] * (x.ndim - 1)) if isinstance(w, Tensor) else w
            if not agree(found, (1 + weight) * asked - weight * without, model.dtype):
                remedy = "Leave `guided` to the base class, or return just this."
                return failed("Its guided prediction is not (1 + w) f(x | c) - w f(x).", remedy)
    return passed()


def _results(subject: ModelSubject, model: Model) -> list[Tensor]:
    with torch.no_grad():
        decoded = model.decode(subject.states(torch.tensor(model.interval[1]), model.dtype))
    return [subject.predict(model), decoded]


def _not_guidable(subject: ModelSubject, lack: str, remedy: str) -> Verdict:
    """Judge a model that lacks something, though its record says that it can be guided."""
    if subject.spec.parameters:  # the record speaks of all that parameters choose among
        return not_applicable(f"With these parameters it has {lack}.")
    return failed(f"It is declared guidable, but has {lack}.", remedy)


def _unguidable(subject: ModelSubject) -> Verdict:
    if subject.spec.guidable:
        return not_applicable("Its guidance is of a kind of its own, as its `linear_guidance` says.")
    if subject.condition is None:
        return not_applicable("It is unconditional.")
    try:
        subject.model.null_condition(subject.condition)
    except NotApplicableError:
        return not_applicable("It is declared not guidable.")
    return failed("It has a null condition, but is declared not guidable.", "Declare guidable=True in its record.")


def agree(first: Tensor, second: Tensor, dtype: torch.dtype) -> bool:
    """Return whether two results agree up to rounding.

    Args:
        first: One result.
        second: The other, of the same shape.
        dtype: The precision in which they were computed.
    """
    scale = float(second.abs().max()) + 1e-12
    return float((first - second).abs().max()) <= TOLERANCES.get(dtype, 0.1) * scale


MODEL_CHECKS: Mapping[str, Check[ModelSubject]] = {
    "runs": runs,
    "precision": precision,
    "finite": finite,
    "deterministic": deterministic,
    "batch split": batch_split,
    "input": keeps_input,
    "random state": random_state,
    "conditions": conditions,
    "guidance": guidance,
    **DECLARATION_CHECKS,
}
