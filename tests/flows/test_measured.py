from __future__ import annotations

import copy

import pytest
import torch

from bnsbench.errors import BnsbenchError, NotApplicableError
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.measured import Meter
from bnsbench.flows.paths import VP, CondOT
from tests.flows.toy import GaussianModel

HALF = torch.tensor(0.5, dtype=torch.float64)
X = torch.arange(12, dtype=torch.float64).reshape(4, 3)


@pytest.fixture
def meter():
    return Meter(GaussianModel().field(torch.tensor([0, 1, 2, 0]), 2.0), X)


@pytest.fixture
def free():
    """A field without conditions, which takes states of any number."""
    return Meter(FunctionField(lambda t, x: t * x, VP(), (0.0, 0.999)), X)


def test_it_is_the_field(meter):
    bare = GaussianModel().field(torch.tensor([0, 1, 2, 0]), 2.0)
    assert torch.equal(meter.field(HALF, X), bare(HALF, X))
    assert (meter.field.path, meter.field.interval) == (CondOT(), (0.0, 1.0))
    part = torch.tensor([2, 0])
    assert torch.equal(meter.field.part(part)(HALF, X[part]), bare.part(part)(HALF, X[part]))


@pytest.mark.parametrize(
    ("asked", "spent", "calls"),
    [
        (3, 3, [X, X, X]),
        (3, 2, [X, X]),
        (3, 4, [X, X, X, X]),
        (1, 65, [torch.cat([X] * 65)]),
        (1, 65, [X.repeat(1, 65)]),
        (1, 65, [X.expand(65, 4, 3)]),
        (1, 2, [torch.cat([X, X[:1]])]),
        (1, 2, [X, X[:1]]),
        (2, 1, [X, X[:3]]),
        (1, 0, [X[:3]]),
        (1, 0, []),
        (1, 4, [X[:1]] * 4),
    ],
)
def test_whatever_is_evaluated_counts_for_every_sample(free, asked, spent, calls):
    for x in calls:
        free.field(HALF, x)
    assert free.spent(asked) == spent


@pytest.mark.parametrize(("halves", "asked", "spent"), [(2, 1, 1), (1, 1, 0), (3, 1, 2), (3, 2, 1), (4, 2, 2)])
def test_an_answer_with_the_condition_alone_is_half_an_evaluation(meter, halves, asked, spent):
    for _ in range(halves):
        found = meter.field.conditional(HALF, X)
    assert torch.equal(found, GaussianModel().field(torch.tensor([0, 1, 2, 0]))(HALF, X))
    assert meter.spent(asked) == spent


def test_it_tells_its_guidance(meter, free):
    assert (meter.field.guidance, free.field.guidance) == (2.0, 0.0)
    several = Meter(GaussianModel().field(torch.tensor([0, 1, 2, 0]), torch.tensor([0.0, 2.0, 2.0, 6.0])), X)
    with pytest.raises(NotApplicableError, match="several guidance scales, 0, 2, 6, and not one"):
        _ = several.field.guidance
    with pytest.raises(NotApplicableError, match="FunctionField gives a velocity alone"):
        free.field.conditional(HALF, X)


def test_a_batch_may_be_of_one_sample():
    meter = Meter(FunctionField(lambda t, x: t * x, VP(), (0.0, 0.999)), X[:1])
    meter.field(HALF, X[:1])
    assert meter.spent(1) == 1


def test_the_sample_that_had_the_least_tells_what_was_spent(meter):
    for _ in range(5):
        meter.field.part(slice(0, 3))(HALF, X[:3])
    meter.field.part(slice(3, 4))(HALF, X[3:])
    assert meter.spent(5) == 1


@pytest.mark.parametrize("nobody", [slice(0, 0), torch.tensor([], dtype=torch.int64), slice(2, 2)])
def test_what_a_part_without_samples_is_asked_counts_for_every_sample(free, nobody):
    """Fields without conditions answer it for any states."""
    for _ in range(4):
        free.field(HALF, X)
    empty = free.field.part(nobody)
    assert torch.equal(empty(HALF, X), HALF * X)
    assert free.spent(4) == 5
    empty(HALF, torch.cat([X] * 3))
    empty(HALF, X[:1])
    assert free.spent(4) == 9
    empty(HALF, X[:0])
    assert free.spent(4) == 9


@pytest.mark.parametrize(
    ("spent", "parts"),
    [
        (1, [slice(0, 2), slice(2, 4)]),
        (1, [torch.tensor([3, 1]), torch.tensor([True, False, True, False])]),
        (2, [slice(0, 4), slice(0, 1)]),
        (0, [slice(0, 3)]),
        (2, [torch.tensor([0, 1, 2, 3, 3])]),
    ],
)
def test_parts_count_for_their_samples(meter, spent, parts):
    for part in parts:
        meter.field.part(part)(HALF, X[part])
    assert meter.spent(1) == spent


