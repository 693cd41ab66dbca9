from __future__ import annotations

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.paths import VP, CondOT
from bnsbench.models.fashion.data import KINDS
from bnsbench.models.fashion.features import fashion_classifier, fashion_features
from bnsbench.models.fashion.judge import fashion_judge
from bnsbench.models.fashion.model import VARIANTS, fashion, fashion_ot, fashion_vp, shipped_pictures


@pytest.fixture(params=sorted(VARIANTS))
def variant(request) -> str:
    return request.param


def x_t(model, t, n=100, seed=0):
    """Return x_0, x_1, x_t and labels for shipped pictures at time t, in float32."""
    x1, labels = (values[:n] for values in shipped_pictures())
    x0 = torch.randn(x1.shape, generator=torch.Generator().manual_seed(seed))
    return x0, x1, model.path.sigma(t).float() * x0 + model.path.alpha(t).float() * x1, labels


def test_unknown_variant_is_refused():
    with pytest.raises(UsageError, match="choose from ot, vp"):
        fashion("cos")


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
def test_prediction_explains_most_of_its_target(variant, t):
    # Against the definition of each prediction type; a sign or a scale that is wrong would leave a share above 1.
    model = fashion(variant)
    x0, x1, x, labels = x_t(model, t)
    target = {"velocity": x1 - x0, "epsilon": x0}[model.prediction]
    prediction = model.predict(torch.tensor(t), x, labels)
    unexplained = (prediction - target).square().mean() / target.square().mean()
    assert unexplained < 0.4


def test_null_condition_is_the_absent_condition(variant):
    model = fashion(variant)
    *_, x, labels = x_t(model, 0.4, n=5)
    t = torch.tensor(0.4)
    assert torch.equal(model.predict(t, x, model.null_condition(labels)), model.predict(t, x, None))
    assert not torch.allclose(model.predict(t, x, labels), model.predict(t, x, None), atol=1e-3)


def test_precision_follows_to(variant):
    model = fashion(variant)
    *_, x, labels = x_t(model, 0.5, n=3)
    single = model.predict(torch.tensor(0.5), x, labels)
    double = model.to("cpu", torch.float64).predict(torch.tensor(0.5), x.double(), labels)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single, double.float(), rtol=1e-3, atol=1e-3)


def test_a_kind_can_be_asked_for_by_name():
    model = fashion("ot")
    assert [int(model.describe(kind.upper())) for kind in KINDS] == list(range(10))
    with pytest.raises(UsageError, match="no kind of clothes 'hat'; choose from T-shirt, trousers"):
        model.describe("hat")
    with pytest.raises(UsageError):
        model.describe("bag", voice=1)


def test_reference_is_200_pictures_of_each_class():
    reference = fashion("ot").reference()
    assert reference is not None
    assert reference.labels is not None
    assert reference.samples.shape == (2000, 1, 28, 28)
    assert reference.labels.bincount().tolist() == [200] * 10
    assert (float(reference.samples.min()), float(reference.samples.max())) == (-1.0, 1.0)
    levels = (reference.samples + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def test_each_variant_has_a_function_of_its_own():
    for build, path in ((fashion_ot, CondOT()), (fashion_vp, VP())):
        assert build().path == path
        assert build().fingerprint() == fashion(build.__name__.removeprefix("fashion_")).fingerprint()
    assert fashion_ot().fingerprint() != fashion_vp().fingerprint()
    assert fashion_vp().interval == (0.0, 1.0 - 1e-3)


def test_judge_finds_what_real_pictures_show_and_nothing_else():
    images, labels = shipped_pictures()
    judge = fashion_judge()
    right = judge.found(images[:500], labels[:500])
    assert right.shape == (500, 1)
    assert right.float().mean() > 0.88
    assert judge.found(images[:500], (labels[:500] + 1) % 10).float().mean() < 0.12


def test_features_see_the_class_and_the_picture():
    images, labels = shipped_pictures()
    features = fashion_features()
    seen = features.of_samples(images[:500])
    assert torch.equal(features.logits(images[:500]), fashion_classifier()(images[:500]))
    # Each picture's nearest other one in the features is mostly of its class.
    nearest = (torch.cdist(seen, seen) + 1e3 * torch.eye(500)).argmin(dim=1)
    assert (labels[:500][nearest] == labels[:500]).float().mean() > 0.8
    # Noise that leaves the class readable still moves the features.
    noisy = images[:500] + 0.1 * torch.randn(500, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert (features.of_samples(noisy) - seen).norm(dim=1).mean() > 0.5
