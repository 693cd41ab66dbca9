from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnsbench.errors import CorruptFileError, UsageError
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.table import NonStationarySolver, canonical, free_entries
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import heun
from tests.flows.toy import GaussianModel
from tests.training.toys import bend, plain_states, random_split_table, random_table


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
        parts: dict[str, Any] = {"times": solver.times.clone(), "a": solver.a.clone(), "b": solver.b.clone()}
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
        states.append(sum((c[i, j] * states[j] + d[i, j] * u[j] for j in range(i + 1)), torch.zeros_like(states[0])))
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


def test_a_table_of_rows_takes_the_numbers_as_they_are_and_autograd_follows_them():
    plain = random_solver(4)
    times, rows = plain.times.requires_grad_(), plain.rows.requires_grad_()
    table = NonStationarySolver.from_rows(times, rows)
    assert table.times is times
    assert torch.equal(table.rows, rows)
    assert torch.equal(table.rows[:, 0], table.a)
    assert torch.equal(table.rows[:, 1:], table.b)
    (gradient,) = torch.autograd.grad(table.rows.square().sum(), rows)
    assert torch.equal(gradient, 2 * rows)
    assert NonStationarySolver.from_rows(times, rows * torch.nan).nfe == 4


def test_a_validated_table_is_a_checked_copy_without_a_gradient():
    plain = random_solver(4)
    table = NonStationarySolver.from_rows(plain.times, plain.rows.requires_grad_())
    copy = table.validated()
    assert copy.fingerprint() == plain.fingerprint()
    assert not copy.rows.requires_grad
    assert copy.times.data_ptr() != table.times.data_ptr()
    with pytest.raises(UsageError, match="not finite"):
        NonStationarySolver.from_rows(plain.times, plain.rows * torch.nan).validated()
    with pytest.raises(UsageError, match="outside the interval"):
        NonStationarySolver.from_rows(-plain.times, plain.rows).validated()


def test_the_paper_s_number_of_parameters() -> None:
    for n in (1, 4, 8, 17):
        free = len(free_entries(n)[0])
        assert free + n + 1 == n * (n + 5) // 2 + 1


def test_repeated_times_can_be_opened() -> None:
    table = trace(lambda field, x0: heun(field, x0, 4), CondOT())
    assert not (table.times.diff() > 0).all()
    opened = table.with_open_gaps()
    assert (opened.times.diff() > 0).all()
    torch.testing.assert_close(opened.times, table.times, rtol=0, atol=1e-3)
    assert torch.equal(opened.rows, table.rows)


@pytest.mark.parametrize(("options", "smallest"), [((), 1e-4), ((0.01,), 0.01), ((0.25,), 0.25)])
def test_opened_gaps_are_widened_and_then_share_the_interval(options: tuple[float, ...], smallest: float) -> None:
    table = trace(lambda field, x0: heun(field, x0, 4), CondOT(), (0.1, 0.9))
    opened = table.with_open_gaps(*options).times.diff()
    # Heun's gaps are 1/2, 0, 1/2, 0 of the interval: (1/2, s, 1/2, s) is 1 + 2 s too long.
    expected = [0.8 * gap / (1 + 2 * smallest) for gap in (0.5, smallest, 0.5, smallest)]
    assert opened.tolist() == pytest.approx(expected, rel=1e-12)


def test_opened_gaps_are_at_least_the_smallest_and_the_ends_stay() -> None:
    times = torch.tensor([0.0, 0.0, 0.4, 0.4, 0.4, 0.9, 0.9], dtype=torch.float64)
    opened = NonStationarySolver.from_rows(times, random_table(6).rows).with_open_gaps(1e-2)
    assert opened.times.diff().min() > 0.9 * 1e-2 * 0.95
    assert opened.times[[0, -1]].tolist() == [0.0, 0.9]
    regular = random_table(6)
    torch.testing.assert_close(regular.with_open_gaps(1e-6).times, regular.times)


def test_a_row_can_be_replaced() -> None:
    row = torch.arange(4, dtype=torch.float64)
    replaced = random_table(5).with_row(2, row)
    assert torch.equal(replaced.rows[2, :4], row)
    assert torch.equal(replaced.rows[1], random_table(5).rows[1])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_idle_evaluations_change_no_end(n: int) -> None:
    table = random_table(n)
    x0 = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = plain_states(table, bend, x0)[-1]
    for more in range(4):
        longer = table.with_idle(n + more)
        assert longer.nfe == n + more
        longer.validated()
        assert (longer.times.diff() > 0).all()
        assert torch.equal(longer.times[[0, -1]], table.times[[0, -1]])
        assert set(table.times.tolist()) <= set(longer.times.tolist())
        torch.testing.assert_close(plain_states(longer, bend, x0)[-1], expected, rtol=1e-13, atol=1e-13)


def test_idle_evaluations_halve_the_widest_gaps() -> None:
    times = torch.tensor([0.0, 0.5, 0.8, 1.0], dtype=torch.float64)
    table = NonStationarySolver.from_rows(times, random_table(3).rows)
    expected = {3: [0.5, 0.3, 0.2], 4: [0.25, 0.25, 0.3, 0.2], 5: [0.25, 0.25, 0.15, 0.15, 0.2]}
    for n, gaps in expected.items():
        assert table.with_idle(n).times.diff().tolist() == pytest.approx(gaps)
    assert table.with_idle(2) is table


