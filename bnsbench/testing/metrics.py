"""Checks of metrics, on samples that are the ground truth, and on the same with noise added."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch
from torch import Tensor

from bnsbench.contract import Selection
from bnsbench.contract.sources import BUILTIN
from bnsbench.contract.specs import MetricSpec
from bnsbench.errors import BnsbenchError, DivergedError, NotApplicableError
from bnsbench.flows.model import Model, Reference
from bnsbench.metrics.base import Metric, MetricValue, SampleSet
from bnsbench.solvers.runge_kutta import heun
from bnsbench.testing.randomness import equal_to_the_bit, global_randomness, repeatable
from bnsbench.testing.records import Subject
from bnsbench.testing.report import Check, Verdict, failed, hint, not_applicable, passed
from bnsbench.truth.pairs import PairSource

CANDIDATES = (("ring8", 256), ("digits-gmm", 256), ("speech", 8), ("scenes", 8), ("digits-gmm", 1024))
"""Built-in models on whose samples a metric is tried if none is named, and how many samples of each."""

FEW = 2
"""The ``minimum`` of a metric that has such a parameter, where it asks for more samples than are quickly made."""

NAMED_COUNT = 256
TRUTH_NFE = 16
NOISE = 0.5
"""Deviation of the noise on bad samples, in units of half the data range."""

TOLERANCE = 1e-4


@dataclass(frozen=True)
class MetricSubject(Subject[MetricSpec]):
    """A metric under test; ``on`` is the selector of the model whose samples it judges, empty for the first that fits."""

    on: str = ""

    def make(self) -> Metric:
        """Return a new instance of the metric."""
        metric: Metric = self._fitting[0].make()
        return metric

    @property
    def truth(self) -> SampleSet:
        """Samples equal to their ground truth, of a model that the metric judges; NotApplicableError if there is none."""
        return self._fitting[1]

    @property
    def contented(self) -> bool:
        """Whether its parameter ``minimum`` has been lowered, because its default asks for more samples than there are."""
        return self._fitting[0] is not self.selection

    @cached_property
    def _fitting(self) -> tuple[Selection[MetricSpec], SampleSet]:
        """The metric, with ``minimum`` lowered if it has to be, and samples to which it applies."""
        named = [(self.on, NAMED_COUNT)] if self.on else [(f"{BUILTIN}/{name}", count) for name, count in CANDIDATES]
        made = cache(lambda name, count: sample_set(self.host.model(name).make(), count))
        reasons: dict[str, str] = {}
        for selection in self._modesties():
            for name, count in named:
                samples: SampleSet = made(name, count)
                try:
                    selection.make()(samples)
                except NotApplicableError as error:
                    reasons.setdefault(name.removeprefix(f"{BUILTIN}/"), str(error))
                else:
                    return selection, samples
        raise NotApplicableError(" ".join(f"{name}: {reason}" for name, reason in reasons.items()))

    def _modesties(self) -> Iterator[Selection[MetricSpec]]:
        yield self.selection
        default = self.spec.parameters.get("minimum")
        if type(default) is int and self.selection.parameters["minimum"] == default:
            yield replace(self.selection, parameters={**self.selection.parameters, "minimum": FEW})

    @cached_property
    def noisy(self) -> SampleSet:
        """The same samples with noise on them."""
        states = self.truth.latents
        deviation = NOISE * self.truth.data_range / 2
        drawn = torch.randn(states.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        return with_latents(self.truth, states + (deviation * drawn).to(states))

    @cached_property
    def of_noisy(self) -> MetricValue:
        """The metric's value for the noisy samples."""
        return self.value(self.noisy)

    def value(self, samples: SampleSet) -> MetricValue:
        """Return the value of a new instance of the metric for a copy of the samples."""
        return self.make()(copied(samples))


