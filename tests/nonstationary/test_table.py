from __future__ import annotations

import json
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnsbench.errors import CorruptFileError, UsageError
from bnsbench.nonstationary.table import NonStationarySolver, canonical


def random_solver(n: int, seed: int = 0) -> NonStationarySolver:
    generator = torch.Generator().manual_seed(seed)
    inner = torch.rand(n - 1, generator=generator, dtype=torch.float64)
    times = torch.cat([torch.zeros(1, dtype=torch.float64), inner, torch.ones(1, dtype=torch.float64)])
    a = torch.randn(n, generator=generator, dtype=torch.float64)
    return NonStationarySolver(times, a, torch.randn(n, n, generator=generator, dtype=torch.float64).tril())


@given(n=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_json_keeps_every_bit(n, seed):
    solver = random_solver(n, seed)
    found = NonStationarySolver.from_dict(json.loads(json.dumps(solver.to_dict())))
    assert torch.equal(found.times, solver.times)
    assert torch.equal(found.a, solver.a)
    assert torch.equal(found.b, solver.b)
    assert found.fingerprint() == solver.fingerprint()


def test_fingerprint_sees_every_number():
    solver = random_solver(3)
    prints = {solver.fingerprint()}
    for name, index in (("times", 1), ("a", 2), ("b", (2, 1))):
        parts = {"times": solver.times.clone(), "a": solver.a.clone(), "b": solver.b.clone()}
        parts[name][index] += 1e-15
        prints.add(NonStationarySolver(**parts).fingerprint())
    assert len(prints) == 4


def test_table_is_a_copy_in_float64():
    a = torch.ones(1, dtype=torch.float32, requires_grad=True)
    solver = NonStationarySolver(torch.tensor([0.0, 1.0]), a, torch.ones(1, 1))
    assert solver.nfe == 1
    assert solver.a.dtype == torch.float64
    with torch.no_grad():
        a += 1
    assert solver.a.item() == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"a": torch.ones(3)}, "must be shaped"),
        ({"times": torch.tensor([0.0, 1.0])}, "must be shaped"),
        ({"a": torch.tensor([1.0, float("nan")])}, "not finite"),
        ({"b": torch.ones(2, 2)}, "not lower triangular"),
        ({"times": torch.tensor([0.0, 1.5, 1.0])}, "outside the interval"),
        ({"times": torch.tensor([0.0, -0.5, 1.0])}, "outside the interval"),
        ({"times": torch.ones(1), "a": torch.ones(0), "b": torch.ones(0, 0)}, "no evaluation"),
    ],
)
def test_refuses_what_is_no_solver(change, reason):
    parts = {"times": torch.tensor([0.0, 0.5, 1.0]), "a": torch.ones(2), "b": torch.eye(2)}
    with pytest.raises(UsageError, match=reason):
        NonStationarySolver(**{**parts, **change})


def test_times_may_repeat_and_go_back():
    solver = NonStationarySolver(torch.tensor([0.0, 0.8, 0.8, 0.3, 1.0]), torch.ones(4), torch.eye(4))
    assert solver.nfe == 4


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"times": [0, 1], "a": [1], "b": [[1, 2]]},
        {"times": [0, 1], "a": ["x"], "b": [[1]]},
        {"times": [0, 1], "a": [1], "b": []},
        {"times": [0, 1], "a": [1], "b": 3},
        {"times": None, "a": [1], "b": [[1]]},
    ],
)
def test_refuses_descriptions_of_nothing(description):
    with pytest.raises(CorruptFileError, match=re.escape("no description of a non-stationary solver")):
        NonStationarySolver.from_dict(description)


def test_canonical_form_follows_the_recursion_of_the_paper():
    """x_{i+1} = sum_j c_ij x_j + d_ij u_j, run literally with numbers for the velocities."""
    generator = torch.Generator().manual_seed(3)
    n = 7
    c = torch.randn(n, n, generator=generator, dtype=torch.float64).tril()
    d = torch.randn(n, n, generator=generator, dtype=torch.float64).tril()
    u = torch.randn(n, generator=generator, dtype=torch.float64)
    states = [torch.tensor(1.7, dtype=torch.float64)]
    for i in range(n):
        states.append(sum(c[i, j] * states[j] + d[i, j] * u[j] for j in range(i + 1)))
    a, b = canonical(c, d)
    torch.testing.assert_close(a * 1.7 + b @ u, torch.stack(states[1:]), rtol=1e-12, atol=1e-12)
    assert not b.triu(1).any()


def test_canonical_form_of_euler_is_the_known_one():
    h = torch.tensor([0.1, 0.4, 0.5], dtype=torch.float64)
    a, b = canonical(torch.eye(3, dtype=torch.float64), torch.diag(h))
    assert torch.equal(a, torch.ones(3, dtype=torch.float64))
    assert torch.equal(b, h.expand(3, 3).tril())


def test_canonical_form_is_differentiable():
    c = torch.eye(3, dtype=torch.float64).requires_grad_()
    d = (0.3 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(canonical, (c, d))
