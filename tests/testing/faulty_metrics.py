"""Metrics with one fault each: the check that is to find it has the metric's name, spelt with hyphens."""

from __future__ import annotations

import itertools

import torch

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import MetricSpec
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.metrics.base import MetricValue

_CALLS = itertools.count(1)


@hookimpl
def bnsbench_metrics():
    names = "sound unit runs never infinite interval deterministic per-sample no-mean batch-size"
    for name in f"{names} not-finite another-error input moves-state needs-state images variety".split():
        yield MetricSpec(
            name,
            ":make",
            "A metric with a fault.",
            parameters={"fault": name},
            direction="higher" if name == "variety" else "lower",
            unit=" dB" if name == "unit" else "",
        )
    yield MetricSpec("direction", ":make", "A metric with a fault.", parameters={"fault": ""}, direction="higher")


def make(fault):
    return lambda samples: measure(fault, samples)


def measure(fault, samples):  # noqa: C901 (one line for each fault)
    """The root mean square error, mean over samples, but for the fault."""
    if fault == "another-error" and not samples.latents.isfinite().all():
        raise UsageError("these are no numbers")
    if fault != "not-finite":
        samples.require_finite()
    if fault == "never" or (fault == "images" and samples.samples.ndim != 4):
        raise NotApplicableError("it is for something else")
    values = (samples.latents - samples.truth_latents).flatten(1).square().mean(1).sqrt()
    if fault == "input":
        samples.latents.zero_()
    if fault == "batch-size":
        values = values / values.max().clamp_min(1e-9)
    if fault == "deterministic":
        values = values + 1e-12 * next(_CALLS)
    if fault == "moves-state":
        torch.rand(1)
    if fault == "needs-state":
        with torch.random.fork_rng(devices=()):
            values = values + 1e-12 * torch.rand(1, dtype=torch.float64)
    value = float(values.max() if fault == "no-mean" else values.mean())
    if fault == "variety":
        return MetricValue(float(samples.latents.std(0).mean()))
    if fault == "runs":
        return value
    if fault == "infinite" and value == 0:
        return MetricValue(float("-inf"))
    low, high = (value + 1.0, value + 2.0) if fault == "interval" else (None, None)
    return MetricValue(value, low, high, per_sample=values.tolist()[: -1 if fault == "per-sample" else None])
