from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.model import Model
from bnsbench.flows.paths import EDM, VP, CondOT, Path
from bnsbench.flows.predictions import Prediction, to_velocity
from bnsbench.process.parts import Parts
from bnsbench.training.optimisers.forward_derivatives import forward_mode
from bnsbench.truth.ground_truth import solve, solve_each
from tests.flows.toy import GaussianModel


@pytest.mark.parametrize("prediction", get_args(Prediction))
@pytest.mark.parametrize("guidance", [0.0, 2.0, 6.5, -0.5])
def test_guidance_combines_velocities_whatever_is_predicted(prediction: Prediction, guidance: float) -> None:
    model, exact = GaussianModel(VP(), prediction), GaussianModel(VP())
    labels = torch.tensor([0, 1, 2, 1])
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor(0.6, dtype=torch.float64)
    conditional, unconditional = exact.predict(t, x, labels), exact.predict(t, x, torch.full_like(labels, -1))
    expected = (1 + guidance) * conditional - guidance * unconditional
    torch.testing.assert_close(model.field(labels, guidance)(t, x), expected, rtol=1e-9, atol=1e-9)


def test_a_guided_evaluation_is_one_call_of_twice_the_size_with_times_per_sample() -> None:
    model = GaussianModel()
    field = model.field(torch.tensor([0, 1]), 2.0)
    field(torch.tensor([0.2, 0.7], dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64))
    assert model.calls == [4]
    assert field.forwards_per_evaluation == 2
    assert model.field(torch.tensor([0]), 0.0).forwards_per_evaluation == 1


def test_a_part_keeps_its_samples_conditions() -> None:
    model = GaussianModel()
    labels = torch.tensor([0, 1, 2, 2])
    field = model.field(labels, 1.5)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor(0.4)
    chosen = torch.tensor([3, 1])
    torch.testing.assert_close(field.part(chosen)(t, x[chosen]), field(t, x)[chosen])
    assert field.path == CondOT()
    assert field.interval == (0.0, 1.0)


SCALES = torch.tensor([0.0, 2.0, -0.5, 6.5], dtype=torch.float64)


@pytest.mark.parametrize("prediction", get_args(Prediction))
@pytest.mark.parametrize("per_sample_times", [False, True], ids=["one time", "times"])
def test_a_scale_for_each_sample_is_each_sample_under_its_own(prediction: Prediction, per_sample_times: bool) -> None:
    model = GaussianModel(VP(), prediction)
    labels = torch.tensor([0, 1, 2, 1])
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor([0.2, 0.9, 0.5, 0.7], dtype=torch.float64) if per_sample_times else torch.tensor(0.4)
    field = model.field(labels, SCALES)
    found = field(t, x)
    assert field.forwards_per_evaluation == 2
    assert model.calls == [8]
    for s, scale in enumerate(SCALES.tolist()):
        own = model.field(labels[s : s + 1], scale)(t[s : s + 1] if per_sample_times else t, x[s : s + 1])
        torch.testing.assert_close(found[s : s + 1], own, rtol=1e-13, atol=1e-13)


def test_a_part_keeps_its_samples_scales() -> None:
    model = GaussianModel()
    field = model.field(torch.tensor([0, 1, 2, 2]), SCALES)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor(0.4)
    for chosen in (torch.tensor([3, 1]), slice(1, 3)):
        torch.testing.assert_close(field.part(chosen)(t, x[chosen]), field(t, x)[chosen], rtol=1e-14, atol=1e-14)


class Narrow(Model):
    """A network that computes in bfloat16: it predicts 3 x under a condition of 1 and x under none."""

    path = CondOT()
    shape = (2, 3)
    dtype = torch.bfloat16

    def __init__(self, prediction: Prediction = "velocity") -> None:
        self.prediction = prediction

    def predict(self, t, x, condition):
        assert x.dtype == torch.bfloat16
        return x if condition is None else x * (1 + 2 * condition.to(x.dtype))[:, None, None]

    def null_condition(self, condition):
        return torch.zeros_like(condition)

    def fingerprint(self) -> str:
        return "narrow"


