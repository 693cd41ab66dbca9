"""Checks of a model's optional parts for metrics and training: features of its samples, and a judge of its conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

import torch
from torch import Tensor

from bnsbench.flows.features import SampleFeatures
from bnsbench.flows.judge import Asked, ConditionJudge
from bnsbench.testing.declarations import HEXADECIMAL
from bnsbench.testing.models import COUNT, ModelSubject, agree
from bnsbench.testing.randomness import equal_to_the_bit, global_randomness, repeatable
from bnsbench.testing.report import Check, Verdict, failed, not_applicable, passed
from bnsbench.training.trainer import features_of
from bnsbench.truth.noise import noise


def features(subject: ModelSubject) -> Verdict:
    """Check that features are as many as said, finite, repeatable, of each sample alone, and known by a fingerprint."""
    found: object = subject.model.features()
    if found is None:
        return not_applicable("It brings no features.")
    if not isinstance(found, SampleFeatures):
        return failed(f"Its features are a {type(found).__name__}.", "Return a bnsbench.flows.features.SampleFeatures.")
    samples = _samples(subject)
    rows = _of(found.of_samples, samples)
    if tuple(rows.shape) != (COUNT, found.width):
        finding = f"Of {COUNT} samples it has features of shape {list(rows.shape)}, and its width is {found.width}."
        return failed(finding, "Return features [n, width] of samples [n, ...].")
    if not bool(rows.isfinite().all()):
        return failed("Its features are not finite.", "Keep them finite for every sample that the model can decode.")
    if found.classes and tuple(_of(found.logits, samples).shape) != (COUNT, found.classes):
        return failed(f"Its logits are not those of {found.classes} classes.", "Return logits [n, classes], or no classes.")
    return (
        _fingerprint("features", found.fingerprint(), subject.selection.make().features().fingerprint())
        or _steady("features", lambda part: _of(found.of_samples, samples[part]))
        or passed()
    )


def differentiable(subject: ModelSubject) -> Verdict:
    """Check that gradients flow from features back to end states, so that tables can be trained by them."""
    found: object = subject.model.features()
    function = features_of(subject.model) if isinstance(found, SampleFeatures) else None
    if function is None:
        return not_applicable("It brings no features.")
    remedy = "Compute `of_states` by operations that torch can differentiate: no no_grad, no rounding, no NumPy."
    states = _ends(subject).requires_grad_()
    with torch.enable_grad():
        rows = function(states)
        if not rows.requires_grad:
            return failed("Its features of end states have no gradient.", remedy)
        # A weighted sum, for the plain one of normalised features never changes.
        weights = noise(0, "conformance", "test", torch.arange(len(rows)), tuple(rows.shape[1:])).to(rows)
        (slope,) = torch.autograd.grad((weights * rows).sum(), states, allow_unused=True)
    if slope is None or not bool(slope.isfinite().all()):
        return failed("The gradient of its features is missing or not finite.", remedy)
    return passed() if bool(slope.any()) else failed("The gradient of its features is zero.", remedy)


def judge(subject: ModelSubject) -> Verdict:
    """Check that a judge finds yes or no for each part of each condition, repeatably and of each sample alone."""
    found: object = subject.model.judge()
    condition = subject.condition
    if found is None:
        return not_applicable("It brings no judge.")
    if not isinstance(found, ConditionJudge):
        return failed(f"Its judge is a {type(found).__name__}.", "Return a bnsbench.flows.judge.ConditionJudge.")
    if condition is None:
        return not_applicable("It is unconditional.")
    if found.asks not in get_args(Asked):
        return failed(f"Its judge asks for a {found.asks!r}.", f"Choose from {', '.join(get_args(Asked))}.")
    shown = found.shown(_ends(subject).float())
    answers, parts = found.found(shown, condition), len(found.parts) or 1
    if tuple(answers.shape) != (COUNT, parts) or answers.dtype != torch.bool:
        finding = f"Of {COUNT} samples its judge finds {list(answers.shape)} in {answers.dtype}."
        return failed(finding, f"Return booleans [n, {parts}]: one for each of its parts, or one in all without parts.")
    return (
        _fingerprint("judge", found.fingerprint(), subject.selection.make().judge().fingerprint())
        or _steady("judge", lambda part: found.found(shown[part], condition[part]))
        or passed()
    )


def _ends(subject: ModelSubject) -> Tensor:
    """Return states [COUNT, *shape] as they are where the interval ends."""
    return subject.states(torch.tensor(subject.model.interval[1], dtype=torch.float64), subject.model.dtype)


def _samples(subject: ModelSubject) -> Tensor:
    """Return decoded samples as metrics hand them to features."""
    with torch.no_grad():
        decoded = subject.model.decode(_ends(subject)).float()
    if subject.model.sample_rate is not None:
        return decoded.mean(dim=1) if decoded.ndim == 3 else decoded
    return decoded.clamp(-1.0, 1.0) if decoded.ndim == 4 else decoded


def _of(function: Callable[[Tensor], Tensor], samples: Tensor) -> Tensor:
    with torch.no_grad():
        return function(samples.clone()).cpu()


def _fingerprint(whose: str, first: str, second: str) -> Verdict | None:
    """Return what is wrong with a fingerprint, taken twice, if anything is."""
    if not isinstance(first, str) or not HEXADECIMAL.fullmatch(first):
        return failed(
            f"The fingerprint {first!r} of its {whose} is no hexadecimal hash.", "Return hashlib.sha256(...).hexdigest()."
        )
    if first != second:
        remedy = "Hash weights and parameters with hashlib, not with hash(), ids, times or random numbers."
        return failed(f"The fingerprint of its {whose} changes from one making to the next.", remedy)
    return None


def _steady(whose: str, compute: Callable[[slice], Tensor]) -> Verdict | None:
    """Return the fault if results for some rows depend on chance, on random states or on the other rows."""
    whole = slice(None)
    for verdict in (repeatable(lambda: [compute(whole)]), global_randomness(lambda: lambda: [compute(whole)])):
        if verdict.status == "failed":
            return failed(f"Of its {whose}: {verdict.finding}", verdict.remedy)
    parts = torch.cat([compute(slice(k, k + 1)) for k in range(COUNT)])
    together = compute(whole)
    if equal_to_the_bit([parts], [together]) or (together.is_floating_point() and agree(parts, together, torch.float32)):
        return None
    remedy = "Look at every sample by itself: no batch normalisation in training mode, no mean over the batch."
    return failed(f"Results of its {whose} change with the batch that a sample is in.", remedy)


FEATURE_CHECKS: Mapping[str, Check[ModelSubject]] = {"features": features, "differentiable": differentiable, "judge": judge}
