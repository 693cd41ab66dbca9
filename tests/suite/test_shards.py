from __future__ import annotations

from dataclasses import replace

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.suite.estimate import estimate
from bnsbench.suite.plan import make_plan
from bnsbench.suite.shards import Shard, deal
from bnsbench.suite.suitefile import Suite, find_suite, read_suite


def plan(**changes):
    """Return 6 fields of two solvers, of which one is trained, at 2 and 4 evaluations."""
    content = {
        "name": "made",
        "nfe": [4, 8],
        "solvers": ["euler", "bns"],
        "models": [{"name": name, "guidance": [0.0, 1.0, 2.0]} for name in ("digits-ot", "digits-vp")],
        **changes,
    }
    return make_plan(Suite.parse(content, "here"), PluginHost.load())


def fields_of(cells):
    return {cell.field_digest for cell in cells}


def cost(cells):
    found = estimate(cells, retrain=True)
    return found.sampling + found.truth + found.training


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7, 10, 24, 100])
def test_every_cell_is_in_one_shard(count):
    cells = plan()
    dealt = [key for shard in deal(cells, count) for key in (cell.key for cell in shard)]
    assert sorted(dealt) == sorted(cell.key for cell in cells)
    assert len(deal(cells, count)) == count


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_a_field_is_in_one_shard_while_there_are_enough_of_them(count):
    shards = deal(plan(), count)
    assert sum(len(fields_of(shard)) for shard in shards) == len(fields_of(plan())) == 6
    assert all(shards)


def test_the_deal_does_not_depend_on_the_order_of_the_metrics_or_on_what_is_installed():
    """Machines compute it for themselves: only the plan counts."""
    one, other = plan(metrics=["psnr"]), plan(metrics=["fid", "psnr"])
    assert [[cell.key for cell in shard] for shard in deal(one, 4)] == [
        [cell.key for cell in shard] for shard in deal(other, 4)
    ]


def test_expected_cost_is_balanced_and_not_the_number_of_cells():
    """Guided fields cost twice as much: of three shards for four fields, that with two has the cheap ones."""
    models = [{"name": "digits-ot", "guidance": [0.0, 1.0, 2.0]}, {"name": "digits-vp"}]
    cells = plan(models=models)
    shards = deal(cells, 3)
    free = {cell.field_digest for cell in cells if cell.guidance == 0}
    assert sorted(len(fields_of(shard)) for shard in shards) == [1, 1, 2]
    assert fields_of(next(shard for shard in shards if len(fields_of(shard)) == 2)) == free
    assert max(map(cost, shards)) == pytest.approx(min(map(cost, shards)))


def test_hours_count_where_the_suite_knows_them():
    """A network of a hundred times the operations outweighs three others."""
    cells = plan(models=[{"name": name} for name in ("digits-ot", "digits-vp", "digits-cos", "fashion-ot")])
    heavy = [replace(cell, gflops=100.0 if cell.model.name == "digits-ot" else 1.0) for cell in cells]
    assert sorted(len(fields_of(shard)) for shard in deal(heavy, 2)) == [1, 3]
    assert sorted(len(fields_of(shard)) for shard in deal(cells, 2)) == [2, 2]


@pytest.mark.parametrize("count", [7, 9, 12, 18])
def test_with_more_shards_than_fields_these_are_cut_but_no_ladder_is(count):
    cells = plan()
    shards = deal(cells, count)
    assert sum(map(bool, shards)) == count
    assert all(len(fields_of(shard)) == 1 for shard in shards)
    ladders = [{(cell.field_digest, cell.solver.name) for cell in shard if cell.trained} for shard in shards]
    assert sum(map(len, ladders)) == 6


def test_what_costs_most_is_cut_first():
    """Of a guided field and one without guidance, which costs half as much, three shards share the guided one."""
    cells = plan(models=[{"name": "digits-ot", "guidance": [0.0, 2.0]}])
    shards = [shard for shard in deal(cells, 3) if shard[0].guidance == 2.0]
    assert len(shards) == 2


def test_cells_that_are_skipped_are_dealt_out_too():
    cells = [replace(cell, skip="because") if cell.solver.name == "euler" else cell for cell in plan()]
    for count in (2, 10):
        assert sorted(cell.key for shard in deal(cells, count) for cell in shard) == sorted(cell.key for cell in cells)
    idle = deal([replace(cell, skip="because") for cell in cells], 10)
    assert sorted(map(len, idle)) == [0] * 9 + [len(cells)], "what costs nothing keeps one shard busy for no time"


def test_a_shard_has_its_cells_in_the_order_of_the_plan():
    cells = plan()
    own = Shard(1, 4).of(cells)
    assert own
    assert list(own) == [cell for cell in cells if cell.key in {each.key for each in own}]
    assert Shard(99, 100).of(cells) == ()


def test_the_default_suite_is_balanced():
    """16 fields over 8 shards: none is expected to take a third more than the mean."""
    host = PluginHost.load()
    cells = make_plan(find_suite("default", host), host)
    costs = [cost(shard) for shard in deal(cells, 8)]
    assert max(costs) < 4 / 3 * sum(costs) / 8


def test_tiny_fields_go_to_shards_by_plugin_models_too(suite_file, host):
    cells = make_plan(read_suite(suite_file), host)
    assert [len(shard) for shard in deal(cells, 3)] == [6, 6, 6]


@pytest.mark.parametrize(("text", "shard"), [("0/1", (0, 1)), ("3/4", (3, 4)), (" 0/64 ", (0, 64)), ("007/8", (7, 8))])
def test_shards_are_written_from_zero(text, shard):
    found = Shard.parse(text)
    assert (found.index, found.count) == shard
    assert Shard.parse(str(found)) == found


@pytest.mark.parametrize(
    "text", ["", "1", "1/", "/4", "a/4", "-1/4", "1/4/5", "1.0/4", "1 / 4", "1/-4", "9" * 30 + "/4", (0, 4)]
)
def test_what_is_no_shard_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="such as 0/4 for the first of four"):
        Shard.parse(text)


def test_a_shard_that_counts_from_one_is_told_so():
    with pytest.raises(UsageError, match="no shard 4/4: shards count from 0, so that the last one is 3/4"):
        Shard.parse("4/4")


@pytest.mark.parametrize("count", [0, 100_001])
def test_the_number_of_shards_has_bounds(count):
    with pytest.raises(UsageError, match="between 1 and 100,000"):
        Shard.parse(f"0/{count}")
