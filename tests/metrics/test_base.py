from __future__ import annotations

import pytest
import torch

from bnsbench.errors import DivergedError, UsageError
from bnsbench.metrics import base
from bnsbench.metrics.distribution import fid_gt, kid_gt
from bnsbench.metrics.image import Psnr, Ssim


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


def test_what_decodes_to_nothing_is_found_where_it_is_looked_at(sample_set):
    latents = torch.arange(6.0).reshape(3, 2)
    samples = sample_set(latents, latents + 1, decoder=lambda states: states.masked_fill(states == 3.0, torch.nan))
    samples.require_finite()
    for look in (lambda: samples.require_finite(decoded=True), lambda: samples.samples):
        with pytest.raises(DivergedError, match="1 of 3 decoded samples are not finite"):
            look()
    with pytest.raises(DivergedError, match="1 of 3 decoded ground-truth samples are not finite"):
        _ = samples.truth
    kept = sample_set(latents, latents, decoded=lambda: latents * torch.inf, decoded_truth=lambda: latents)
    with pytest.raises(DivergedError, match="3 of 3 decoded samples"):
        _ = kept.samples
    assert torch.equal(kept.truth, latents)


@pytest.mark.parametrize("kept", [True, False])
def test_parts_are_decoded_together_only_where_they_are_kept(sample_set, monkeypatch, kept):
    asked = []

    def decoder(states):
        asked.append(len(states))
        return 2 * states

    n = 2 * base.PART + 3
    monkeypatch.setattr(base, "KEPT_NUMBERS", 2 * n if kept else 2 * n - 1)
    latents = torch.randn(n, 2)
    samples = sample_set(latents, latents + 1, condition=torch.arange(n), decoder=decoder)
    parts = list(samples.parts())
    assert [len(part) for part in parts] == [base.PART, base.PART, 3]
    assert torch.equal(torch.cat([part.samples for part in parts]), 2 * latents)
    assert torch.equal(torch.cat([part.truth for part in parts]), 2 * latents + 2)
    assert torch.equal(torch.cat([part.condition for part in parts]), torch.arange(n))
    # The first row alone tells how large a decoded one is.
    assert asked == [1, n, n] if kept else asked == [1, *[len(part) for part in parts] * 2]
    assert samples.form == (2,)


@pytest.mark.parametrize("metric", [fid_gt(minimum=2), kid_gt(), Ssim(), Psnr()], ids=lambda metric: type(metric).__name__)
def test_large_sets_score_as_small_ones(sample_set, images, monkeypatch, metric):
    """Whether decoded samples are kept, and that there are parts at all, is not seen in the value."""
    truth = images.samples[:300]
    samples = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    kept = metric(sample_set(samples, truth))
    monkeypatch.setattr(base, "KEPT_NUMBERS", 0)
    monkeypatch.setattr(base, "PART", 70)
    again = metric(sample_set(samples, truth))
    assert again.value == pytest.approx(kept.value, rel=1e-5)
    assert again.details["n"] == 300
