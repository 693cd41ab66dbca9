"""Train the shipped weights again, or measure them against their gates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from bnsbench.errors import UsageError
from bnsbench.models.recipe import SEED, Course, Recipe, recipe_modules
from bnsbench.models.weights import WEIGHTS, read_manifest, record_figures, save_weights
from bnsbench.process.machine import choose_device

RECIPES: dict[str, Recipe] = {name: recipe for module in recipe_modules() for name, recipe in module.RECIPES.items()}
"""The recipes of all shipped weights by name: the ``RECIPES`` of every data set."""


UNLIMITED = 10**9
"""Steps of a training that a budget of time ends."""


def pretrain(
    name: str,
    output: Path,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    device: str = "cpu",
    data: Path | None = None,
    check: bool = False,
    measure: bool = True,
    progress: bool = True,
) -> dict[str, float]:
    """Train the weights of that name into the folder ``output`` and return their figures, which the manifest records too.

    An interrupted training goes on from ``output/NAME.checkpoint.pt``.

    Args:
        name: Of the weights, such as "digits-ot".
        output: The folder.
        steps: In place of the recipe's budget.
        seconds: A budget of time; in place of the recipe's steps unless ``steps`` says otherwise.
        device: "cpu", "cuda", "cuda:1" or "auto".
        data: The folder of the data set, where the package does not bring it. For ``check`` it may be absent: figures that
            need it are left out.
        check: Train nothing, and measure the shipped weights again.
        measure: Without it weights are written without figures, and the checkpoint stays; the same call with it measures.
        progress: Whether to show a bar of progress.

    Raises:
        UsageError: If there is no such name, the budget is less than a step, or the weights are trained on other devices or
            bring their data.
        BnsbenchError: If figures after the recipe's full budget miss their gate.
    """
    if name not in RECIPES:
        raise UsageError(f"There is no recipe named {name!r}; choose from {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    if data is not None and recipe.data is None:
        raise UsageError(f"The weights {name!r} are trained on data that the package brings: leave --data out.")
    if check:
        figures = recipe.figures(WEIGHTS, data)
        recipe.check(name, figures)
        return figures
    course = _course(name, steps, seconds, device, data, progress)
    if recipe.after and not any(recipe.after in read_manifest(folder) for folder in (output, WEIGHTS)):
        same: dict[str, Any] = {"steps": steps, "seconds": seconds, "device": device, "data": data, "progress": progress}
        pretrain(recipe.after, output, measure=measure, **same)
    checkpoint = output / f"{name}.checkpoint.pt"
    tensors, facts = recipe.train(course, checkpoint)
    record: dict[str, Any] = {**facts, "seed": SEED}
    save_weights(name, tensors, record, output)
    if not measure:
        return {}
    figures = recipe.figures(output, data)
    record_figures(name, figures, output)
    checkpoint.unlink(missing_ok=True)
    if record["steps"] >= recipe.steps:
        recipe.check(name, figures)
    return figures


def _course(name: str, steps: int | None, seconds: float | None, device: str, data: Path | None, progress: bool) -> Course:
    """Return the course that is asked for; UsageError if the recipe of that name knows none like it."""
    recipe = RECIPES[name]
    if steps is None:
        steps = recipe.steps if seconds is None else UNLIMITED
    if steps < 1:
        raise UsageError(f"A training needs at least 1 step, not {steps}.")
    if seconds is not None and not seconds > 0:
        raise UsageError(f"A training needs more than {seconds:g} seconds.")
    if seconds is not None and not recipe.timed:
        raise UsageError(f"The weights {name!r} are not made in steps of which time could choose the number: leave it out.")
    device = choose_device(device)
    if device.partition(":")[0] not in recipe.devices:
        raise UsageError(f"The weights {name!r} are trained on {' or '.join(recipe.devices)}, not on {device!r}.")
    return Course(steps, math.inf if seconds is None else seconds, device, data or recipe.data, progress)
