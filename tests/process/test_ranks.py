"""Processes that work together: shares are dealt out, results and faults come to all, one decides for all."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from bnsbench.errors import DivergedError, UsageError
from bnsbench.process.parts import Parts
from bnsbench.process.ranks import Team, TeamError, by_itself, team
from tests.teams import together

pytestmark = pytest.mark.timeout(900)
"""Processes take long to start on a crowded machine."""


def test_a_process_by_itself_does_everything_at_once() -> None:
    alone = team()
    assert (alone.size, alone.first, alone.sharing, alone.divides(8)) == (1, True, False, False)
    assert alone.each_share(5, lambda part: part) == [slice(0, 5)]
    assert alone.of_first(lambda: 3) == 3
    seen: list[int] = []
    alone.count(seen.append, 4)
    assert seen == [4]
    theta = torch.ones(3, requires_grad=True)
    assert alone.gradient_of_all(theta, 5) is theta
    assert torch.equal(alone.rejoined(5, lambda part: torch.arange(5)[part]), torch.arange(5))
    assert torch.equal(alone.total(theta), theta)


@pytest.mark.parametrize(("count", "size"), [(5, 2), (4, 4), (7, 3), (128, 5)])
def test_shares_are_all_samples_in_order_and_differ_by_one_at_most(count: int, size: int) -> None:
    shares = [list(range(count))[Team(rank, size)._share(count)] for rank in range(size)]
    assert [sample for share in shares for sample in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


class OddError(Exception):
    """An error that cannot be sent."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def _many_things() -> dict[str, Any]:
    """What a team does, thing by thing; results as the process has got them."""
    mine = team()
    found: dict[str, Any] = {"rank": mine.rank}
    numbers = torch.arange(10, dtype=torch.float64).reshape(5, 2)

    def do(part: slice) -> tuple[Tensor, list[Any], Tensor]:
        return numbers[part] ** 2, [numbers[part].float() > 3, part.start], torch.zeros(0, 3, dtype=torch.int32)

    found["shares"] = mine.each_share(5, do)
    found["few"] = mine.each_share(1, lambda part: part)
    found["inside"] = mine.each_share(4, lambda part: mine.each_share(4, lambda other: (other, mine.sharing)))
    found["scalar"] = mine.each_share(2, lambda part: torch.tensor(mine.rank + 0.5, dtype=torch.bfloat16))
    with torch.no_grad(), forward_ad.dual_level():
        values = numbers[:, 0].clone()
        dual = forward_ad.make_dual(values, 2 * values)
        both = [forward_ad.unpack_dual(each) for each in mine.each_share(5, lambda part: dual[part] ** 2)]
        found["dual"] = torch.cat([each.primal for each in both]), torch.cat([each.tangent for each in both])
    asked: list[int] = []

    def decide() -> str:
        asked.append(1)
        return f"of {mine.rank}"

    found["decision"] = mine.of_first(decide), len(asked)
    counted: list[int] = []
    mine.each_share(5, lambda part: mine.count(counted.append, part.stop - part.start))
    found["counted"] = counted
    found["total"] = mine.total(torch.tensor([1.0, mine.rank]))
    with by_itself():
        found["by itself"] = team().each_share(5, lambda part: part)
    return found | {"faults": [_fault(each) for each in (_of_the_second, _unsendable, _of_the_first_alone)]} | _gradient()


def _fault(cause: Any) -> tuple[str, str]:
    try:
        cause()
    except Exception as error:  # noqa: BLE001 (it is what the test looks at)
        return type(error).__name__, str(error)
    return "", ""


def _of_the_second() -> None:
    def do(part: slice) -> None:
        if part.start:
            raise UsageError("the second share is no good")

    team().each_share(4, do)


def _unsendable() -> None:
    def do(part: slice) -> None:
        if part.start:
            raise OddError(1, 2)

    team().each_share(4, do)


def _of_the_first_alone() -> None:
    def make() -> int:
        raise DivergedError("the first has seen it")

    team().of_first(make)


def _loss(theta: Tensor) -> Tensor:
    """A loss that is no sum over samples: the logarithm of a mean over all of them, and their largest."""
    mine, x = team(), torch.linspace(-1, 2, 7, dtype=torch.float64)
    shared = mine.gradient_of_all(theta, 7)
    values = mine.rejoined(7, lambda part: (shared[0] * x[part] + shared[1]).exp())
    return values.mean().log() + values.max()


