"""Train the shipped weights again, or measure them against their gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bnsbench.errors import UsageError
from bnsbench.models.recipe import SEED, Recipe, recipe_modules
from bnsbench.models.weights import WEIGHTS, save_weights

RECIPES: dict[str, Recipe] = {name: recipe for module in recipe_modules() for name, recipe in module.RECIPES.items()}
"""The recipes of all shipped weights by name: the ``RECIPES`` of every data set."""


def pretrain(
    name: str, output: Path, *, steps: int | None = None, check: bool = False, progress: bool = True
) -> dict[str, float]:
    """Train the weights of that name into the folder ``output`` and return their figures, which the manifest records too.

    An interrupted training goes on from ``output/NAME.checkpoint.pt``.

    Args:
        name: Of the weights, such as "digits-ot".
        output: The folder.
        steps: In place of the recipe's budget.
        check: Train nothing, and measure the shipped weights again.
        progress: Whether to show a bar of progress.

    Raises:
        UsageError: If there is no such name, or the budget is less than a step.
        BnsbenchError: If figures after the recipe's full budget miss their gate.
    """
    if name not in RECIPES:
        raise UsageError(f"There is no recipe named {name!r}; choose from {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    if check:
        figures = recipe.measure(WEIGHTS)
        recipe.check(name, figures)
        return figures
    budget = recipe.steps if steps is None else steps
    if budget < 1:
        raise UsageError(f"A training needs at least 1 step, not {budget}.")
    checkpoint = output / f"{name}.checkpoint.pt"
    tensors = recipe.train(budget, checkpoint, progress)
    record: dict[str, Any] = {"steps": budget, "seed": SEED}
    save_weights(name, tensors, record, output)
    figures = recipe.measure(output)
    save_weights(name, tensors, {**record, "figures": {key: round(value, 4) for key, value in figures.items()}}, output)
    checkpoint.unlink(missing_ok=True)
    if budget >= recipe.steps:
        recipe.check(name, figures)
    return figures
