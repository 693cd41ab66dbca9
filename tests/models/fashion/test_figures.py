from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from bnsbench.models.fashion import figures as module
from bnsbench.models.fashion.data import TRAINING, pictures
from bnsbench.models.fashion.features import fashion_features
from bnsbench.models.fashion.figures import frechet_distance, measure_copying
from bnsbench.models.fashion.model import shipped_pictures
from bnsbench.models.fashion.recipes import RECIPES
from bnsbench.models.weights import WEIGHTS
from tests.models.fashion.files import write_part


def test_frechet_distance_is_the_formula_s():
    images, _ = shipped_pictures()
    found = frechet_distance(images[:1000], images[1000:])
    with torch.no_grad():
        one, other = (fashion_features().of_samples(part).double().numpy() for part in (images[:1000], images[1000:]))
    mean = np.square(one.mean(0) - other.mean(0)).sum()
    first, second = np.cov(one.T), np.cov(other.T)
    expected = mean + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert found == pytest.approx(expected, rel=1e-3)
    assert frechet_distance(images[:1000], images[:1000]) == pytest.approx(0, abs=1e-6)


def test_noise_is_far_from_the_floor():
    figures = module._distances(torch.randn(1000, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    assert figures["fid_share"] == pytest.approx(figures["fid_floor"] / figures["fid"])
    assert figures["fid_share"] < 0.02


def test_real_pictures_reach_the_floor():
    images, _ = shipped_pictures()
    assert module._distances(images[1000:])["fid_share"] == pytest.approx(1)


def test_a_generator_has_every_figure_of_its_gates(monkeypatch):
    monkeypatch.setattr(module, "SAMPLES", {0.0: 20, 2.0: 10})
    monkeypatch.setattr(module, "TOLERANCE", 1e-2)
    measured = RECIPES["fashion-ot"]
    figures = measured.measure(WEIGHTS)
    assert figures["accuracy_w2"] >= 0.8
    assert figures["fid_share"] == pytest.approx(figures["fid_floor"] / figures["fid"])
    assert measured.gates.keys() <= {*figures, "nearest_ratio"}


def test_copies_of_training_pictures_are_told_from_pictures_of_the_test_part(monkeypatch, tmp_path):
    training = pictures(write_part(tmp_path, TRAINING, 300).levels)
    held = pictures(torch.randint(0, 256, (60, 1, 28, 28), generator=torch.Generator().manual_seed(7)))
    monkeypatch.setattr(module, "COPYING_SAMPLES", 50)
    monkeypatch.setattr(module, "shipped_pictures", lambda: (held, None))
    for shown, ratio in ((training + 0.003, 0.0), (held, 1.0)):  # less than half a level is not seen
        monkeypatch.setattr(module, "_samples", lambda model, guidance, count, shown=shown: (shown[:count], None))
        assert measure_copying("vp", WEIGHTS, tmp_path)["nearest_ratio"] == pytest.approx(ratio, abs=2e-3)
