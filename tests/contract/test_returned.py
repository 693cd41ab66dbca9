"""What components return is what it stands for, or one sentence says what it is."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from bnsbench.contract.returned import finite, finite_or_none, mapping, real, several, states, text, whole
from bnsbench.errors import BnsbenchError


@pytest.mark.parametrize(
    "value",
    [2, 2.0, np.float32(2), np.float64(2), np.int8(2), np.array(2.0), np.array([2.0]), torch.tensor(2), torch.tensor([2.0])],
)
def test_real_numbers_of_every_library(value):
    assert (real(value, "its value"), type(real(value, "its value"))) == (2.0, float)
    assert whole(value, "its count") == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("3.5", "the text '3.5'"),
        ("x" * 1000, "the text 'xxx"),
        ("\udcff", "the text"),
        (None, "None"),
        (True, "the truth value True"),
        (np.True_, "the truth value True"),
        ([3.5], "a list"),
        ({"a": 1}, "a dict"),
        (1j, "a complex"),
        (np.complex64(1), "a complex"),
        (10**400, "a whole number of more digits"),
        (Fraction(10**400), "a Fraction"),
        (Decimal(2), "a Decimal"),
        (np.ones(2), "a ndarray"),
        (torch.ones(2), "a Tensor"),
        (object(), "an object"),
        (np.array("a"), "the text 'a'"),
    ],
)
def test_what_is_no_real_number_is_told(value, said):
    with pytest.raises(BnsbenchError) as caught:
        real(value, "its value")
    found = str(caught.value)
    assert found.startswith(f"it returned {said}")
    assert " as its value" in found
    assert len(found) < 200
    found.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("-inf"), torch.tensor(torch.nan)])
def test_finite_numbers(value):
    real(value, "its value")
    with pytest.raises(BnsbenchError, match="as its value, which is not finite"):
        finite(value, "its value")
    assert finite_or_none(None, "its value") is None


@pytest.mark.parametrize("value", [0.5, -1, 2**63, 10**400, "2", None, True, float("nan"), [2], 1j])
def test_what_is_no_whole_number_is_told(value):
    with pytest.raises(BnsbenchError, match="as its count"):
        whole(value, "its count")


@pytest.mark.parametrize("values", [[1, 2.0], (1, 2), np.array([1, 2]), torch.tensor([1.0, 2.0]), range(1, 3)])
def test_sequences_of_numbers(values):
    assert several(values, "values", 2) == (1.0, 2.0)
    with pytest.raises(BnsbenchError, match="it returned 2 values for 3 samples"):
        several(values, "values", 3)


@pytest.mark.parametrize(
    "values", ["12", b"12", 7, None, {1: 2}, {1, 2}, iter([1]), np.ones((2, 2)), [[1]], ["1"], [None], [10**400], [True]]
)
def test_what_is_no_sequence_of_numbers_is_told(values):
    with pytest.raises(BnsbenchError, match="it returned"):
        several(values, "values")


def test_texts_can_be_written():
    assert text("\udcff ö", "it") == "\\udcff ö"
    assert mapping({"a\udcff": 1}, "them") == {"a\\udcff": 1}
    for wrong in (3, None, b"a"):
        with pytest.raises(BnsbenchError, match="where a text belongs"):
            text(wrong, "it")
    for other in ([1], None, "ab", {3: 1}):
        with pytest.raises(BnsbenchError, match="belong"):
            mapping(other, "them")


X = torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "it returned None instead of states"),
        ([X], "it returned a list instead of states"),
        (X.numpy(), "it returned a ndarray instead of states"),
        (X.long(), "in int64, which holds no real numbers"),
        (X > 0, "in bool, which holds no real numbers"),
        (X.to(torch.complex64), "in complex64, which holds no real numbers"),
        (X.double(), "in float64 instead of float32"),
        (X.half(), "in float16 instead of float32"),
        (X[:2], "of shape [2, 2] instead of [3, 2]"),
        (X[0], "of shape [2] instead of [3, 2]"),
        (X.to("meta"), "on meta instead of cpu"),
        (X.to_sparse(), "in a layout that is not dense"),
    ],
)
def test_what_are_no_such_states_is_told(found, said):
    with pytest.raises(BnsbenchError) as caught:
        states(found, X, "states")
    assert said in str(caught.value)


def test_states_are_returned_as_they_are():
    assert states(X, X.clone(), "states") is X
    half = X.half()
    assert states(half, X, "a prediction", same_type=False) is half
