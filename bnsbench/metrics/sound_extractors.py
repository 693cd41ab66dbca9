"""Feature extractors of sound: a model's own, or an exported network in a local file, which is a program to be allowed."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from bnsbench.contract.programs import Digests, read_program
from bnsbench.errors import NotApplicableError, UsageError, one_line
from bnsbench.metrics.audio import sample_rate
from bnsbench.metrics.base import SampleSet
from bnsbench.metrics.contents import content_hash
from bnsbench.metrics.extractors import Extractor, own_extractor
from bnsbench.storage.names import is_file


def sound_extractor(samples: SampleSet, network: str = "", allowed: Digests | None = None) -> Extractor:
    """Return the extractor of waveforms [n, samples]: an exported network, or else the model's own.

    Waveforms are mono, as `bnsbench.metrics.audio.mono` makes them.

    Args:
        samples: The sounds.
        network: A file that `torch.export.save` wrote, of a module from waveforms [n, samples] at the model's rate to
            features [n, width], with a dynamic n; VGGish and CLAP are exported so. "" for the model's own.
        allowed: Hashes of the programs that may run, see `bnsbench.contract.programs`; None for the one that is named.

    Raises:
        UsageError: If the file is no such network, or not allowed.
        NotApplicableError: If the samples are no sound, or there is neither a network nor a model with own features.
    """
    sample_rate(samples)
    if network:
        file = Path(network)
        if not is_file(file):
            raise UsageError(f"There is no network file {network}.")
        fingerprint = content_hash(file, (file,))
        if allowed is not None and fingerprint not in allowed:
            read_program(file, allowed)  # which refuses it
        return _exported(network, samples.form[-1], fingerprint)
    own = samples.model.features()
    if own is None:
        raise NotApplicableError("Features of sound need an exported network such as VGGish: give network=FILE.")
    return own_extractor(own)


class _Exported(nn.Module):
    """An exported network, its features flattened."""

    def __init__(self, file: Path, content: io.BytesIO) -> None:
        super().__init__()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own loader warns of the buffers that it reads
                self.network = torch.export.load(content).module()
        except Exception as error:
            reason = one_line(error)
            raise UsageError(f"{file} is no exported network, as torch.export.save writes them: {reason}.") from error

    def forward(self, waveforms: Tensor) -> tuple[Tensor]:
        return (self.network(waveforms).flatten(1),)


@lru_cache(maxsize=4)
def _exported(network: str, length: int, fingerprint: str) -> Extractor:
    file = Path(network)
    module = _Exported(file, read_program(file, frozenset({fingerprint})))  # the content that has been allowed, and no other
    try:
        with torch.no_grad():
            found = module(torch.zeros(2, length))[0]
    except Exception as error:  # an exported network may raise anything
        reason = one_line(error)
        raise UsageError(f"The network {network} does not take sounds of {length} values: {reason}.") from error
    if len(found) != 2:
        raise UsageError(
            f"The network {network} gives {len(found)} rows of features for two sounds instead of one for each."
        )
    return Extractor(module, found.shape[1], fingerprint)
