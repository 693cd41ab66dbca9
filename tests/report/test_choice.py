"""Which cells are chosen, and the chance of missing forged ones: against scipy, against every placement, and by trial."""

from __future__ import annotations

import itertools
import random

import pytest
from scipy.stats import hypergeom

from bnsbench.contract import PluginHost
from bnsbench.report.choice import Stratum, chance_missed, chance_missed_at_random, draw
from bnsbench.suite.plan import make_plan
from bnsbench.suite.suitefile import Suite

SUITE = {
    "name": "small",
    "nfe": list(range(4, 10)),
    "solvers": ["euler", "ab2", "ab3", "ddim", "tuned", "bns"],
    "models": ["ring8", "aniso5", {"name": "textures", "solvers": ["euler"], "nfe": [4]}],
}


@pytest.fixture(scope="module")
def cells():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNSBENCH_PLUGINS", "")
        return make_plan(Suite.parse(SUITE, "this test"), PluginHost.load())


@pytest.mark.parametrize("count", [1, 3, 4, 10, 24, 60, 72, 73])
def test_a_choice_has_every_model_and_a_third_with_trained_solvers(cells, count):
    for seed in range(3):
        choice = draw(cells, count, seed)
        assert len(choice.cells) == min(max(count, 3), 73) == sum(stratum.chosen for stratum in choice.strata)
        assert {cell.model.name for cell in choice.cells} == {"ring8", "aniso5", "textures"}
        assert choice.population == len(cells) == 73
        if count >= 4:
            assert sum(cell.trained for cell in choice.cells) >= min(count // 3, 24)
        assert [cell for cell in cells if cell in choice.cells] == list(choice.cells)


def test_none_and_all(cells):
    assert draw(cells, 0, 1).cells == ()
    assert draw(cells, None, 1).cells == tuple(cells)
    assert draw([], 24, 1).strata == ()


def test_shares_do_not_depend_on_the_seed_but_cells_do(cells):
    one, other = draw(cells, 20, 1), draw(cells, 20, 2)
    assert one.strata == other.strata
    assert one.cells != other.cells
    assert one == draw(cells, 20, 1)


def test_all_cells_of_a_stratum_are_chosen_equally_often(cells):
    counts = dict.fromkeys((cell.key for cell in cells), 0)
    for seed in range(400):
        for cell in draw(cells, 20, seed).cells:
            counts[cell.key] += 1
    for (model, trained), group in itertools.groupby(
        sorted(cells, key=lambda cell: (cell.model.name, cell.trained)), key=lambda cell: (cell.model.name, cell.trained)
    ):
        found = [counts[cell.key] for cell in group]
        mean = sum(found) / len(found)
        assert max(abs(count - mean) for count in found) <= 5 * max(1.0, mean) ** 0.5, (model, trained)


@pytest.mark.parametrize("forged", [1, 2, 5, 30, 76, 77])
def test_one_stratum_is_hypergeometric(forged):
    expected = float(hypergeom(100, forged, 24).pmf(0))
    assert chance_missed([Stratum(100, 24)], forged) == pytest.approx(expected, abs=1e-12)
    assert chance_missed_at_random(100, 24, forged) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("forged", range(1, 9))
def test_the_worst_of_all_placements_is_found(forged):
    strata = [Stratum(5, 2), Stratum(4, 1), Stratum(3, 3), Stratum(6, 2)]
    placements = [
        counts for counts in itertools.product(*(range(stratum.size + 1) for stratum in strata)) if sum(counts) == forged
    ]
    chances = []
    for counts in placements:
        chance = 1.0
        for stratum, count in zip(strata, counts, strict=True):
            chance *= float(hypergeom(stratum.size, count, stratum.chosen).pmf(0))
        chances.append(chance)
    assert chance_missed(strata, forged) == pytest.approx(max(chances), abs=1e-12)


def test_the_chance_at_random_is_that_of_trials():
    strata, generator = [(20, 2), (10, 5)], random.Random(0)  # noqa: S311 (a trial)
    missed = 0
    for _ in range(4000):
        chosen = {(k, i) for k, (size, count) in enumerate(strata) for i in generator.sample(range(size), count)}
        everything = [(k, i) for k, (size, _) in enumerate(strata) for i in range(size)]
        missed += not chosen & set(generator.sample(everything, 3))
    assert missed / 4000 == pytest.approx(chance_missed_at_random(30, 7, 3), abs=0.03)


def test_what_is_run_in_full_misses_nothing():
    assert chance_missed([Stratum(3, 3), Stratum(2, 2)], 1) == 0.0
    assert chance_missed([Stratum(3, 3), Stratum(2, 1)], 1) == 0.5
    assert chance_missed([Stratum(3, 0)], 3) == 1.0
    assert chance_missed([Stratum(3, 0)], 4) == chance_missed_at_random(3, 0, 4) == 0.0
    assert chance_missed([], 1) == 0.0
