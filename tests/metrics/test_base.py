from __future__ import annotations

import pytest
import torch

from bnsbench.errors import DivergedError, UsageError


def test_unequal_counts_are_refused(sample_set):
    with pytest.raises(UsageError, match=r"equally many and at least one, not \[3, 2\]"):
        sample_set(torch.zeros(3, 2), torch.zeros(2, 2))
    with pytest.raises(UsageError, match="equally many"):
        sample_set(torch.zeros(3, 2), torch.zeros(3, 2), condition=torch.zeros(4))


def test_no_samples_are_refused(sample_set):
    with pytest.raises(UsageError, match="at least one"):
        sample_set(torch.zeros(0, 2), torch.zeros(0, 2))


def test_latents_of_other_shapes_are_refused(sample_set):
    with pytest.raises(UsageError, match="differ in shape"):
        sample_set(torch.zeros(3, 2), torch.zeros(3, 4))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_counted(sample_set, bad):
    broken = torch.zeros(3, 2)
    broken[1] = bad
    with pytest.raises(DivergedError, match="1 of 3 samples are not finite"):
        sample_set(broken, torch.zeros(3, 2)).require_finite()
    with pytest.raises(DivergedError, match="1 of 3 ground-truth samples"):
        sample_set(torch.zeros(3, 2), broken).require_finite()


def test_length_is_the_number_of_samples(sample_set):
    samples = sample_set(torch.zeros(3, 2), torch.ones(3, 2))
    samples.require_finite()
    assert len(samples) == 3


def test_samples_are_decoded_once_and_when_they_are_looked_at(sample_set):
    asked = []

    def decoder(states):
        asked.append(len(states))
        return 2 * states

    latents = torch.arange(6.0).reshape(3, 2)
    samples = sample_set(latents, latents + 1, decoder=decoder)
    samples.require_finite()
    assert asked == []
    for _ in range(2):
        assert torch.equal(samples.samples, 2 * latents)
    assert asked == [3]
    assert torch.equal(samples.truth, 2 * latents + 2)
    part = samples.part(slice(1, 3))
    assert torch.equal(part.samples, 2 * latents[1:])
    assert torch.equal(part.truth, 2 * latents[1:] + 2)
    assert asked == [3, 3, 2, 2]
    kept = sample_set(latents, latents, decoder=decoder, decoded_truth=lambda: latents + 5)
    assert torch.equal(kept.truth, latents + 5)