def sample_set(model: Model, count: int) -> SampleSet:
    """Return samples that are their own ground truth: end states of the model's ODE, by a few steps of Heun's rule."""
    source = PairSource(model, "conformance")
    field = source.field(torch.arange(count))
    with torch.no_grad():
        states = heun(field, source.initial("test", torch.arange(count)), TRUTH_NFE)
    return SampleSet(states, states.clone(), field.condition, model.data_range, with_data(model, states))


def with_data(model: Model, states: Tensor) -> Model:
    """Return the model itself if it has a data set, else one that has these of its end states as such."""
    if model.reference() is not None:
        return model
    furnished = copy.copy(model)
    furnished.reference = cache(lambda: Reference(model.decode(states)))  # type: ignore[method-assign]
    return furnished


def with_latents(samples: SampleSet, latents: Tensor) -> SampleSet:
    """Return a set with other samples and the same ground truth."""
    return SampleSet(
        latents,
        samples.truth_latents,
        samples.condition,
        samples.data_range,
        samples.model,
        decoded_truth=lambda: samples.truth,
    )


def copied(samples: SampleSet) -> SampleSet:
    """Return a copy of the set, which a metric may overwrite, without decoding it again."""
    return SampleSet(
        samples.latents.clone(),
        samples.truth_latents.clone(),
        samples.condition,
        samples.data_range,
        samples.model,
        decoded=samples.samples.clone,
        decoded_truth=samples.truth.clone,
    )


def runs(subject: MetricSubject) -> Verdict:
    """Check that it judges samples of some model, and returns a `MetricValue`."""
    try:
        found: object = subject.value(subject.truth)
    except NotApplicableError as error:
        return failed(f"It applies to no model that it was tried on. {error}", "Name a model that it is for.")
    if not isinstance(found, MetricValue):
        return failed(f"It returns a {type(found).__name__}.", "Return a bnsbench.metrics.base.MetricValue.")
    return passed(f"It is checked with minimum={FEW}: by itself it asks for more samples." if subject.contented else "")


def finite(subject: MetricSubject) -> Verdict:
    """Check that values are finite, for perfect samples too, and lie inside of their interval."""
    for found, which in ((subject.value(subject.truth), "perfect"), (subject.of_noisy, "noisy")):
        if not math.isfinite(found.value):
            return failed(f"For {which} samples its value is {found.value}.", "Bound what would be infinite.")
        low, high = found.low, found.high
        if low is not None and high is not None and not low - TOLERANCE <= found.value <= high + TOLERANCE:
            finding = f"Its value {found.value:.6g} lies outside of its interval [{low:.6g}, {high:.6g}]."
            return failed(finding, "Let low and high be the ends of the 95 % interval of the value.")
    return passed()


def direction(subject: MetricSubject) -> Verdict:
    """Check that perfect samples score at least as well as noisy ones, or, in a measure of variety, as copies of one."""
    sign = 1.0 if subject.spec.direction == "higher" else -1.0
    copies = with_latents(subject.truth, subject.truth.latents[:1].expand_as(subject.truth.latents))
    perfect, noisy = subject.value(subject.truth).value, subject.of_noisy.value
    finding = f"Perfect samples score {perfect:.6g}, noisy ones {noisy:.6g}, and {subject.spec.direction} is better."
    if sign * (perfect - noisy) >= -TOLERANCE * abs(noisy):
        return passed(finding)
    if sign * (perfect - subject.value(copies).value) > 0:
        return hint(finding, "Tell its users that it sees a lack of variety, but not noise.")
    return failed(finding, "Declare the other direction, or look for a sign.")


def deterministic(subject: MetricSubject) -> Verdict:
    """Check that two metrics made alike agree to the last bit."""
    return repeatable(lambda: _numbers(subject.value(subject.noisy)))


