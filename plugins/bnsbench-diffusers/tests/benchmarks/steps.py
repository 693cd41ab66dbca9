"""What a scheduler costs per step beside its network, in microseconds on one thread: prints a table in Markdown.

python plugins/bnsbench-diffusers/tests/benchmarks/steps.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import diffusers
import torch
from torch import Tensor

from bnsbench.paths import CondOT
from bnsbench.plugin import NonStationarySolver, SolverArtefact
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler

STEPS, REPEATS = 16, 40
SHAPES: Mapping[str, tuple[int, ...]] = {"1x4x8x8": (1, 4, 8, 8), "1x4x64x64": (1, 4, 64, 64), "16x4x64x64": (16, 4, 64, 64)}


def non_stationary() -> Any:
    """Return the scheduler of a table; its cost does not depend on its numbers, nor on what the network predicts."""
    euler = NonStationarySolver(
        times=torch.linspace(0.0, 1.0, STEPS + 1, dtype=torch.float64),
        a=torch.ones(STEPS, dtype=torch.float64),
        b=torch.full((STEPS, STEPS), 1.0 / STEPS, dtype=torch.float64).tril(),
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


SCHEDULERS: Mapping[str, Any] = {
    "NonStationary": non_stationary(),
    "FlowMatchEulerDiscrete": diffusers.FlowMatchEulerDiscreteScheduler(),
    "DDIM": diffusers.DDIMScheduler(clip_sample=False),
    "DPMSolverMultistep": diffusers.DPMSolverMultistepScheduler(),
    "DEISMultistep": diffusers.DEISMultistepScheduler(),
    "UniPCMultistep": diffusers.UniPCMultistepScheduler(),
}


def microseconds(scheduler: Any, noise: Tensor) -> float:
    """Return the median over repeats of the mean time of a step of one loop, the network being a tensor at hand."""
    output, found = torch.randn_like(noise), []
    for _ in range(REPEATS):
        scheduler.set_timesteps(STEPS)
        timesteps, x = list(scheduler.timesteps), noise
        begin = time.perf_counter()
        for timestep in timesteps:
            if hasattr(scheduler, "scale_model_input"):
                scheduler.scale_model_input(x, timestep)
            x = scheduler.step(output, timestep, x, return_dict=False)[0]
        found.append((time.perf_counter() - begin) / len(timesteps))
    return 1e6 * median(found)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = [f"| scheduler, {STEPS} steps | " + " | ".join(SHAPES) + " |", "|---" * (len(SHAPES) + 1) + "|"]
    for name, scheduler in SCHEDULERS.items():
        times = [microseconds(scheduler, torch.randn(shape)) for shape in SHAPES.values()]
        lines.append(f"| `{name}` | " + " | ".join(f"{value:.0f}" for value in times) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
