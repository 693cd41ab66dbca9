"""The Frechet audio distance of CLAP's embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from bnsbench.plugin import Extractor, FrechetAudioDistance, SampleSet, mono, sample_rate
from bnsbench_diffusers.metrics.checkpoints import checkpoint_hash, load_checkpoint, require_place
from bnsbench_diffusers.metrics.encoders import ClapEncoder
from bnsbench_diffusers.models.fingerprint import digest_of


class ClapDistance(FrechetAudioDistance):
    """The Frechet distance of CLAP's embeddings, of unit length; ``weights`` is the folder or the hub id of a CLAP."""

    weights_kind = ""  # no file, but a checkpoint's folder or id

    def extractor(self, samples: SampleSet) -> Extractor:
        encoder = ClapEncoder(load_checkpoint("Clap", self.weights), sample_rate(samples))
        return Extractor(_Features(encoder), encoder.width, digest_of([encoder.fingerprint, encoder.rate]))

    def weights_hash(self) -> str:
        return checkpoint_hash(self.weights)

    def prepared(self, values: Tensor) -> Tensor:
        return mono(values.float())


def fad_clap(path: str = "", minimum: int = 0, data: str = "") -> ClapDistance:
    """Return the distance to the data set, or to the sounds in the folder ``data``."""
    require_place("Clap", path)
    return ClapDistance("data", path, minimum, data)


def fad_clap_gt(path: str = "", minimum: int = 0) -> ClapDistance:
    """Return the distance to the ground-truth samples."""
    require_place("Clap", path)
    return ClapDistance("truth", path, minimum)


class _Features(nn.Module):
    """Waveforms to embeddings, as an `Extractor` calls its network."""

    def __init__(self, encoder: ClapEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, waveforms: Tensor) -> tuple[Tensor]:
        return (self.encoder.samples(waveforms),)