def test_idle_evaluations_lie_halfway_between_their_neighbours() -> None:
    """The first one by numbers: x_1 = x_0 + h u_0 / 2, whose velocity nothing weighs."""
    single = NonStationarySolver(torch.tensor([0.0, 2.0]), torch.tensor([0.9]), torch.tensor([[1.8]]))
    found = single.with_idle(2)
    assert found.times.tolist() == [0.0, 1.0, 2.0]
    assert found.rows.flatten().tolist() == pytest.approx([0.95, 0.9, 0.0, 0.9, 1.8, 0.0])
    x0 = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = NonStationarySolver.from_rows(torch.tensor([0.0, 0.2, 0.9, 1.0], dtype=torch.float64), random_table(3).rows)
    before, after = plain_states(table, bend, x0), plain_states(table.with_idle(4), bend, x0)
    torch.testing.assert_close(after[1], 0.5 * (before[0] + before[1]), rtol=1e-13, atol=1e-13)
    for i, j in ((0, 0), (1, 2), (2, 3)):
        torch.testing.assert_close(after[j], before[i], rtol=1e-13, atol=1e-13)


def test_a_split_table_survives_json_and_is_told_apart_by_every_number():
    table = random_split_table(3)
    assert table.c is not None
    found = NonStationarySolver.from_dict(json.loads(json.dumps(table.to_dict())))
    assert (found.columns, found.guidance, found.nfe) == (2, 2.0, 3)
    assert torch.equal(found.rows, table.rows)
    assert found.fingerprint() == table.fingerprint()
    others = [
        NonStationarySolver(table.times, table.a, table.b, c=table.c, guidance=2.5),
        NonStationarySolver(table.times, table.a, table.b, c=table.c + 1e-15 * torch.eye(3), guidance=2.0),
        NonStationarySolver(table.times, table.a, table.b),
    ]
    assert len({each.fingerprint() for each in (table, *others)}) == 4


def test_rows_of_split_columns_have_the_weights_of_an_evaluation_beside_each_other():
    table = random_split_table(2)
    b, c = table.b, table.c
    assert c is not None
    expected = torch.tensor([[table.a[0], b[0, 0], c[0, 0], 0, 0], [table.a[1], b[1, 0], c[1, 0], b[1, 1], c[1, 1]]])
    assert torch.equal(table.rows, expected.double())
    again = NonStationarySolver.from_rows(table.times, table.rows, 2.0)
    assert torch.equal(again.b, b)
    assert again.c is not None
    assert torch.equal(again.c, c)
    assert torch.equal(again.of_equal_answers, b + c)
    row, column = free_entries(2, 2)
    assert list(zip(row.tolist(), column.tolist(), strict=True)) == [(0, 0), (0, 1), (0, 2), *((1, j) for j in range(5))]
    changed = table.with_row(0, torch.tensor([7.0, 8.0, 9.0], dtype=torch.float64))
    assert changed.rows[0].tolist() == [7, 8, 9, 0, 0]
    assert changed.guidance == 2.0


@pytest.mark.parametrize("n", [1, 2, 5])
def test_free_entries_of_one_column_are_those_below_the_first_diagonal(n):
    expected = torch.tril_indices(n, n + 1, offset=1)
    assert torch.equal(torch.stack(free_entries(n)), expected)


def test_idle_evaluations_of_split_columns_change_nothing():
    table, field = random_split_table(3), GaussianModel().field(torch.tensor([0, 1]), 2.0)
    x0 = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    idle = table.with_idle(6)
    assert (idle.nfe, idle.guidance) == (6, 2.0)
    torch.testing.assert_close(idle.validated()(field, x0), table(field, x0), rtol=1e-12, atol=1e-12)
    opened = NonStationarySolver(torch.tensor([0.0, 0.5, 0.5, 1.0]), table.a, table.b, c=table.c, guidance=2.0)
    assert torch.equal(opened.with_open_gaps().rows, table.rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"c": None}, "c and guidance go together"),
        ({"guidance": None}, "c and guidance go together"),
        ({"guidance": 0.0}, "guidance 0 leaves no two answers"),
        ({"guidance": float("nan")}, "guidance nan leaves no two answers"),
        ({"c": torch.zeros(2, 2)}, r"c must be shaped \[n, n\] as b, not \[2, 2\]"),
        ({"c": torch.ones(3, 3)}, "not lower triangular"),
        ({"c": torch.full((3, 3), float("inf")).tril()}, "some are not finite"),
    ],
)
def test_numbers_that_are_no_split_table_are_refused(changes, said):
    table = random_split_table(3)
    parts = {"c": table.c, "guidance": 2.0, **changes}
    with pytest.raises(UsageError, match=said):
        NonStationarySolver(table.times, table.a, table.b, **parts)


def test_what_cannot_be_split_says_so():
    with pytest.raises(UsageError, match="split already, for guidance 2"):
        random_split_table(2).split(2.0)
    with pytest.raises(UsageError, match="answers once"):
        random_table(2).split(0.0)


@pytest.mark.parametrize("faulty", [{"c": [[1.0]]}, {"c": [[1.0], ["x", 2.0]], "guidance": 2.0}, {"guidance": "two"}])
def test_a_description_of_no_split_table_is_corrupt(faulty):
    with pytest.raises(CorruptFileError):
        NonStationarySolver.from_dict({**random_table(2).to_dict(), **faulty})
