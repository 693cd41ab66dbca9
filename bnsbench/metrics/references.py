"""The features of real samples, with which generated ones are compared; they are extracted once and kept."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from numpy import float64
from numpy.typing import NDArray
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.metrics.base import SampleSet
from bnsbench.metrics.extractors import EXTRACTION_BATCH, Extractor
from bnsbench.metrics.real_data import RealData
from bnsbench.storage.files import cache_errors
from bnsbench.storage.locks import alone
from bnsbench.storage.rows import Rows
from bnsbench.storage.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class RealFeatures:
    """Features of real samples.

    key: a hash of what they are the features of, and of the extractor. features: [m, width], without rows if there are
    ``statistics`` alone.
    labels: classes [m], where they are known. statistics: published ones, mean ``mu`` and covariance ``sigma``.
    info: texts for the record.
    """

    key: str
    features: Tensor
    labels: Tensor | None = None
    statistics: Mapping[str, NDArray[float64]] | None = None
    info: Mapping[str, str] = field(default_factory=dict)


class FeatureCache:
    """Features of recent sets of samples in memory, found by a hash of the set and the extractor.

    size: the most sets. room: the most numbers, except that the most recent set stays whatever its size.
    """

    def __init__(self, size: int = 16, room: int = 2**28) -> None:
        self._size = size
        self._room = room
        self._entries: OrderedDict[tuple[str, str, int], Tensor] = OrderedDict()

    def features(self, extractor: Extractor, key: str, compute: Callable[[], Tensor]) -> Tensor:
        """Return the features of a set, which are computed once while the set is among the most recent ones.

        Args:
            extractor: The extractor, whose fingerprint is part of the key.
            key: A hash of the set.
            compute: Extracts the features [n, width].
        """
        entry = extractor.fingerprint, key, extractor.width
        if entry not in self._entries:
            self._entries[entry] = compute()
        self._entries.move_to_end(entry)
        while len(self._entries) > self._size or (len(self._entries) > 1 and self._numbers() > self._room):
            self._entries.popitem(last=False)
        return self._entries[entry]

    def _numbers(self) -> int:
        return sum(features.numel() for features in self._entries.values())


_CACHE = FeatureCache()
_JUDGED = FeatureCache(size=2)
"""Of the samples that are being judged, by two extractors at most."""


def features_of(extractor: Extractor, samples: Tensor, labels: Tensor | None = None) -> RealFeatures:
    """Return the features of samples in memory.

    Args:
        extractor: The extractor.
        samples: [n, ...], as it takes them.
        labels: Their classes [n], where they are known.
    """
    key = _digest(samples)
    found = _CACHE.features(extractor, key, lambda: extractor.features(samples))
    return RealFeatures(_joined(key, extractor), found, labels)


def features_of_samples(extractor: Extractor, samples: SampleSet, prepared: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the features [n, width] of samples, extracted once for all metrics that look at them.

    Args:
        extractor: The extractor.
        samples: The samples.
        prepared: From decoded samples to what the extractor takes, such as bytes.
    """
    # The first decoded part stands for the decoder, which has no hash.
    key = _digest(samples.latents, next(samples.parts()).samples)
    parts = (part.samples for part in samples.parts())
    return _JUDGED.features(extractor, key, lambda: _of_parts(extractor, parts, len(samples), prepared))


def features_of_truth(extractor: Extractor, samples: SampleSet, prepared: Callable[[Tensor], Tensor]) -> RealFeatures:
    """Return the features of the ground truth of samples.

    They are kept in the samples' cache folder, because all solvers of a field are compared with the same ground truth.

    Args:
        extractor: The extractor.
        samples: The samples with their ground truth.
        prepared: From decoded samples to what the extractor takes, such as bytes.
    """
    key = _digest(samples.truth_latents, next(samples.parts()).truth)
    parts = (part.truth for part in samples.parts())

    def compute() -> Tensor:
        return _of_parts(extractor, parts, len(samples), prepared)

    found = _CACHE.features(extractor, key, lambda: _kept(extractor, key, compute, samples.cache))
    return RealFeatures(_joined(key, extractor), found)


def _of_parts(extractor: Extractor, parts: Iterable[Tensor], n: int, prepared: Callable[[Tensor], Tensor]) -> Tensor:
    found = Rows(n)
    for part in parts:
        found.add(extractor.features(prepared(part)))
    return found.whole()


def features_of_files(
    extractor: Extractor,
    data: RealData,
    device: torch.device,
    cache: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> RealFeatures:
    """Return the features of samples in files, extracted batch by batch, and the statistics that come with them.

    Args:
        extractor: The extractor.
        data: The files.
        device: Where they are extracted.
        cache: A folder that keeps features between processes, by hashes of the files and the extractor; None for none.
        progress: Called with what is being done.

    Raises:
        UsageError: If files are not like the samples, or there are only statistics of another extractor.
    """
    tell = progress or _say_nothing
    tell(f"reading {data.source}")
    fingerprint, statistics = data.fingerprint, data.statistics
    fitting = statistics is not None and statistics["sigma"].shape == 2 * (extractor.width,) == 2 * statistics["mu"].shape
    if not len(data) and not fitting:
        raise UsageError(
            f"The statistics in {data.source} are not those of the {extractor.width} features that are extracted of the"
            " samples: give weights=FILE of the Inception-v3 that they were made with, or the images."
        )
    key = hashlib.sha256(f"{fingerprint} {data.kind} {data.form}".encode()).hexdigest()
    kept = cache if len(data) else None
    found = _CACHE.features(
        extractor, key, lambda: _kept(extractor, key, lambda: _extract(extractor, data, device, tell), kept)
    )
    info = {"reference": fingerprint, "reference_kind": data.kind if len(data) else "statistics"}
    return RealFeatures(_joined(key, extractor), found, statistics=statistics if fitting else None, info=info)


def _kept(extractor: Extractor, key: str, compute: Callable[[], Tensor], cache: Path | None) -> Tensor:
    """Return the features from the cache folder, computing them in one process alone if they are not there."""
    if cache is None:
        return compute()
    file = cache / f"{hashlib.sha256(_joined(key, extractor).encode()).hexdigest()[:40]}.safetensors"
    with alone(file.with_suffix(".lock"), cache):
        found = (read_tensors(file) or {}).get("features")
        if found is None or found.ndim != 2 or found.shape[1] != extractor.width:
            found = compute()
            with cache_errors(cache):
                write_tensors(file, {"features": found})
    return found


def _joined(key: str, extractor: Extractor) -> str:
    return f"{key} {extractor.fingerprint} {extractor.width}"


def _extract(extractor: Extractor, data: RealData, device: torch.device, tell: Callable[[str], None]) -> Tensor:
    features = torch.empty(len(data), extractor.width)
    done = 0
    for batch in data.batches(EXTRACTION_BATCH):
        features[done : done + len(batch)] = extractor.features(batch.to(device))
        done += len(batch)
        tell(f"features of {data.source}: {done:,} of {len(data):,}")
    return features


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        # As bytes, for numpy knows no bfloat16.
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _say_nothing(text: str) -> None:
    del text
