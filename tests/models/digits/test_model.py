from __future__ import annotations

import math

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.paths import VP, CondOT, Cosine
from bnsbench.models.digits.data import load_digits, split_digits
from bnsbench.models.digits.features import digit_classifier
from bnsbench.models.digits.model import VARIANTS, digits, digits_cos, digits_ot, digits_vp


@pytest.fixture(params=sorted(VARIANTS))
def variant(request) -> str:
    return request.param


def x_t(model, t, n=300, seed=0):
    """Return x_0, x_1, x_t and labels for held-out digits at time t, in float32."""
    held = split_digits()[1]
    x1, labels = held.images[:n], held.labels[:n]
    x0 = torch.randn(x1.shape, generator=torch.Generator().manual_seed(seed))
    return x0, x1, model.path.sigma(t).float() * x0 + model.path.alpha(t).float() * x1, labels


def test_unknown_variant_is_refused():
    with pytest.raises(UsageError, match="choose from ot, cos, vp"):
        digits("edm")


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
def test_prediction_explains_most_of_its_target(variant, t):
    # Against the definition of each prediction type; a sign or a scale that is wrong would leave a share above 1.
    model = digits(variant)
    x0, x1, x, labels = x_t(model, t)
    alpha, sigma = float(model.path.alpha(t)), float(model.path.sigma(t))
    target = {"velocity": x1 - x0, "v": alpha * x0 - sigma * x1, "epsilon": x0}[model.prediction]
    prediction = model.predict(torch.tensor(t), x, labels)
    unexplained = (prediction - target).square().mean() / target.square().mean()
    # Noise can not be told apart from data at low signal levels, nor data from noise at high ones.
    assert unexplained < 0.65


def test_velocity_field_points_from_noise_to_data(variant):
    model = digits(variant)
    x0, x1, x, labels = x_t(model, 0.5)
    velocity = model.field(labels)(torch.tensor(0.5), x)
    expected = float(model.path.d_sigma(0.5)) * x0 + float(model.path.d_alpha(0.5)) * x1
    cosine = torch.cosine_similarity(velocity.flatten(), expected.flatten(), dim=0)
    assert cosine > 0.7


def test_null_condition_is_the_absent_condition(variant):
    model = digits(variant)
    *_, x, labels = x_t(model, 0.4, n=5)
    t = torch.tensor(0.4)
    assert torch.equal(model.predict(t, x, model.null_condition(labels)), model.predict(t, x, None))
    assert not torch.allclose(model.predict(t, x, labels), model.predict(t, x, None), atol=1e-3)


def test_guided_prediction_matches_its_definition(variant):
    model = digits(variant).to("cpu", torch.float64)
    *_, x, labels = x_t(model, 0.6, n=6)
    x, t = x.double(), torch.tensor(0.6, dtype=torch.float64)
    conditional, unconditional = model.predict(t, x, labels), model.predict(t, x, None)
    torch.testing.assert_close(model.guided(t, x, labels, 2.0), 3 * conditional - 2 * unconditional, rtol=1e-10, atol=1e-10)


def test_precision_follows_to(variant):
    model = digits(variant)
    *_, x, labels = x_t(model, 0.5, n=3)
    single = model.predict(torch.tensor(0.5), x, labels)
    double = model.to("cpu", torch.float64).predict(torch.tensor(0.5), x.double(), labels)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single, double.float(), rtol=1e-3, atol=1e-3)


def test_conditions_cycle_through_the_classes():
    conditions = digits("ot").conditions(torch.tensor([0, 9, 10, 23]))
    assert conditions is not None
    assert conditions.tolist() == [0, 9, 0, 3]


def test_reference_is_the_data_set():
    reference = digits("ot").reference()
    assert torch.equal(reference.samples, load_digits().images)


def test_fingerprints_differ_between_variants_and_repeat():
    prints = {name: digits(name).fingerprint() for name in VARIANTS}
    assert len(set(prints.values())) == len(VARIANTS)
    assert prints == {name: digits(name).fingerprint() for name in VARIANTS}


def test_clock_spans_about_minus_one_to_one(variant):
    model = digits(variant)
    begin, end = (float(model.variant.clock(torch.tensor(t, dtype=torch.float64))) for t in model.interval)
    assert begin == pytest.approx(-1, abs=0.15)
    assert end == pytest.approx(1, abs=0.15)


def test_interval_of_the_epsilon_model_stops_before_data():
    assert digits("vp").interval == (0.0, 1.0 - 1e-3)
    assert digits("ot").interval == (0.0, 1.0)
    assert digits("ot").path == CondOT()


def test_classifier_reads_held_out_digits():
    held = split_digits()[1]
    accuracy = (digit_classifier()(held.images).argmax(1) == held.labels).double().mean()
    assert accuracy >= 0.99


def test_model_does_not_touch_its_input_or_the_random_state(variant):
    model = digits(variant)
    *_, x, labels = x_t(model, 0.5, n=3)
    copy, state = x.clone(), torch.random.get_rng_state()
    model.guided(torch.tensor(0.5), x, labels, 1.0)
    assert torch.equal(x, copy)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert math.isfinite(float(x.sum()))


@pytest.mark.parametrize(("build", "path"), [(digits_ot, CondOT()), (digits_cos, Cosine()), (digits_vp, VP())])
def test_each_variant_has_a_function_of_its_own(build, path):
    assert build().path == path
    assert build().fingerprint() == digits(build.__name__.removeprefix("digits_")).fingerprint()
