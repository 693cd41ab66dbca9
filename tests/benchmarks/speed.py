"""What a step of a sampler costs beside its network, in bnsbench and in other libraries.

    python -m tests.benchmarks.speed --output results/speed

Every sampler spends the same evaluations of a network that gives back a tensor at hand, so that what is timed is all that is
not the network. They take turns, and the quickest of many turns is told. What is not installed has no row: diffusers,
flow_matching and k_diffusion. ``steps.csv`` has the numbers, and ``README.md`` shows them with the machine.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import bnsbench
from bnsbench.api import speed
from bnsbench.flows.fields import FunctionField
from bnsbench.paths import CondOT
from bnsbench.process.cpu import keep_freed_memory
from bnsbench.process.machine import cores
from bnsbench.suite.environment import _processor

STEPS = 8

Sampler = Callable[[Tensor], Tensor]

DISTRIBUTIONS = {"k_diffusion": "k-diffusion", "flow_matching": "flow-matching"}


def samplers(velocity: Tensor) -> Iterator[tuple[str, str, Sampler]]:
    """Yield package, name and function of every sampler that is installed; each spends STEPS evaluations.

    Args:
        velocity: What the network returns.
    """
    field = FunctionField(lambda _t, _x: velocity, CondOT())
    yield "-", "a loop of x + h u", lambda x0: speed.bare_loop(field, x0, STEPS)
    table = bnsbench.solver("euler", STEPS)
    yield "bnsbench", "table of euler", lambda x0: table(field, x0)
    second = bnsbench.solver("dpm++2m", STEPS)
    yield "bnsbench", "table of dpm++2m", lambda x0: second(field, x0)
    for package, found in (
        ("torchdiffeq", _torchdiffeq),
        ("flow_matching", _flow_matching),
        ("diffusers", _diffusers),
        ("k_diffusion", _k_diffusion),
    ):
        try:
            yield from ((package, name, sampler) for name, sampler in found(velocity))
        except ImportError:
            continue


def _torchdiffeq(velocity: Tensor) -> Iterator[tuple[str, Sampler]]:
    from torchdiffeq import odeint

    times = torch.linspace(0, 1, STEPS + 1, device=velocity.device)
    ends = times[[0, -1]]
    options = {"grid_constructor": lambda _f, _y, _t: times}
    yield "odeint, euler", lambda x0: odeint(lambda _t, _x: velocity, x0, ends, method="euler", options=options)[-1]


def _flow_matching(velocity: Tensor) -> Iterator[tuple[str, Sampler]]:
    solver = importlib.import_module("flow_matching.solver").ODESolver(lambda x, t: velocity)
    yield "ODESolver, euler", lambda x0: solver.sample(x_init=x0, step_size=1 / STEPS, method="euler")


def _diffusers(velocity: Tensor) -> Iterator[tuple[str, Sampler]]:
    diffusers = importlib.import_module("diffusers")
    for name in ("FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"):
        kind = getattr(diffusers, name)

        def sampler(x: Tensor, kind: Any = kind) -> Tensor:
            scheduler = kind()
            scheduler.set_timesteps(STEPS, device=x.device)
            for t in scheduler.timesteps:
                x = scheduler.step(velocity, t, x).prev_sample
            return x

        yield name, sampler


def _k_diffusion(velocity: Tensor) -> Iterator[tuple[str, Sampler]]:
    sampling = importlib.import_module("k_diffusion.sampling")
    sigmas = sampling.get_sigmas_karras(STEPS, 0.01, 10.0, device=velocity.device)
    for name in ("sample_euler", "sample_dpmpp_2m"):
        function = getattr(sampling, name)
        yield name, partial(function, lambda _x, _sigma: velocity, sigmas=sigmas, disable=True)


def steps(shapes: Sequence[tuple[int, ...]], device: str, rounds: int) -> pd.DataFrame:
    """Return the microseconds of a step of every sampler, by the shape of states, and how many times those of the loop."""
    rows = []
    for shape in shapes:
        x0 = torch.randn(shape, device=device)
        found = list(samplers(torch.randn_like(x0)))
        with torch.no_grad():
            seconds = speed.compared([partial(sampler, x0) for _, _, sampler in found], device, rounds)
        rows += [
            {
                "states": "x".join(map(str, shape)),
                "package": package,
                "sampler": name,
                "microseconds": 1e6 * taken / STEPS,
                "times the loop": taken / seconds[0],
                "behind 5 ms": taken / STEPS / (taken / STEPS + speed.NETWORK),
            }
            for (package, name, _), taken in zip(found, seconds, strict=True)
        ]
    return pd.DataFrame(rows)


def conditions(device: str) -> str:
    """Return on what it was measured, in one paragraph."""
    names = ("torch", "torchdiffeq", "flow_matching", "diffusers", "k_diffusion")
    found = [f"{name} {version}" for name in names if (version := _version(name))]
    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return (
        f"{card}, {torch.get_num_threads()} thread, Python {platform.python_version()}, {', '.join(found)}, bnsbench"
        f" {bnsbench.__version__}. The machine's load was {os.getloadavg()[0]:.0f} on {cores()} cores."
    )


def efficiency(file: Path) -> str:
    """Return a section on what `tests.benchmarks.efficiency` has measured."""
    from tests.benchmarks import efficiency as measuring

    frame = pd.read_csv(file)
    table = measuring.shown(frame)
    said = (measuring.__doc__ or "").split("results/speed\n")[1].split(" Start it")[0].strip()
    return f"# A run on a network of 5 ms\n\n{said}\n\n{table}"


def many_cells(file: Path) -> str:
    """Return a section on what `tests.benchmarks.many_cells` has measured."""
    from tests.benchmarks import many_cells as measuring

    frame = pd.read_csv(file).drop(columns=["result"])
    table = frame.to_markdown(index=False, floatfmt=("", "", "", ".1f", ".1f", ".0f"))
    said = (measuring.__doc__ or "").partition("\n\n")[2].strip()
    return f"# Many cells\n\n{said}\n\n{table}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        return ""


def main(words: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=100, help="turns of each")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    warnings.simplefilter("ignore")  # of other libraries
    frame = steps(speed.SHAPES, options.device, options.rounds)
    options.output.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.output / "steps.csv", index=False, float_format="%.4g")
    table = frame.to_markdown(index=False, floatfmt=("", "", "", ".1f", ".2f", ".2%"))
    text = f"# A step beside its network\n\n{(__doc__ or '').split('    python')[1].partition(chr(10))[2].strip()}\n\n"
    text += f"{conditions(options.device)}\n\n{table}\n"
    if (options.output / "efficiency.csv").is_file():
        text += f"\n{efficiency(options.output / 'efficiency.csv')}\n"
    if (options.output / "cells.csv").is_file():
        text += f"\n{many_cells(options.output / 'cells.csv')}\n"
    (options.output / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
