from __future__ import annotations

import math

import pytest
import torch

from bnsbench.errors import BnsbenchError
from bnsbench.models.learning import Learner
from bnsbench.models.recipe import Recipe, Trained, no_figures, recipe_modules, seeded, trained

RECIPE = Recipe(1, lambda course, checkpoint: Trained({}, {"steps": 1}), no_figures, {"accuracy": 0.99})


def test_missed_gate_names_the_figure():
    RECIPE.check("digits-classifier", {"accuracy": 0.99, "other": 0.0})
    with pytest.raises(BnsbenchError, match=r"'digits-classifier' miss their gate: accuracy 0\.500 < 0\.99"):
        RECIPE.check("digits-classifier", {"accuracy": 0.5})
    with pytest.raises(BnsbenchError, match="nan"):
        RECIPE.check("digits-classifier", {"accuracy": math.nan})


def test_figures_by_the_data_set_are_measured_where_it_is(tmp_path):
    seen = []

    def by_data(folder, data):
        seen.append((folder, data))
        return {"nearest_ratio": 0.5}

    usual, other, weights = tmp_path / "usual", tmp_path / "other", tmp_path / "weights"
    gates = {"accuracy": 0.5, "nearest_ratio": 0.75}
    recipe = Recipe(1, RECIPE.train, lambda folder: {"accuracy": 0.6}, gates, usual, measure_by_data=by_data)
    figures = recipe.figures(weights)
    assert figures == {"accuracy": 0.6}
    assert recipe.unmeasured(figures) == ["nearest_ratio"]
    recipe.check("fashion-ot", figures)
    usual.mkdir()
    figures = recipe.figures(weights)
    assert recipe.unmeasured(figures) == []
    with pytest.raises(BnsbenchError, match=r"gate: nearest_ratio 0\.500 < 0\.75"):
        recipe.check("fashion-ot", figures)
    recipe.figures(weights, other)  # whoever names a folder hears if files are not there
    assert seen == [(weights, usual), (weights, other)]


def test_seeded_networks_repeat_and_leave_the_random_state_alone():
    state = torch.random.get_rng_state()
    first, second = (seeded(lambda: torch.nn.Linear(3, 2)) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_every_folder_of_a_data_set_is_found():
    """A data set that is added is trained, checked and shipped without being named anywhere else."""
    found = {module.__name__.split(".")[-2] for module in recipe_modules()}
    assert found == {"digits", "fashion", "scenes", "speech"}
    assert all(isinstance(recipe, Recipe) for module in recipe_modules() for recipe in module.RECIPES.values())


def test_the_record_of_a_training_names_its_device():
    learner = Learner(torch.nn.Linear(1, 1), lambda network, generator: network.weight.sum(), 3, rate=0.1, seed=0)
    learner.step()
    assert trained(learner).record == {"steps": 1}
    learner.device_name = "NVIDIA H100"
    assert trained(learner).record == {"steps": 1, "device": "NVIDIA H100", "seconds": 0}
    assert trained(learner).tensors.keys() == {"weight", "bias"}
