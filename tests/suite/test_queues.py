"""Cells are given out by field, so that as few workers as possible make the same one."""

from __future__ import annotations

import pytest

from bnsbench.suite.plan import Cell, make_plan
from bnsbench.suite.queues import FieldQueues
from bnsbench.suite.suitefile import read_suite


@pytest.fixture
def cells(suite_file, host):
    """Six cells of each of three fields."""
    return make_plan(read_suite(suite_file), host)


def taken(queues: FieldQueues, worker: int) -> Cell:
    """Return the worker's next cell, of which there is one."""
    cell = queues.next(worker)
    assert cell is not None
    return cell


def test_queues_give_out_every_cell_once_by_field(cells):
    queues = FieldQueues(cells)
    given = {worker: [taken(queues, worker) for _ in range(6)] for worker in (1, 2, 3)}
    assert [len({(cell.model.name, cell.guidance) for cell in found}) for found in given.values()] == [1, 1, 1]
    assert sorted(cell.key for found in given.values() for cell in found) == sorted(cell.key for cell in cells)
    assert queues.next(1) is None


def test_idle_worker_helps_where_most_is_left(cells):
    queues = FieldQueues(cells[:8])  # six cells of one field, two of another
    assert taken(queues, 1).guidance == 0.0
    assert [taken(queues, 2).guidance for _ in range(3)] == [1.0, 1.0, 0.0]


def test_a_worker_keeps_its_field_and_then_takes_one_that_nobody_holds(cells):
    queues = FieldQueues(cells)
    first = [taken(queues, 1) for _ in range(7)]
    assert [cell.key for cell in first] == [cell.key for cell in cells[:7]]
    assert taken(queues, 2).field_digest == cells[12].field_digest


def test_nothing_is_given_out_of_nothing():
    assert FieldQueues([]).next(1) is None