def test_parts_of_parts_are_the_samples_of_the_batch(free):
    free.field.part(slice(2, 4)).part(slice(1, 2))(HALF, X[3:])
    free.field.part(slice(0, 3))(HALF, X[:3])
    assert free.spent(1) == 1


def test_nothing_behind_it_can_be_reached(meter):
    names = {name for name in dir(meter.field) if not (name.startswith("__") and name.endswith("__"))}
    assert names == {"path", "interval", "guidance", "part", "answers", "conditional"}
    assert not hasattr(meter.field, "__dict__")
    for name in ("field", "model", "nfe", "evaluations", "forwards_per_evaluation"):
        with pytest.raises(AttributeError):
            getattr(meter.field, name)
        with pytest.raises(AttributeError):
            setattr(meter.field, name, 4)
    assert meter.field.part.__self__ is meter.field
    assert meter.field.answers.__self__ is meter.field
    assert meter.field.conditional.__self__ is meter.field
    assert type(meter.field).__call__.__closure__ is None


def test_the_run_s_end_is_the_field_s(meter):
    part = meter.field.part(slice(2))
    meter.close()
    for field, x in ((meter.field, X), (part, X[:2])):
        with pytest.raises(BnsbenchError, match="after the run that it was made for"):
            field(HALF, x)
    with pytest.raises(BnsbenchError, match="a copy"):
        copy.copy(meter.field)(HALF, X)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own, at its first dual number
def test_one_call_is_one_evaluation_whatever_torch_can_do(free):
    for transformed in (torch.vmap(lambda x: free.field(HALF, x)), torch.func.jacrev(lambda x: free.field(HALF, x))):
        with pytest.raises(BnsbenchError, match=r"torch\.func"):
            transformed(torch.stack([X, X]))
    with pytest.raises(BnsbenchError, match=r"torch\.func"):
        torch.vmap(lambda t: free.field(t, X))(torch.ones(5))
    assert free.spent(1) == 0
    with torch.enable_grad():
        assert not free.field(HALF, X.clone().requires_grad_()).requires_grad
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(X, X)
        assert torch.autograd.forward_ad.unpack_dual(free.field(HALF, dual)).tangent is None


def test_many_times_in_one_call_are_refused(free):
    with pytest.raises(BnsbenchError, match=r"shape \[65, 4, 3\] for states \[4, 3\]"):
        free.field(torch.rand(65, 1, 1), X)


def test_both_answers_count_as_one_evaluation():
    field = GaussianModel().field(torch.tensor([0, 1, 2]), 2.0)
    x = torch.ones(3, 3, dtype=torch.float64)
    meter = Meter(field, x)
    assert torch.equal(meter.field.answers(HALF, x, 2.0), field.answers(HALF, x, 2.0))
    meter.field.part(slice(0, 1)).answers(HALF, x[:1], 2.0)
    assert meter.spent(1) == 2
    meter.close()
    with pytest.raises(BnsbenchError, match="after the run"):
        meter.field.answers(HALF, x, 2.0)


class Silent(torch.Tensor):
    """A tensor that says that it holds nothing."""

    def numel(self):
        return 0


class Many(torch.Tensor):
    """A tensor of one batch that stands for many of them: every operation is done on a larger one."""

    @staticmethod
    def __new__(cls, hidden):
        return torch.Tensor._make_wrapper_subclass(cls, X.shape, dtype=X.dtype)

    def __init__(self, hidden):
        self.hidden = hidden

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):  # type: ignore[override]
        found = function(*(each.hidden if isinstance(each, Many) else each for each in arguments), **(options or {}))
        return cls(found)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.cat([X] * 65).as_subclass(Silent), "Silent"),
        (Many(torch.cat([X] * 65)), "Many"),
        (torch.complex(X, torch.ones_like(X)), "complex states"),
    ],
)
def test_what_may_hide_evaluations_is_refused(free, x, said):
    with pytest.raises(BnsbenchError, match=f"plain tensors of real numbers, not at {said}"):
        free.field(HALF, x)
    with pytest.raises(BnsbenchError, match="plain tensors"):
        free.field(x, X)
    assert free.spent(1) == 0


def test_parameters_are_plain_numbers(free):
    assert torch.equal(free.field(HALF, torch.nn.Parameter(X)), HALF * X)
    assert free.spent(1) == 1
