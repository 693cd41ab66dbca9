from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from sklearn.metrics import accuracy_score

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.metrics.alignment import ClassAccuracy, wilson_interval
from bnsbench.models.digits.model import digit_classifier


def test_accuracy_agrees_with_scikit_learn(sample_set, images):
    noisy = images.samples[:400] + torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    result = ClassAccuracy()(sample_set(noisy, images.samples[:400], condition=images.labels[:400]))
    predicted = digit_classifier()(noisy.clamp(-1, 1)).argmax(1)
    expected = accuracy_score(images.labels[:400].numpy(), predicted.numpy())
    assert 0.2 < expected < 0.99
    assert result.value == pytest.approx(expected)
    assert result.low < expected < result.high
    assert sum(result.per_sample) == pytest.approx(400 * expected)
    assert result.details["truth"] > 0.98


def test_wrong_conditions_score_zero(sample_set, images):
    wrong = (images.labels[:50] + 1) % 10
    result = ClassAccuracy()(sample_set(images.samples[:50], images.samples[:50], condition=wrong))
    assert result.value < 0.05


def test_batches_average_to_the_whole(sample_set, images):
    noisy = images.samples[:90] + torch.randn(90, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = images.labels[:90]
    whole = ClassAccuracy()(sample_set(noisy, noisy, condition=labels)).value
    parts = [
        ClassAccuracy()(sample_set(noisy[k : k + 30], noisy[k : k + 30], condition=labels[k : k + 30])) for k in (0, 30, 60)
    ]
    assert sum(part.value for part in parts) / 3 == pytest.approx(whole)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (5, 10), (97, 100), (10, 10)])
def test_wilson_interval_inverts_the_score_test(successes, n):
    # Its ends are the proportions p with |share - p| = z sqrt(p (1 - p) / n).
    z = NormalDist().inv_cdf(0.975)
    for p in wilson_interval(successes, n):
        assert abs(successes / n - p) == pytest.approx(z * math.sqrt(max(p * (1 - p), 0) / n), rel=1e-5, abs=1e-7)


def test_unconditional_or_other_samples_are_not_applicable(sample_set, images):
    chosen = images.samples[:5]
    with pytest.raises(NotApplicableError, match="conditioned on a class"):
        ClassAccuracy()(sample_set(chosen, chosen))
    with pytest.raises(NotApplicableError, match="conditioned on a class"):
        ClassAccuracy()(sample_set(chosen, chosen, condition=torch.tensor([0, 1, 2, 10, 4])))
    with pytest.raises(NotApplicableError, match="8x8 digits only"):
        ClassAccuracy()(sample_set(torch.zeros(5, 2), torch.zeros(5, 2), condition=torch.zeros(5)))


def test_diverged_samples_raise(sample_set, images):
    broken = images.samples[:5].clone()
    broken[2] = torch.inf
    with pytest.raises(DivergedError, match="1 of 5"):
        ClassAccuracy()(sample_set(broken, images.samples[:5], condition=images.labels[:5]))
