from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.tracing import retrace, trace
from bnsbench.solvers.runge_kutta import euler, midpoint
from bnsbench.solvers.unipc import unipc
from bnsbench.training.parametrisations import (
    Anchored,
    Coefficients,
    FreeTable,
    LinearMultistep,
    LogGaps,
    Parametrisation,
    RuleTimes,
    ScaleTime,
    entries,
)
from bnsbench.training.table import Table
from tests.flows.toy import SineField
from tests.training.test_table import random_table


def traced(solver, n: int) -> Table:
    return Table.of(trace(lambda field, x0: solver(field, x0, n), CondOT()))


def unipc_on(times: Tensor) -> Table:
    grid = ":".join(["nodes", *map(repr, times[1:-1].tolist())])
    return Table.of(
        retrace(lambda field, x0: unipc(field, x0, len(times) - 1, grid=grid), CondOT(), (0.0, 1.0), len(times) - 1)
    )


def uniform(n: int) -> Tensor:
    return torch.linspace(0, 1, n + 1, dtype=torch.float64)


FAMILIES: dict[str, Parametrisation] = {
    "free": FreeTable(random_table(5)),
    "coefficients": Coefficients(random_table(5)),
    "multistep": LinearMultistep(uniform(5) ** 1.3),
    "scale-time-1": ScaleTime(5, (0.0, 0.999), 1),
    "scale-time-2": ScaleTime(6, (0.0, 1.0), 2),
    "rule-times": RuleTimes(unipc_on, uniform(5)),
    "anchored": Anchored(unipc_on, uniform(5)),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Parametrisation:
    return FAMILIES[request.param]


def somewhere(family: Parametrisation) -> Tensor:
    """Parameters a little away from the start."""
    start = family.start()
    return start + 0.05 * torch.randn(len(start), generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_the_jacobian_is_the_derivative_of_the_entries(family: Parametrisation) -> None:
    theta = somewhere(family)
    steps = 1e-6 * torch.eye(len(theta), dtype=torch.float64)
    expected = [(entries(family.table(theta + h)) - entries(family.table(theta - h))) / 2e-6 for h in steps]
    torch.testing.assert_close(family.jacobian(theta), torch.stack(expected, dim=1), rtol=1e-5, atol=1e-6)


def test_times_increase_from_end_to_end_wherever_one_goes(family: Parametrisation) -> None:
    theta = family.start()
    theta[: family.log_gaps] += 3 * torch.randn(
        family.log_gaps, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    times = family.table(theta).times
    assert times[0] == 0
    assert float(times[-1]) in {1.0, 0.999}
    assert (times.diff() > 0).all()


def test_a_family_that_holds_every_last_row_takes_it(family: Parametrisation) -> None:
    theta = somewhere(family)
    table = family.table(theta)
    row = torch.linspace(-1, 1, table.n + 1, dtype=torch.float64)
    replaced = family.with_last_row(theta, row)
    if replaced is not None:
        torch.testing.assert_close(family.table(replaced).rows, table.with_row(table.n - 1, row).rows)
        torch.testing.assert_close(family.table(replaced).times, table.times)


def test_which_families_hold_every_last_row() -> None:
    row = torch.zeros(7, dtype=torch.float64)
    held = {name for name, family in FAMILIES.items() if family.with_last_row(family.start(), row[:6]) is not None}
    assert held == {"free", "coefficients", "anchored"}


@pytest.mark.parametrize(
    ("family", "table"),
    [
        (FAMILIES["free"], random_table(5)),
        (FAMILIES["coefficients"], random_table(5)),
        (LinearMultistep(uniform(5)), traced(euler, 5)),
        (ScaleTime(5, (0.0, 1.0), 1), traced(euler, 5)),
        (ScaleTime(6, (0.0, 1.0), 2), traced(midpoint, 6)),
        (FAMILIES["rule-times"], traced(unipc, 5)),
        (FAMILIES["anchored"], traced(unipc, 5)),
    ],
    ids=["free", "coefficients", "multistep", "scale-time-1", "scale-time-2", "rule-times", "anchored"],
)
def test_each_family_starts_from_its_rule(family: Parametrisation, table: Table) -> None:
    found = family.table(family.start())
    torch.testing.assert_close(found.times, table.times)
    torch.testing.assert_close(found.rows, table.rows)


def test_the_numbers_of_parameters_are_the_papers() -> None:
    for n in (4, 6, 10):
        assert len(ScaleTime(n, (0.0, 1.0), 1).start()) == 4 * n - 1
        assert len(ScaleTime(n, (0.0, 1.0), 2).start()) == 8 * (n // 2) - 1
        # The papers count both ends, or one gap too many: n (n + 5) / 2 + 1 of BNS, n (n + 1) / 2 of DSS.
        assert len(FreeTable(random_table(n)).start()) == n * (n + 5) // 2 + 1 - 2
        assert len(LinearMultistep(uniform(n)).start()) == n * (n + 1) // 2 - 1


@pytest.mark.parametrize("order", [1, 2])
def test_scale_time_steps_are_the_rule_in_changed_coordinates(order: int) -> None:
    """Euler or midpoint on u_bar_r(x) = (s'/s) x + s t' u_t(x / s), written out as in the bespoke paper."""
    n, field = 6, SineField()
    family = ScaleTime(n, (0.0, 1.0), order)
    theta = somewhere(family)
    times = family.table(theta).times
    speed = theta[n - 1 : 2 * n - 1].exp()
    scale = torch.cat([torch.ones(1, dtype=torch.float64), theta[2 * n - 1 : 3 * n - 1].exp()])
    slope = theta[3 * n - 1 :]

    def u_bar(j: int, z: Tensor) -> Tensor:
        return slope[j] / scale[j] * z + scale[j] * speed[j] * field(times[j], z / scale[j])

    x0 = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = x0 * scale[0]
    for j in range(0, n, order):
        if order == 1:
            z = z + u_bar(j, z) / n
        else:
            h = 2 / n
            z = z + h * u_bar(j + 1, z + h / 2 * u_bar(j, z))
    torch.testing.assert_close(family.table(theta).solver()(field, x0), z / scale[n])


def test_multistep_weights_of_every_step_sum_to_one() -> None:
    family = FAMILIES["multistep"]
    table = family.table(somewhere(family))
    assert torch.equal(table.rows[:, 0], torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(table.rows[:, 1:].sum(1), table.times[1:])


def test_scale_time_of_order_two_needs_an_even_budget() -> None:
    with pytest.raises(NotApplicableError, match="multiple of 2"):
        ScaleTime(5, (0.0, 1.0), 2)


def test_log_gaps_return_their_times_and_refuse_repeated_ones() -> None:
    times = uniform(6) ** 2
    gaps = LogGaps(times)
    torch.testing.assert_close(gaps.times(gaps.start), times)
    with pytest.raises(NotApplicableError, match="do not increase"):
        LogGaps(torch.tensor([0.0, 0.5, 0.5, 1.0]))
