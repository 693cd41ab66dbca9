from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from bnsbench.metrics import resampling
from bnsbench.metrics.resampling import (
    COUNT,
    factored,
    frechet_distances,
    inception_replicates,
    kernel_replicates,
    moments,
    precision_replicates,
    recall_replicates,
    resamples,
    weights,
)

N, M, WIDTH = 70, 110, 5


def features(count: int = N, seed: int = 0, width: int = WIDTH) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) @ mixing + 0.1 * seed


def frechet(a: torch.Tensor, b: torch.Tensor) -> float:
    metric = fid_statistics_to_metric(fid_features_to_statistics(a), fid_features_to_statistics(b), False)
    return metric["frechet_inception_distance"]


def test_resamples_depend_on_their_number_alone():
    first = resamples(N)
    assert first.shape == (COUNT, N)
    resamples.cache_clear()
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    assert torch.equal(resamples(N), first)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before[1])  # noqa: NPY002
    assert not torch.equal(resamples(N + 1)[:, :N], first)
    assert len(first.unique(dim=0)) == COUNT
    # Each of N is drawn with probability 1 / N: means of N * COUNT draws scatter by less than a percent.
    assert float(first.double().mean()) == pytest.approx((N - 1) / 2, rel=0.03)
    assert torch.equal(weights(N).sum(dim=1), torch.full((COUNT,), float(N), dtype=torch.float64))
    assert int(weights(N)[3, 5]) == int((first[3] == 5).sum())


@pytest.mark.parametrize("width", [1, WIDTH, 40])
def test_frechet_replicates_are_the_distances_of_resamples(width):
    made, real = features(width=width), features(M, 1, width)
    found = frechet_distances(moments(made, weights(N)), factored(moments(real)))
    for b, rows in enumerate(resamples(N)[:10]):
        expected = frechet(made[rows], real) if width > 1 else frechet_of_one(made[rows], real)
        assert float(found[b]) == pytest.approx(expected, rel=1e-6)


def frechet_of_one(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2)


def test_pairs_are_resampled_together():
    truth = features()
    made = truth + 0.3 * features(seed=2)
    found = frechet_distances(moments(made, weights(N)), factored(moments(truth, weights(N))))
    for b, rows in enumerate(resamples(N)[:10]):
        assert float(found[b]) == pytest.approx(frechet(made[rows], truth[rows]), rel=1e-6)
    same = frechet_distances(moments(truth, weights(N)), factored(moments(truth, weights(N))))
    assert same.tolist() == pytest.approx([0.0] * COUNT, abs=1e-6)


def kernel(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    return ((a @ b.T / WIDTH + 1) ** 3).numpy()


@pytest.mark.parametrize("paired", [True, False])
def test_kernel_replicates_are_their_estimate_pair_by_pair(paired):
    made = features()
    real = made + 0.3 * features(seed=2) if paired else features(M, 1)
    found = kernel_replicates(made, real, paired)
    for b, rows in enumerate(resamples(N).numpy()[:3]):
        others = rows if paired else np.arange(M)
        own, theirs, between = (
            kernel(made[rows], made[rows]),
            kernel(real[others], real[others]),
            kernel(made[rows], real[others]),
        )
        unlike, unlike_theirs = (chosen[:, None] != chosen[None] for chosen in (rows, others))
        expected = own[unlike].mean() + theirs[unlike_theirs].mean()
        if paired:
            expected -= 2 * ((N - 1) / N * between[unlike].mean() + between.diagonal().mean() / N)
        else:
            expected -= 2 * between.mean()
        assert float(found[b]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("paired", [True, False])
def test_kernel_replicates_scatter_about_torch_fidelity_s_estimate(paired, monkeypatch):
    made = features()
    real = made + 0.3 * features(seed=2) if paired else features(N, 1)
    whole = kid_features_to_metric(made, real, kid_subsets=1, kid_subset_size=N, verbose=False)
    value = whole["kernel_inception_distance_mean"]
    found = kernel_replicates(made, real, paired)
    assert float(found.mean()) == pytest.approx(value, abs=3 * float(found.std()) / COUNT**0.5)
    monkeypatch.setattr(resampling, "weights", lambda n: torch.ones(1, n, dtype=torch.float64))
    assert float(kernel_replicates(made, real, paired)) == pytest.approx(value, rel=1e-9)


def test_precision_and_recall_of_resamples_are_torch_fidelity_s():
    made, real = 1.2 * features(), features(M, 1)
    found = precision_replicates(made, real, 3), recall_replicates(made, real, 3)
    for b, rows in enumerate(resamples(N)[:10]):
        expected = prc_features_to_metric(
            made[rows], real, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=True, verbose=False
        )
        assert float(found[0][b]) == pytest.approx(expected["precision"], rel=1e-6)
        assert float(found[1][b]) == pytest.approx(expected["recall"], rel=1e-6)
    assert 0.1 < float(found[0].mean()) < 1
    assert 0.1 < float(found[1].mean()) < 1


@pytest.mark.parametrize("splits", [1, 4, 10])
def test_inception_scores_of_resamples_are_torch_fidelity_s(splits):
    logits = 3 * torch.randn(N + 3, 7, generator=torch.Generator().manual_seed(0))
    found = inception_replicates(logits, splits, 2020)
    for b, rows in enumerate(resamples(N + 3)[:10]):
        expected = isc_features_to_metric(logits[rows], splits)["inception_score_mean"]
        assert float(found[b]) == pytest.approx(expected, rel=1e-6)


def test_blocks_are_not_seen(monkeypatch):
    made, real = features(), features(M, 1)
    compute = (
        lambda: kernel_replicates(made, real, False),
        lambda: kernel_replicates(made, made + 0.1 * features(seed=2), True),
        lambda: precision_replicates(made, real, 3),
        lambda: recall_replicates(made, real, 3),
    )
    whole = [part() for part in compute]
    monkeypatch.setattr(resampling, "BLOCK", 500)
    for one, other in zip(whole, compute, strict=True):
        torch.testing.assert_close(one, other(), rtol=1e-12, atol=1e-12)


def test_replicates_tell_the_scatter_of_the_mean():
    """Of sets that differ by a shift, the distance is its square, whose deviation is about 2 shift / sqrt(n)."""
    n, shift = 1000, 0.5
    made = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    reference = torch.zeros(1, 1, dtype=torch.float64) - shift, torch.ones(1, 1, 1, dtype=torch.float64)
    found = frechet_distances(moments(made, weights(n)), reference)
    assert float(found.std()) == pytest.approx(2 * shift / n**0.5, rel=0.25)