def _gradient() -> dict[str, Any]:
    theta = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    loss = _loss(theta)
    loss.backward()
    return {"loss": loss.detach(), "gradient": theta.grad}


@pytest.fixture(scope="module")
def seen() -> list[dict[str, Any]]:
    """What both processes of a team have got."""
    return together(_many_things)


def test_results_of_all_shares_come_to_all(seen) -> None:
    numbers = torch.arange(10, dtype=torch.float64).reshape(5, 2)
    for rank, found in enumerate(seen):
        assert found["rank"] == rank
        squares, plain, nothing = zip(*found["shares"], strict=True)
        assert torch.equal(torch.cat(squares), numbers**2)
        assert torch.equal(torch.cat([large for large, _ in plain]), numbers.float() > 3)
        assert [start for _, start in plain] == [0, 2]
        assert all(each.shape == (0, 3) and each.dtype == torch.int32 for each in nothing)
        assert [float(each) for each in found["scalar"]] == [0.5, 1.5]
        assert found["scalar"][0].shape == ()
        value, tangent = found["dual"]
        assert torch.equal(value, numbers[:, 0] ** 2)
        assert torch.equal(tangent, 4 * numbers[:, 0] ** 2)
        assert torch.equal(found["total"], torch.tensor([2.0, 1.0]))


def test_neither_single_samples_nor_shares_are_dealt_out_again(seen) -> None:
    for found in seen:
        assert found["few"] == [slice(0, 1)]
        assert found["inside"] == [[(slice(0, 4), True)], [(slice(0, 4), True)]]
        assert found["by itself"] == [slice(0, 5)]


def test_one_decides_for_all_and_what_is_counted_is_the_sum(seen) -> None:
    assert [found["decision"] for found in seen] == [("of 0", 1), ("of 0", 0)]
    assert [found["counted"] for found in seen] == [[5], [5]]


def test_a_fault_of_one_is_raised_in_all_and_the_team_goes_on(seen) -> None:
    second = ("UsageError", "the second share is no good")
    first = ("DivergedError", "the first has seen it")
    assert seen[0]["faults"] == [second, ("BnsbenchError", "OddError: 1 and 2"), first]
    assert seen[1]["faults"] == [second, ("OddError", "1 and 2"), first]


def test_the_gradient_is_that_of_the_whole(seen) -> None:
    theta = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    loss = _loss(theta)
    loss.backward()
    for found in seen:
        torch.testing.assert_close(found["loss"], loss.detach(), rtol=1e-14, atol=0)
        torch.testing.assert_close(found["gradient"], theta.grad, rtol=1e-14, atol=0)


def _part_ways() -> None:
    if team().first:
        team().each_share(4, lambda part: part)
    else:
        team().of_first(lambda: 1)


def _fail_beside() -> None:
    if not team().first:
        raise DivergedError("the second has failed beside its work")
    team().of_first(lambda: 1)


def _die() -> None:
    if not team().first:
        os._exit(3)
    team().of_first(lambda: 1)


def _cramped() -> tuple[list[int], Tensor]:
    """Squares of numbers, of which the second process takes two at once."""
    asked: list[int] = []

    def do(part: slice) -> Tensor:
        asked.append(part.stop - part.start)
        if not team().first and asked[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return torch.arange(10)[part] ** 2

    return asked, torch.cat(Parts().each("values", 10, do))


def test_processes_that_part_ways_say_so_and_do_not_wait_for_ever() -> None:
    found = together(_part_ways)
    assert all(isinstance(error, TeamError) for error in found)
    assert "different decisions (shares of 4, a decision)" in str(found[0])


def test_a_fault_beside_the_work_ends_all_with_one_sentence() -> None:
    found = together(_fail_beside)
    assert [type(error) for error in found] == [DivergedError, DivergedError]
    assert str(found[0]) == "the second has failed beside its work"


def test_a_process_that_dies_is_noticed() -> None:
    first, second = together(_die)
    assert second is None
    assert isinstance(first, TeamError)
    assert "One of the 2 processes that train together has gone" in str(first)


def test_each_process_finds_out_how_much_fits_into_its_own_memory() -> None:
    (one, squares), (other, same) = together(_cramped)
    assert torch.equal(squares, torch.arange(10) ** 2)
    assert torch.equal(squares, same)
    assert one == [5]
    assert other == [5, 2, 2, 1]
