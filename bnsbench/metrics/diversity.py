"""Diversity under a condition: how far apart samples of the same condition are, relative to the ground truth's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.metrics import resampling
from bnsbench.metrics.audio import mono
from bnsbench.metrics.base import MetricValue, SampleSet, finite
from bnsbench.metrics.contents import content_hash, joint_hash
from bnsbench.metrics.degenerate import SAME, is_flat
from bnsbench.metrics.extractors import Extractor, extractor_for, to_uint8
from bnsbench.metrics.feature_metric import FeatureMetric
from bnsbench.metrics.image import clamped_images, own_features
from bnsbench.metrics.references import features_of_samples, features_of_truth
from bnsbench.metrics.sound_extractors import sound_extractor
from bnsbench.storage.names import is_file

Kind = Literal["samples", "truth"]


class Diversity:
    """The mean distance of samples of the same condition, divided by that of the ground truth: 1 is as diverse as exact.

    The samples of a cell take the model's conditions in turn, so each condition that comes round again has several seeds
    already, and no further sampling is needed. They are grouped, in their order, into groups of the same condition with
    ``seeds`` samples or a few more, or all of a condition that has fewer, two at least; samples that are alone in their
    condition are left out. The value is a ratio of means over groups of the mean distance over pairs in a group. Groups
    share no sample, so they are what is resampled; the ground truth's are resampled with them.

    The distance is 1 - cos of features, or LPIPS as `bnsbench.metrics.image.Perceptual` has it. Noise is diverse too, so a
    value above 1 is no gain. A sample without variation shows nothing, and its distances count as 0. It may raise, when
    called: NotApplicableError for samples without conditions, conditions that are all different, a ground truth without
    variety, or samples without features; DivergedError for samples that are not finite or whose features are not.

    Args:
        distance: "features" or "perceptual".
        seeds: The fewest samples in a group where a condition has as many, 2 or more.
        weights: Path of Inception-v3's weights, needed for features of RGB images of models without own ones.

    Raises:
        UsageError: If there is no such distance, a group would have no pair, or the file is not there.
    """

    def __init__(self, distance: Literal["features", "perceptual"] = "features", seeds: int = 8, weights: str = "") -> None:
        if distance not in ("features", "perceptual"):
            raise UsageError(f"Diversity has no distance {distance!r}: choose features or perceptual.")
        if seeds < 2:
            raise UsageError(f"Diversity compares pairs of samples, so seeds cannot be {seeds}: give 2 or more.")
        if weights and not is_file(weights):
            raise UsageError(
                f"There is no {FeatureMetric.weights_kind} {weights}: give its path, or choose metrics without it."
            )
        self.distance = distance
        self.seeds = seeds
        self.weights = weights

    def __call__(self, samples: SampleSet) -> MetricValue:
        samples.require_finite()
        groups = same_condition(samples.condition, self.seeds)
        distances = self._of_activations if self.distance == "perceptual" else self._of_features
        made, truth, fingerprint = distances(samples, groups)
        if float(truth.mean()) <= SAME**2:
            raise NotApplicableError(
                "Ground-truth samples of the same condition are all the same, so there is no diversity."
            )
        details = {
            "n": float(sum(map(len, groups))),
            "groups": float(len(groups)),
            "distance": float(made.mean()),
            "distance_truth": float(truth.mean()),
            "truth": 1.0,
        }
        replicates, info = _replicates(made, truth)
        value = float(made.mean() / truth.mean())
        return MetricValue(value, details=details, info={"extractor": fingerprint, **info}, replicates=replicates)

    def fingerprint(self) -> str:
        """Return a hash of the weights' file, see `bnsbench.metrics.contents.files_fingerprint`."""
        return joint_hash({"weights": content_hash(Path(self.weights), (Path(self.weights),)) if self.weights else ""})

    def _of_features(self, samples: SampleSet, groups: Sequence[Tensor]) -> tuple[Tensor, Tensor, str]:
        """Return the mean distances in groups, of samples and of ground truth, and the extractor's fingerprint."""
        extractor, prepared = self._extractor(samples), _heard if samples.model.sample_rate is not None else to_uint8
        made = features_of_samples(extractor, samples, prepared)
        truth = features_of_truth(extractor, samples, prepared).features
        flat = torch.cat([torch.stack([is_flat(part.samples), is_flat(part.truth)]) for part in samples.parts()], 1).cpu()
        finite(made, "samples' features")
        finite(truth, "ground-truth samples' features")
        # 1 - cos is half of the squared distance of directions.
        found = [
            torch.stack([mean_distance(features[rows], none[rows]) / 2 for rows in groups])
            for features, none in zip((made, truth), flat, strict=True)
        ]
        return found[0], found[1], extractor.fingerprint

    def _extractor(self, samples: SampleSet) -> Extractor:
        if samples.model.sample_rate is not None:
            return sound_extractor(samples)
        return extractor_for(samples.model, samples.form, self.weights)

    def _of_activations(self, samples: SampleSet, groups: Sequence[Tensor]) -> tuple[Tensor, Tensor, str]:
        """Return the mean distances as `_of_features`; activations are large, so each group has them by itself."""
        features = own_features(samples.model)
        kinds: tuple[Kind, Kind] = "samples", "truth"
        found = [
            torch.stack(
                [_perceptual(features.activations(images), is_flat(images)) for images in _shown(samples, kind, groups)]
            )
            for kind in kinds
        ]
        for values, what in zip(found, kinds, strict=True):
            finite(values[:, None], f"perceptual distances of {what}")
        return found[0], found[1], features.fingerprint()


