from __future__ import annotations

import hashlib

import pytest
import torch
from scipy import stats

from bnsbench.errors import UsageError
from bnsbench.truth.noise import noise, stream_seed


def test_a_sample_s_noise_does_not_depend_on_its_batch() -> None:
    whole = noise(0, "m", "test", range(20), (3, 4))
    assert torch.equal(whole[7:9], noise(0, "m", "test", [7, 8], (3, 4)))
    assert torch.equal(whole[[19, 0]], noise(0, "m", "test", torch.tensor([19, 0]), (3, 4)))


def test_streams_differ_by_seed_model_split_and_index() -> None:
    draws = [
        noise(seed, model, split, [index], (8,))
        for seed in (0, 1)
        for model in ("a", "b")
        for split in ("train", "validation", "test")
        for index in (0, 1)
    ]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == 24
    assert stream_seed("a", "b") != stream_seed("ab")


def test_streams_are_those_of_the_published_results() -> None:
    """A seed is the first 63 bits of a SHA-256, from which every release of torch draws these numbers."""
    digest = int(hashlib.sha256(b"0\x1fm\x1ftest\x1f7").hexdigest(), 16)
    assert stream_seed(0, "m", "test", 7) == digest >> (256 - 63)
    expected = torch.tensor([[-0.6931202032007269, 0.658689469658894, 0.6339750101965329]], dtype=torch.float64)
    torch.testing.assert_close(noise(0, "m", "test", [7], (3,)), expected, rtol=0, atol=1e-12)


def test_noise_is_standard_normal_and_uncorrelated() -> None:
    draws = noise(0, "m", "train", range(2000), (16,))
    assert draws.dtype == torch.float64
    assert stats.kstest(draws.flatten().numpy(), "norm").pvalue > 1e-3
    neighbours = (draws[:-1] * draws[1:]).mean().item()
    assert abs(neighbours) < 4 / (1999 * 16) ** 0.5


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    noise(0, "m", "test", range(5), (2,))
    assert torch.equal(before, torch.random.get_rng_state())


def test_unknown_splits_are_refused() -> None:
    with pytest.raises(UsageError, match="no split 'dev'"):
        noise(0, "m", "dev", [0], (2,))  # type: ignore[arg-type]