@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_a_bfloat16_network_gets_bfloat16_and_gives_back_velocities_in_the_states_precision(prediction: Prediction) -> None:
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    t = torch.tensor(0.25)
    found = Narrow(prediction).field(None)(t, x)
    assert found.dtype == torch.float32
    # Rounding touches what the network sees alone; the conversion to a velocity takes the state as it is.
    expected = to_velocity(CondOT(), prediction, t, x, x.bfloat16().float())
    assert torch.equal(found, expected)


def test_scales_of_samples_are_no_bfloat16() -> None:
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    model, labels, t = Narrow(), torch.ones(4), torch.tensor(0.25)
    scales = torch.tensor([2.3, 0.1, 2.3, 5.7])
    found = model.field(labels, scales)(t, x)
    assert found.dtype == torch.float32
    for s, scale in enumerate(scales.tolist()):
        assert torch.equal(found[s : s + 1], model.field(labels[s : s + 1], scale)(t, x[s : s + 1]))
    exact = (1 + 2 * (1 + scales))[:, None, None] * x.bfloat16().float()
    torch.testing.assert_close(found, exact, rtol=2**-7, atol=0)


class Unconditional(Model):
    path = CondOT()
    shape = (2,)

    def predict(self, t, x, condition):
        return x

    def fingerprint(self) -> str:
        return "identity"


def test_guidance_without_conditions_is_refused() -> None:
    model = Unconditional()
    assert model.conditions(torch.arange(3)) is None
    assert model.reference() is None
    x = torch.ones(2, 2)
    assert torch.equal(model.field(None)(torch.tensor(0.0), x), x)
    assert torch.equal(model.decode(x), x)
    assert model.field(None).part(slice(1)).condition is None
    with pytest.raises(NotApplicableError, match="unconditional"):
        model.field(None, 2.0)(torch.tensor(0.0), x)
    with pytest.raises(NotApplicableError, match="unconditional"):
        model.field(None, torch.zeros(2))(torch.tensor(0.0), x)
    with pytest.raises(NotApplicableError, match="no unconditional prediction"):
        model.null_condition(torch.zeros(2))
    assert model.to("cpu", torch.float64).dtype == torch.float64


def test_a_misspelt_prediction_is_refused() -> None:
    with pytest.raises(UsageError, match="no prediction type 'eps'; choose from velocity, epsilon"):
        GaussianModel(prediction="eps").field(torch.tensor([0]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "prediction", "sentence"),
    [
        (CondOT(), "epsilon", r"t = 0, where its interval begins: on the path condot, alpha is 0 .* such as \(0.001, 1\)"),
        (CondOT(), "x", r"t = 1, where its interval ends: on the path condot, sigma is 0 .* such as \(0, 0.999\)"),
        (EDM(0.0), "x", r"t = 1, where its interval ends: on the path edm, sigma is 0"),
        (VP(), "epsilon", r"t = 1, where its interval ends: on the path vp, the slope of sigma is infinite"),
    ],
)
def test_the_truth_says_which_prediction_is_singular_where(path: Path, prediction: Prediction, sentence: str) -> None:
    model = GaussianModel(path, prediction)
    field, x0 = model.field(torch.tensor([0, 1])), torch.ones(2, 3, dtype=torch.float64)
    for attempt in (lambda: solve(field, x0, 1e-4), lambda: solve_each(field, x0, 1e-4, points=5)):
        with pytest.raises(UsageError, match=f"GaussianModel has no finite velocity at {sentence}"):
            attempt()
    assert model.calls == []


def test_the_interval_that_the_sentence_proposes_is_solved() -> None:
    model = GaussianModel(CondOT(), "epsilon")
    model.interval = (0.001, 1.0)
    labels, x0 = torch.tensor([0, 1]), torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    end, _ = solve(model.field(labels), 0.999 * x0, 1e-7)
    torch.testing.assert_close(end, model.flow(0.999 * x0, labels, begin=0.001), rtol=0, atol=1e-5)


