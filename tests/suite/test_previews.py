from __future__ import annotations

import pytest
import torch

from bnsbench.flows.model import Model
from bnsbench.flows.paths import CondOT
from bnsbench.metrics.base import SampleSet
from bnsbench.suite.previews import COUNT, write_preview


class Still(Model):
    """A model of which only what it generates matters."""

    path = CondOT()
    shape = (1, 8, 8)

    def __init__(self, rate: int | None = None) -> None:
        self.sample_rate = rate

    def predict(self, t, x, condition):
        return x

    def fingerprint(self):
        return "0"


def samples(shape: tuple[int, ...], rate: int | None = None) -> SampleSet:
    values = torch.rand(COUNT + 3, *shape, generator=torch.Generator().manual_seed(0)) - 0.5
    return SampleSet(values, values, None, 2.0, Still(rate))


@pytest.mark.parametrize(
    ("modality", "found", "expected"),
    [
        ("image", samples((1, 8, 8)), ["cell.png"]),
        ("points", samples((2,)), ["cell.png"]),
        ("audio", samples((4000,), 8000), ["000-truth.wav", "000.wav", "001-truth.wav", "001.wav", "cell", "cell.png"]),
        ("audio", samples((2, 4000), 8000), ["000-truth.wav", "000.wav", "001-truth.wav", "001.wav", "cell", "cell.png"]),
        ("smell", samples((4,)), []),
        ("image", samples((4,)), []),
    ],
)
def test_every_modality_is_shown_as_it_is(modality, found, expected, tmp_path):
    write_preview(found, modality, tmp_path / "previews", "cell")
    assert sorted(file.name for file in (tmp_path / "previews").rglob("*")) == expected
