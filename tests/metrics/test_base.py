from __future__ import annotations

import pytest
import torch

from bnsbench.errors import DivergedError, UsageError


def test_unequal_counts_are_refused(sample_set):
    with pytest.raises(UsageError, match=r"equally many and at least one, not \[3, 2, 3, 2\]"):
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