class Cramped(GaussianModel):
    """A model of which so many samples fit into memory at once: half of them where derivatives follow."""

    def __init__(self, most: int) -> None:
        super().__init__(VP())
        self.most, self.sizes = most, list[int]()

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        dual = forward_ad.unpack_dual(x).tangent is not None
        self.sizes.append(len(x))
        if len(x) > (self.most // 2 if dual else self.most):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().predict(t, x, condition)


@pytest.mark.parametrize("scale", [0.0, 2.0, SCALES.repeat(3)[:10]], ids=["plain", "guided", "scales"])
@pytest.mark.parametrize("each", [False, True], ids=["one time", "times"])
def test_a_field_gives_the_same_velocities_and_derivatives_in_parts(scale, each: bool) -> None:
    labels = torch.arange(10) % 3
    generator = torch.Generator().manual_seed(1)
    x, dx = (torch.randn(10, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.rand(10, generator=generator, dtype=torch.float64) if each else torch.tensor(0.4, dtype=torch.float64)
    told, plain, cramped = list[str](), GaussianModel(VP()), Cramped(8)
    field = cramped.field(labels, scale).within(Parts(notice=told.append))
    torch.testing.assert_close(field(t, x), plain.field(labels, scale)(t, x), rtol=1e-14, atol=1e-14)
    assert max(cramped.sizes[1:]) <= 10
    still = torch.zeros(1, dtype=torch.float64)
    found, expected = (forward_mode(u, t, x, x, dx[None], still) for u in (field, plain.field(labels, scale)))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    # What has been found holds for all parts of the field.
    cramped.sizes.clear()
    field.part(slice(2, 10))(t[2:] if each else t, x[2:])
    assert max(cramped.sizes) <= 8
    assert told


def test_where_autograd_follows_a_field_is_not_divided() -> None:
    """The graphs of all parts would be held together."""
    model = Cramped(8)
    x = torch.zeros(10, 3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(torch.OutOfMemoryError):
        model.field(torch.zeros(10, dtype=torch.int64))(torch.tensor(0.4), x)
    assert model.sizes == [10]


def test_what_all_fits_reaches_the_network_as_it_is() -> None:
    model = Cramped(20)
    labels, x = torch.arange(10) % 3, torch.ones(10, 3, dtype=torch.float64)
    found = model.field(labels, 2.0)(torch.tensor(0.4), x)
    assert model.sizes == [20]
    assert torch.equal(found, GaussianModel(VP()).field(labels, 2.0)(torch.tensor(0.4), x))


class Elsewhere(Model):
    """A network on another device than its states: its answer, and where it was asked."""

    path = CondOT()
    shape = (3,)

    def __init__(self) -> None:
        self.seen = set[str]()

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        self.seen |= {x.device.type, t.device.type, condition.device.type}
        return x * t.to(x) + condition.to(x)[:, None]

    def null_condition(self, condition: Tensor) -> Tensor:
        return torch.zeros_like(condition)

    def fingerprint(self) -> str:
        return "0"


@pytest.mark.parametrize("scale", ["none", "one", "each"])
def test_states_on_the_cpu_visit_the_network_where_it_lies(scale: str) -> None:
    model = Elsewhere()
    with FakeTensorMode():
        model.to("cuda", torch.float32)
        guidance = torch.ones(4) if scale == "each" else {"none": 0.0, "one": 2.0}[scale]
        field = model.field(torch.ones(4), guidance).within(Parts(3))
        velocity = field(torch.tensor(0.5, dtype=torch.float64), torch.zeros(4, 3))
        assert (velocity.device.type, velocity.shape, model.seen) == ("cpu", (4, 3), {"cuda"})
    assert field.part(slice(2)).parts is field.parts


def test_two_answers_of_a_narrow_network_are_weighed_in_float32() -> None:
    """(1 + w) 3 x - w x, which is in general no number of bfloat16."""
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    answers = (3 * x).bfloat16().float(), x
    for scale in (6.5, torch.full((4,), 6.5)):
        found = Narrow().field(torch.ones(4), scale)(torch.tensor(0.5), x)
        torch.testing.assert_close(found, 7.5 * answers[0] - 6.5 * answers[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_both_answers_are_the_velocities_that_guidance_mixes_by_one_call(prediction: Prediction) -> None:
    model, exact = GaussianModel(VP(), prediction), GaussianModel(VP())
    labels = torch.tensor([0, 1, 2, 1])
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor([0.2, 0.6, 0.6, 0.9], dtype=torch.float64)
    found = model.field(labels, 2.0).answers(t, x, 2.0)
    assert model.calls == [8]
    expected = torch.stack([exact.predict(t, x, labels), exact.predict(t, x, torch.full_like(labels, -1))])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("guidance", "said"),
    [
        (0.0, "for w = 2 and cannot run at w = 0"),
        (1.5, "for w = 2 and cannot run at w = 1.5"),
        (torch.tensor([2.0, 2.0, 1.0, 2.0]), "for w = 2 and cannot run at w = 1, 2"),
    ],
)
def test_answers_are_refused_at_another_scale(guidance: float | torch.Tensor, said: str) -> None:
    field = GaussianModel().field(torch.tensor([0, 1, 2, 1]), guidance)
    with pytest.raises(NotApplicableError, match=said):
        field.answers(torch.tensor(0.4), torch.zeros(4, 3, dtype=torch.float64), 2.0)


def test_a_scale_that_all_samples_share_may_be_told_for_each() -> None:
    model, x = GaussianModel(), torch.ones(2, 3, dtype=torch.float64)
    each = model.field(torch.tensor([0, 1]), torch.full((2,), 2.0)).answers(torch.tensor(0.4), x, 2.0)
    assert torch.equal(each, model.field(torch.tensor([0, 1]), 2.0).answers(torch.tensor(0.4), x, 2.0))


def test_without_a_condition_there_is_one_answer() -> None:
    with pytest.raises(NotApplicableError, match="GaussianModel is unconditional, so it has one answer"):
        GaussianModel().field(None, 2.0).answers(torch.tensor(0.4), torch.zeros(2, 3, dtype=torch.float64), 2.0)


@pytest.mark.parametrize("each", [False, True], ids=["one time", "times"])
def test_both_answers_are_the_same_in_parts(each: bool) -> None:
    labels, told = torch.arange(10) % 3, list[str]()
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, 10, dtype=torch.float64) if each else torch.tensor(0.4, dtype=torch.float64)
    found = Cramped(8).field(labels, 2.0).within(Parts(notice=told.append)).answers(t, x, 2.0)
    torch.testing.assert_close(found, GaussianModel(VP()).field(labels, 2.0).answers(t, x, 2.0), rtol=1e-14, atol=1e-14)
    assert len(told) == 1


def test_both_answers_come_back_from_where_the_network_lies() -> None:
    model = Elsewhere()
    with FakeTensorMode():
        model.to("cuda", torch.float32)
        field = model.field(torch.ones(4), 2.0).within(Parts(3))
        found = field.answers(torch.tensor(0.5, dtype=torch.float64), torch.zeros(4, 3), 2.0)
        assert (found.device.type, found.shape, model.seen) == ("cpu", (2, 4, 3), {"cuda"})


@pytest.mark.parametrize("prediction", ["velocity", "x", "epsilon"])
def test_the_answer_with_the_condition_is_the_field_without_guidance(prediction: Prediction) -> None:
    model, labels = GaussianModel(prediction=prediction), torch.tensor([0, 1])
    t, x = torch.tensor(0.4, dtype=torch.float64), torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    model.calls.clear()
    found = model.field(labels, 2.0).conditional(t, x)
    assert model.calls == [2]
    assert torch.equal(found, model.field(labels)(t, x))


def test_where_guidance_is_one_forward_none_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GaussianModel, "forwards_per_evaluation", lambda *_: 1)
    with pytest.raises(NotApplicableError, match="takes 1 forwards here and 1 without guidance"):
        GaussianModel().field(torch.tensor([0]), 2.0).conditional(torch.tensor(0.4), torch.zeros(1, 3))
