from __future__ import annotations

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import CHUNK, TAUGHT_CHUNK, PairSource
from bnsbench.truth.teacher import Adaptive
from tests.flows.toy import GaussianModel

SCALES = (0.0, 1.3, 4.0)
"""1.3 is no float32, and 0 is unguided in a source of its own."""


def mixture(scales: tuple[float, ...] = SCALES, weights: tuple[float, ...] = (), **more) -> MixedSource:
    return MixedSource.of(PairSource(GaussianModel(), "gaussian", tolerance=1e-6, **more), scales, weights)


class Unconditional(GaussianModel):
    """The same model of its null condition alone."""

    def predict(self, t, x, condition):
        return super().predict(t, x, torch.full((len(x),), -1))

    def conditions(self, indices):
        return None


@pytest.mark.parametrize("scales", [SCALES, (2.0, 0.5)], ids=len)
@pytest.mark.parametrize("count", [10, 6])
def test_every_sample_is_that_of_its_own_source(scales: tuple[float, ...], count: int) -> None:
    mixed = mixture(scales)
    found, t = mixed.pairs("train", count), torch.tensor(0.3, dtype=torch.float64)
    assert len(found) == count
    velocity = found.field(t, found.x0)
    for s in range(count):
        own, index = mixed.sources[s % len(scales)].pairs("train", count), s // len(scales)
        assert torch.equal(found.x0[s], own.x0[index])
        assert torch.equal(found.x1[s], own.x1[index])
        torch.testing.assert_close(velocity[s], own.field(t, own.x0)[index], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_a_single_scale_is_its_own_source_and_costs_as_much(scale: float) -> None:
    mixed = mixture((scale, scale), (1.0, 2.0))
    pairs, own, t = mixed.pairs("test", 6), mixed.sources[0].pairs("test", 3), torch.tensor(0.4, dtype=torch.float64)
    assert torch.equal(pairs.x1[::2], own.x1)
    assert torch.equal(pairs.field(t, pairs.x0)[::2], own.field(t, own.x0))
    assert pairs.field.forwards_per_evaluation == mixed.forwards_per_evaluation == own.field.forwards_per_evaluation
    assert pairs.nfe == own.nfe


def test_a_part_keeps_scales_conditions_and_weights_together() -> None:
    pairs, t = mixture(weights=(1.0, 2.0, 3.0)).trajectories("train", 9), torch.tensor(0.6, dtype=torch.float64)
    chosen = torch.tensor([7, 2, 3])
    part = pairs.part(chosen)
    torch.testing.assert_close(part.field(t, part.x0), pairs.field(t, pairs.x0)[chosen])
    assert part.weights is not None
    assert part.weights.tolist() == [2.0, 3.0, 1.0]
    assert part.trajectory is not None
    assert torch.equal(part.trajectory.x[-1], part.x1)


@pytest.mark.parametrize("kinds", [2, 3, 5])
def test_every_class_is_as_frequent_under_every_scale(kinds: int) -> None:
    """The toy's classes go round in threes, so three scales that took turns by index would each get one class."""
    mixed = mixture(tuple(float(w) for w in range(kinds)))
    pairs = mixed.pairs("train", 9 * kinds)
    assert pairs.field.condition is not None
    assert isinstance(pairs.field.guidance, torch.Tensor)
    for w in range(kinds):
        classes = pairs.field.condition[pairs.field.guidance == w]
        assert torch.equal(torch.bincount(classes, minlength=3), torch.tensor([3, 3, 3]))


def test_trajectories_are_those_of_each_source() -> None:
    mixed = mixture()
    pairs = mixed.trajectories("train", 8)
    assert pairs.trajectory is not None
    for s in range(8):
        own, index = mixed.sources[s % 3].trajectories("train", 3), s // 3
        assert own.trajectory is not None
        assert torch.equal(pairs.trajectory.x[:, s], own.trajectory.x[:, index])
        assert torch.equal(pairs.trajectory.u[:, s], own.trajectory.u[:, index])
        assert torch.equal(pairs.trajectory.times, own.trajectory.times)
    assert torch.equal(pairs.trajectory.x[0], pairs.x0)
    assert torch.equal(pairs.trajectory.x[-1], pairs.x1)
    assert mixed.pairs("train", 8).trajectory is None


def test_the_velocities_of_a_trajectory_are_the_mixed_field_s() -> None:
    pairs = mixture().trajectories("train", 6)
    trajectory = pairs.trajectory
    assert trajectory is not None
    for i in (0, 20, 64):
        torch.testing.assert_close(
            pairs.field(trajectory.times[i], trajectory.x[i]), trajectory.u[i], rtol=1e-12, atol=1e-12
        )


def test_weights_are_those_of_the_scales() -> None:
    pairs = mixture(weights=(1.0, 2.0, 5.0)).pairs("train", 7)
    assert pairs.weights is not None
    assert pairs.weights.tolist() == [1.0, 2.0, 5.0, 1.0, 2.0, 5.0, 1.0]
    torch.testing.assert_close(pairs.sample_weights(), pairs.weights / 17)
    assert mixture().pairs("train", 7).weights is None


def test_conditions_have_weights_of_their_own() -> None:
    sources = mixture((0.0, 2.0)).sources
    rare = MixedSource(sources, condition_weights=lambda labels: torch.where(labels == 2, 4.0, 1.0)).pairs("train", 6)
    assert rare.weights is not None
    assert rare.weights.tolist() == [1.0, 1.0, 1.0, 1.0, 4.0, 4.0]
    both = MixedSource(sources, (1.0, 3.0), lambda labels: labels + 1).pairs("train", 6)
    assert both.weights is not None
    assert both.weights.tolist() == [1.0, 3.0, 2.0, 6.0, 3.0, 9.0]


def test_a_model_without_conditions_has_no_weights_for_them() -> None:
    source = PairSource(Unconditional(), "gaussian", tolerance=1e-6)
    pairs = MixedSource((source, source), (1.0, 2.0), lambda labels: labels / 0).pairs("train", 4)
    assert pairs.field.condition is None
    assert pairs.weights is not None
    assert pairs.weights.tolist() == [1.0, 2.0, 1.0, 2.0]
    velocity = pairs.field(torch.tensor(0.5, dtype=torch.float64), pairs.x0)
    torch.testing.assert_close(velocity, source.pairs("train", 2).field(torch.tensor(0.5), pairs.x0))


def test_the_truth_s_cost_is_the_mean_over_samples() -> None:
    rough, fine = (PairSource(GaussianModel(), "gaussian", 2.0, tolerance=tolerance) for tolerance in (1e-3, 1e-7))
    costs = rough.pairs("train", 4).nfe, fine.pairs("train", 4).nfe
    assert costs[0] < costs[1]
    assert MixedSource((rough, fine)).pairs("train", 5).nfe == pytest.approx((3 * costs[0] + 2 * costs[1]) / 5)


def test_splits_stay_disjoint() -> None:
    mixed = mixture()
    noise = {split: {tuple(x) for x in mixed.pairs(split, CHUNK).x0.tolist()} for split in ("train", "validation", "test")}
    # Scales share their noise, three samples to one draw.
    assert all(len(draws) == -(-CHUNK // 3) for draws in noise.values())
    assert not noise["train"] & noise["validation"]
    assert not noise["train"] & noise["test"]
    assert not noise["validation"] & noise["test"]


def test_fewer_pairs_are_the_first_of_more() -> None:
    few, many = mixture().pairs("train", 5), mixture().pairs("train", 40)
    assert torch.equal(few.x0, many.x0[:5])
    assert torch.equal(few.x1, many.x1[:5])


def test_a_mixture_says_what_it_is_made_of() -> None:
    mixed = mixture(seed=3)
    assert (mixed.guidance, mixed.name, mixed.seed, mixed.truth_tolerance) == (SCALES, "gaussian", 3, 1e-6)
    assert mixed.model is mixed.sources[0].model
    assert mixed.forwards_per_evaluation == 2
    assert mixed.pairs("train", 3).field.forwards_per_evaluation == 2


def test_a_mixture_of_one_source_is_that_source() -> None:
    source = PairSource(GaussianModel(), "gaussian", 2.0, seed=3, tolerance=1e-5)
    mixed = MixedSource((source,))
    found = (mixed.model, mixed.name, mixed.seed, mixed.truth_tolerance, mixed.forwards_per_evaluation)
    assert found == (source.model, "gaussian", 3, 1e-5, 2)
    assert torch.equal(mixed.pairs("train", 3).x1, source.pairs("train", 3).x1)


def test_a_coarser_mixture_is_of_coarser_sources() -> None:
    coarse = mixture(weights=(1.0, 2.0, 3.0)).coarser(1e-3, 8)
    assert [(source.guidance, source.tolerance, source.chunk) for source in coarse.sources] == [(w, 1e-3, 3) for w in SCALES]
    assert coarse.weights == (1.0, 2.0, 3.0)
    assert mixture().coarser(1e-9, 1).sources[0].chunk == 1


def test_a_taught_mixture_is_of_taught_sources() -> None:
    teacher = Adaptive(1e-4, canonical=True)
    taught = mixture(weights=(1.0, 2.0, 3.0)).taught(teacher, 8)
    told = [(source.guidance, source.teacher, source.chunk) for source in taught.sources]
    assert told == [(w, teacher, 3) for w in SCALES]
    assert taught.weights == (1.0, 2.0, 3.0)
    assert mixture().taught(teacher, 1).sources[0].chunk == 1
    assert mixture().taught(teacher).sources[0].chunk == -(-TAUGHT_CHUNK // 3)
    pairs, fine = taught.pairs("train", 6), mixture().pairs("train", 6)
    assert torch.equal(pairs.x0, fine.x0)
    torch.testing.assert_close(pairs.x1, fine.x1, rtol=0, atol=1e-3)
    assert pairs.truth_evaluations < fine.truth_evaluations / 10


@pytest.mark.parametrize(
    ("scales", "weights", "reason"),
    [
        ((0.0, 2.0), (1.0,), "1 weights are given for 2 guidance scales"),
        ((0.0, 2.0), (1.0, 0.0), "must be above 0"),
        ((0.0, 2.0), (1.0, -1.0), "must be above 0"),
        ((), (), "at least one guidance scale"),
    ],
)
def test_weights_that_do_not_fit_are_refused(scales: tuple[float, ...], weights: tuple[float, ...], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        mixture(scales, weights)


def test_a_scale_without_a_pair_is_refused() -> None:
    with pytest.raises(UsageError, match="2 pairs cannot be shared by 3 guidance scales"):
        mixture().pairs("train", 2)
    with pytest.raises(UsageError, match="each needs one"):
        mixture().trajectories("train", 2)


def test_scales_in_words() -> None:
    assert guidance_in_words(2.0) == "2"
    assert guidance_in_words((0.0, 2.5, 6)) == "0, 2.5, 6"
