"""What a scheduler costs per step beside its network, on one thread: prints tables in Markdown.

python plugins/bnsbench-diffusers/tests/benchmarks/steps.py

Schedulers take turns in every repeat, so that what else the machine does meets all of them: the ratios to DDIM are what
compares, microseconds are for orders of magnitude.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import diffusers
import torch
from torch import Tensor

from bnsbench.paths import CondOT
from bnsbench.plugin import NonStationarySolver, SolverArtefact
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler

STEPS, REPEATS = (8, 20), 60
SHAPES: Mapping[str, tuple[int, ...]] = {
    "4x8x8": (1, 4, 8, 8),
    "4x64x64": (1, 4, 64, 64),
    "16x128x128": (1, 16, 128, 128),
}
REFERENCE = "DDIM"


def non_stationary(steps: int) -> Any:
    """Return the scheduler of a table; its cost does not depend on its numbers, nor on what the network predicts."""
    euler = NonStationarySolver(
        times=torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64),
        a=torch.ones(steps, dtype=torch.float64),
        b=torch.full((steps, steps), 1.0 / steps, dtype=torch.float64).tril(),
    )
    artefact = SolverArtefact(
        solver=euler,
        path=CondOT(),
        interval=(0.0, 1.0),
        model="",
        fingerprint="0" * 64,
        guidance=0.0,
        name="euler",
    )
    return NonStationaryScheduler.from_artefact(artefact)


SCHEDULERS: Mapping[str, Callable[[int], Any]] = {
    "NonStationary": non_stationary,
    "FlowMatchEulerDiscrete": lambda _: diffusers.FlowMatchEulerDiscreteScheduler(),
    "DDIM": lambda _: diffusers.DDIMScheduler(clip_sample=False),
    "DPMSolverMultistep": lambda _: diffusers.DPMSolverMultistepScheduler(),
    "DEISMultistep": lambda _: diffusers.DEISMultistepScheduler(),
    "UniPCMultistep": lambda _: diffusers.UniPCMultistepScheduler(),
}


def seconds(scheduler: Any, steps: int, noise: Tensor, output: Tensor) -> float:
    """Return the mean time of a step of one loop, the network being a tensor at hand."""
    scheduler.set_timesteps(steps)
    timesteps, x = list(scheduler.timesteps), noise
    begin = time.perf_counter()
    for timestep in timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, timestep)
        x = scheduler.step(output, timestep, x, return_dict=False)[0]
    return (time.perf_counter() - begin) / len(timesteps)


def measured(shape: tuple[int, ...], steps: int) -> dict[str, tuple[float, float]]:
    """Return by scheduler the median time of a step in microseconds, and the median of its ratios to DDIM's."""
    schedulers = {name: make(steps) for name, make in SCHEDULERS.items()}
    noise, output = torch.randn(shape), torch.randn(shape)
    rounds = [{name: seconds(each, steps, noise, output) for name, each in schedulers.items()} for _ in range(REPEATS + 5)][
        5:
    ]
    return {
        name: (1e6 * median(each[name] for each in rounds), median(each[name] / each[REFERENCE] for each in rounds))
        for name in schedulers
    }


def main() -> None:
    """Print the table: ratios to DDIM, microseconds in brackets."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    columns = [(label, shape, steps) for label, shape in SHAPES.items() for steps in STEPS]
    lines = ["| scheduler | " + " | ".join(f"{label}, {steps} steps" for label, _, steps in columns) + " |"]
    lines.append("|---" + "|---:" * len(columns) + "|")
    found = [measured(shape, steps) for _, shape, steps in columns]
    for name in SCHEDULERS:
        cells = [f"{each[name][1]:.2f} ({each[name][0]:.0f})" for each in found]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