def same_condition(condition: Tensor | None, seeds: int) -> list[Tensor]:
    """Return groups of rows of the same condition, which share no row: the rows of each, at least two.

    Args:
        condition: The conditions [n, ...], or None.
        seeds: The fewest rows in a group, where a condition has as many.

    Raises:
        NotApplicableError: If there are no conditions, or no condition has two rows.
    """
    if condition is None:
        raise NotApplicableError("Diversity compares samples of the same condition, and these samples have none.")
    flat = condition.cpu().reshape(len(condition), -1)
    _, which, counts = torch.unique(flat, dim=0, return_inverse=True, return_counts=True)
    rows = torch.split(which.argsort(stable=True), counts.tolist())
    groups = [group for part in rows if len(part) > 1 for group in part.tensor_split(max(1, len(part) // seeds))]
    if not groups:
        raise NotApplicableError(
            f"Diversity compares samples of the same condition, and all {len(condition)} conditions are different: raise the"
            " number of samples until they repeat."
        )
    return groups


def mean_distance(features: Tensor, flat: Tensor) -> Tensor:
    """Return the mean over pairs of rows of |a / |a| - b / |b||^2, 0 for pairs with a flat row, in float64.

    Args:
        features: [k, width], k >= 2; zeros have no direction, and stay zeros.
        flat: Which rows show nothing [k].
    """
    directions = normalize(features[~flat].double())
    return torch.pdist(directions).square().sum() / comb(len(features), 2)


def _perceptual(activations: Sequence[Tensor], flat: Tensor) -> Tensor:
    """Return the mean LPIPS distance of pairs, for activations [k, C, H, W] of each layer."""
    shown = [normalize(layer[~flat].double()).flatten(1) / (layer.shape[2] * layer.shape[3]) ** 0.5 for layer in activations]
    return torch.pdist(torch.cat(shown, dim=1)).square().sum() / comb(len(flat), 2)


def _shown(samples: SampleSet, kind: Kind, groups: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the images of each group, without gradients."""
    with torch.no_grad():
        for rows in groups:
            if samples.kept:
                yield clamped_images(getattr(samples, kind)[rows]).cpu()
            else:
                latents, truth = samples.latents[rows], samples.truth_latents[rows]
                part = replace(
                    samples, latents=latents, truth_latents=truth, condition=None, decoded=None, decoded_truth=None
                )
                yield clamped_images(getattr(part, kind)).cpu()


def _heard(sounds: Tensor) -> Tensor:
    return mono(sounds.cpu().float())


def _replicates(made: Tensor, truth: Tensor) -> tuple[list[float] | None, dict[str, str]]:
    """Return the ratios of resampled groups, or why there are none."""
    if len(made) < resampling.FEWEST:
        return None, {"replicates": f"none, for there are fewer than {resampling.FEWEST} groups of the same condition"}
    drawn = resampling.weights(len(made))
    below = drawn @ truth
    if not bool((below > 0).all()):
        return None, {"replicates": "none, for too few groups of the ground truth have any diversity"}
    return (drawn @ made / below).tolist(), {}
