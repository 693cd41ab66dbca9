from __future__ import annotations

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from bnsbench.errors import DivergedError, NotApplicableError, UsageError
from bnsbench.metrics import inception_score
from bnsbench.metrics.extractors import Extractor, extractor_for, own_extractor, to_uint8
from bnsbench.metrics.inception_score import InceptionScore
from bnsbench.metrics.resampling import resamples
from bnsbench.models.digits.features import digit_features
from bnsbench.models.scenes.model import scenes
from bnsbench.models.textures import textures
from tests.metrics.fidelity import fidelity


def test_it_is_torch_fidelity_s(sample_set, images):
    noisy = images.samples[:700] + 0.7 * torch.randn(700, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = InceptionScore()(sample_set(noisy, images.samples[:700]))
    expected = fidelity(noisy, isc=True)
    assert found.value == pytest.approx(expected["inception_score_mean"], rel=1e-6)
    assert found.details["split_deviation"] == pytest.approx(expected["inception_score_std"], rel=1e-4)
    assert {name: found.details[name] for name in ("n", "classes", "splits")} == {"n": 700, "classes": 10, "splits": 10}
    assert found.info == {"extractor": digit_features().fingerprint()}
    assert 1.5 < found.value < 0.9 * InceptionScore()(sample_set(images.samples[:700], images.samples[:700])).value


class Told(torch.nn.Module):
    """Gives the same logits whatever it is shown."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images):
        return (self.logits[: len(images)],)


def value(monkeypatch, sample_set, logits: torch.Tensor, splits: int = 1) -> float:
    monkeypatch.setattr(inception_score, "extractor_for", lambda *_: Extractor(Told(logits), logits.shape[1], "told"))
    shown = torch.zeros(len(logits), 1, 8, 8)
    return InceptionScore(minimum=1, splits=splits)(sample_set(shown, shown)).value


def test_equal_predictions_score_one(monkeypatch, sample_set):
    logits = torch.randn(1, 7, generator=torch.Generator().manual_seed(0)).expand(50, 7)
    assert value(monkeypatch, sample_set, logits, splits=5) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 7])
def test_sure_and_even_predictions_score_the_number_of_classes(monkeypatch, sample_set, classes):
    logits = 100.0 * torch.eye(classes).repeat(10, 1)
    assert value(monkeypatch, sample_set, logits) == pytest.approx(classes, rel=1e-9)


def test_it_does_not_move_with_the_global_random_states(sample_set, images):
    samples = sample_set(images.samples[:400], images.samples[:400])
    first = InceptionScore()(samples)
    torch.manual_seed(5)
    assert InceptionScore()(samples) == first


def test_it_has_replicates_and_the_truth_s_own_score(sample_set, images):
    truth = images.samples[:400]
    noisy = truth + 0.7 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    found = InceptionScore()(sample_set(noisy, truth))
    logits = own_extractor(digit_features(), "logits").features(to_uint8(noisy))
    assert found.replicates is not None
    for b, rows in enumerate(resamples(400)[:5]):
        expected = isc_features_to_metric(logits[rows], 10)["inception_score_mean"]
        assert found.replicates[b] == pytest.approx(expected, rel=1e-6)
    assert found.details["truth"] == InceptionScore()(sample_set(truth.clone(), truth)).value


def test_what_it_cannot_judge_is_refused(sample_set, images, tmp_path):
    few = images.samples[:399]
    with pytest.raises(NotApplicableError, match="10 classes in 10 parts needs at least 400 samples, not 399"):
        InceptionScore()(sample_set(few, few))
    assert InceptionScore(splits=9)(sample_set(few, few)).value > 5
    with pytest.raises(NotApplicableError, match="at least 10 samples, not 9"):
        InceptionScore(minimum=2)(sample_set(few[:9], few[:9]))
    broken = images.samples[:400].clone()
    broken[0] = torch.nan
    with pytest.raises(DivergedError, match="1 of 400"):
        InceptionScore()(sample_set(broken, images.samples[:400]))
    with pytest.raises(NotApplicableError, match="scenes-classifier knows no classes"):
        extractor_for(scenes(), (3, 32, 32), use="logits")
    with pytest.raises(NotApplicableError, match="give weights=PATH"):
        extractor_for(textures(), (3, 32, 32), use="logits")
    with pytest.raises(UsageError, match="splits cannot be 0"):
        InceptionScore(splits=0)