def per_sample(subject: MetricSubject) -> Verdict:
    """Check that there is one value for each sample, and that their mean is the metric's value."""
    found = subject.of_noisy
    if found.per_sample is None:
        return not_applicable("It has no values of single samples.")
    if len(found.per_sample) != len(subject.noisy):
        finding = f"It has {len(found.per_sample)} values for {len(subject.noisy)} samples."
        return failed(finding, "Return one value for each sample, in their order.")
    mean = sum(found.per_sample) / len(found.per_sample)
    if abs(mean - found.value) > TOLERANCE * max(1.0, abs(mean)):
        finding = f"Its value is {found.value:.6g}, the mean of its values per sample {mean:.6g}."
        return failed(finding, "Leave per_sample out where the metric is no mean: paired comparisons rest on it.")
    return passed()


def batch_size(subject: MetricSubject) -> Verdict:
    """Check that the value of a sample does not depend on how many others are judged with it."""
    whole = subject.of_noisy.per_sample
    if whole is None:
        return not_applicable("It has no values of single samples.")
    half = len(whole) // 2
    try:
        part = subject.value(subject.noisy.part(slice(half, None))).per_sample
    except NotApplicableError:
        return not_applicable("It needs as many samples as there are.")
    gaps = [abs(a - b) / max(1.0, abs(a)) for a, b in zip(whole[half:], part or (), strict=False)]
    if gaps and max(gaps) <= TOLERANCE:
        return passed()
    return failed("A sample's value depends on the other samples.", "Normalise by the data range, not by the samples.")


def refuses_divergence(subject: MetricSubject) -> Verdict:
    """Check that samples which are not finite are refused."""
    latents = subject.noisy.latents.clone()
    latents[0] = math.nan
    remedy = "Call samples.require_finite() first."
    try:
        # Not a copy: that would decode them, and decoding finds them before the metric is asked.
        found = subject.make()(with_latents(subject.truth, latents))
    except DivergedError:
        return passed()
    except BnsbenchError as error:
        return failed(f"Samples that are not finite are refused by {type(error).__name__}, not DivergedError.", remedy)
    except Exception as error:  # noqa: BLE001 (a plugin may raise anything)
        return failed(f"Samples that are not finite raise {type(error).__name__}: {error}.", remedy)
    return failed(f"Samples that are not finite get the value {found.value}.", remedy)


def keeps_input(subject: MetricSubject) -> Verdict:
    """Check that samples and ground truth are left as they were."""
    samples = copied(subject.noisy)
    subject.make()(samples)
    if equal_to_the_bit(_contents(samples), _contents(subject.noisy)):
        return passed()
    return failed("It overwrites the samples that it judges.", "Work on a copy: the next metric gets the same samples.")


def random_state(subject: MetricSubject) -> Verdict:
    """Check that it neither moves nor needs the global random states."""

    def make() -> Callable[[], list[Tensor]]:
        metric = subject.make()
        metric(copied(subject.noisy))  # the first call may build a network
        return lambda: _numbers(metric(copied(subject.noisy)))

    return global_randomness(make)


def unit(subject: MetricSubject) -> Verdict:
    """Check that the unit can be shown."""
    text = subject.spec.unit
    if not isinstance(text, str) or text != text.strip():
        return failed(f"Its unit {text!r} cannot be shown.", "Declare a unit such as 'dB', or '' for pure numbers.")
    return passed()


METRIC_CHECKS: Mapping[str, Check[MetricSubject]] = {
    "unit": unit,
    "runs": runs,
    "finite": finite,
    "direction": direction,
    "deterministic": deterministic,
    "per sample": per_sample,
    "batch size": batch_size,
    "not finite": refuses_divergence,
    "input": keeps_input,
    "random state": random_state,
}


def _contents(samples: SampleSet) -> list[Tensor]:
    return [samples.latents, samples.truth_latents, samples.samples, samples.truth]


def _numbers(found: MetricValue) -> list[Tensor]:
    return [torch.tensor([found.value, *(found.per_sample or ())], dtype=torch.float64)]
