"""What a training of a large network takes: memory by derivative, and time beside the network's own.

One Gauss-Newton iteration on a few samples (the system of equations, and a trial step for each of three dampings), in a
fresh process for every derivative. Times are those of the processor, so that other programs on the machine count little.

- ``seconds``: of one evaluation of one sample, without gradients. ``backward``, ``dual``: of a pass back through one, and of
  one with dual numbers, as multiples of it; the network's weights want no gradients, so that a pass back costs one to two.
- ``iteration``: seconds. ``overhead``: of these, beyond what the same evaluations and passes cost alone.
- ``counted``: seconds over evaluations as the training record counts them (a pass back counts two, dual numbers two).
- ``weights``, ``peak``: gigabytes of the network's weights, and the most that the process held, 0.84 of them before it had
  made the network (on a GPU: the most that torch held there).
- ``kind``: the derivative; ``checkpointed`` is backward with the network's activations computed once more.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from bnsbench.contract import PluginHost
from bnsbench.flows.fields import Columns
from bnsbench.flows.model import Model
from bnsbench.flows.precision import dtype_named
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.objectives import LOG_MSE
from bnsbench.training.optimisers.forward_derivatives import Derivative, forward_mode
from bnsbench.training.optimisers.gauss_newton import GaussNewton, damped_steps
from bnsbench.training.optimisers.rollout import pull_back
from bnsbench.training.problem import Cost
from bnsbench.truth.pairs import Pairs, PairSource
from tests.benchmarks.training.bench import Bench

KINDS = ("backward", "checkpointed", "forward", "difference")
SAMPLES, LARGE = 2, 1e8
"""Samples of an iteration; of networks with so many bytes of weights, one."""
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
DAMPINGS = (1e-3, 1e-2, 1e-4)
GIGABYTE = 1e9


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one network and NFE, one for each derivative."""
    del iterations
    for kind in KINDS:
        command = [sys.executable, "-m", __name__, bench.model, kind, "--nfe", str(nfe), "--guidance", str(bench.guidance)]
        # The C library gives large blocks back at once, or what was once held would count for ever.
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **GIVES_BACK})
        yield bench.row(nfe, kind=kind, **json.loads(found.stdout))


class Calls:
    """Counts what the field of a network is asked for: evaluations, and those with dual numbers."""

    def __init__(self, model: Model) -> None:
        self.plain = self.dual = 0
        predict = model.predict

        def counting(t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
            dual = torch.autograd.forward_ad.unpack_dual(x).tangent is not None
            self.dual += len(x) * dual
            self.plain += len(x) * (not dual)
            return predict(t, x, condition)

        model.predict = counting  # type: ignore[method-assign]


def measure(
    model: Model, kind: str, nfe: int, guidance: float = 0.0, samples: int = SAMPLES, device: str = "cpu"
) -> dict[str, float]:
    """Return the figures of a network and a derivative.

    Args:
        model: which lies on the device.
        kind: of `KINDS`.
        nfe: of the table.
        guidance: the scale w.
        samples: so many.
        device: "cpu" or a CUDA device.
    """
    table, pairs = euler(nfe), pairs_of(model, guidance, samples, device)
    derivative = cast("Derivative", "backward" if kind == "checkpointed" else kind)
    family, cost = FreeTable(table, model.path), Cost()
    sketches = samples / len(family.start())  # one, as with the many pairs of a training
    newton = GaussNewton(
        family, LOG_MSE, pairs, cost, 0, derivative, model.dtype, kind == "checkpointed", rows_per_parameter=sketches
    )
    alone = bare(model, pairs, derivative, kind == "checkpointed", device)
    iterate = newton.evaluate(family.start())
    calls, spent = Calls(model), cost.training

    def iteration() -> None:
        gradient, curvature = newton.system(iterate, 0)
        move = damped_steps(gradient, curvature, family.logarithms)
        for damping in DAMPINGS:
            newton.evaluate(iterate.theta + move(damping))

    seconds = timed(iteration, device)
    doubled = model.forwards_per_evaluation(guidance)
    back = (nfe - 1) * samples * 2 if derivative == "backward" else 0  # gradient and sketch
    expected = calls.plain / doubled * alone["seconds"] + back * alone["back"] + calls.dual / doubled * alone["dual"]
    counted = (cost.training - spent) * alone["seconds"]
    return {
        "samples": samples,
        "seconds": alone["seconds"],
        "backward": alone["back"] / alone["seconds"],
        "dual": alone["dual"] / alone["seconds"],
        "iteration": seconds,
        "overhead": seconds / expected - 1,
        "counted": seconds / counted,
        "weights": weights_of(model) / GIGABYTE,
        "peak": peak(device) / GIGABYTE,
    }


def bare(model: Model, pairs: Pairs, derivative: Derivative, checkpointed: bool, device: str) -> dict[str, float]:
    """Return the seconds of one evaluation of one sample, and of a pass back and dual numbers where they are used."""
    field, x = pairs.field, pairs.x0.flatten(1)
    t, still = torch.tensor(0.4, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)

    def evaluate() -> None:
        with torch.no_grad():
            field(t, pairs.x0)

    def back(passes: int) -> Callable[[], object]:
        return lambda: pull_back(Columns(field), t, x, pairs.x0, torch.ones_like(x).expand(passes, 1, *x.shape))

    evaluate()
    seconds = timed(evaluate, device, 2)
    found = {"seconds": seconds, "back": 0.0, "dual": 0.0}
    if derivative == "backward":
        model.recompute(checkpointed)
        # The second pass by itself; the first one comes with an evaluation that keeps a graph.
        found["back"] = (timed(back(2), device) - seconds) / 2
        model.recompute(False)
    if derivative == "forward":
        direction = torch.ones_like(x)[None]
        found["dual"] = timed(lambda: forward_mode(field, t, pairs.x0, x, direction, still), device, 2)
    return {name: value / len(pairs) for name, value in found.items()}


def timed(work: Callable[[], object], device: str, repeats: int = 1) -> float:
    """Return the least seconds of a few repeats: of this process's processor time, or of the clock where a GPU works."""
    gpu, found = device.startswith("cuda"), []
    if gpu:
        work()  # the first call loads kernels and chooses among them
    for _ in range(repeats):
        if gpu:
            torch.cuda.synchronize(device)
        clock = time.perf_counter if gpu else time.process_time
        began = clock()
        work()
        if gpu:
            torch.cuda.synchronize(device)
        found.append(clock() - began)
    return min(found)


def peak(device: str) -> float:
    """Return the bytes that were held at most."""
    if device.startswith("cuda"):
        return float(torch.cuda.max_memory_allocated(device))
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def weights_of(model: Model) -> float:
    """Return the bytes of a network's weights."""
    network: torch.nn.Module = model.network  # type: ignore[attr-defined]
    return float(sum(part.numel() * part.element_size() for part in network.parameters()))


def euler(nfe: int) -> NonStationarySolver:
    """Return Euler's method with equal steps from 0 to 1; what is measured does not depend on a table's numbers."""
    times = torch.linspace(0, 1, nfe + 1, dtype=torch.float64)
    rows = torch.tril(torch.full((nfe, nfe + 1), 1 / nfe, dtype=torch.float64), 1)
    rows[:, 0] = 1
    return NonStationarySolver.from_rows(times, rows)


def pairs_of(model: Model, guidance: float, samples: int, device: str) -> Pairs:
    """Return pairs whose ends are noise as well, since a truth would cost more than all that is measured."""
    source = PairSource(model, "large", guidance, device=device)
    indices = torch.arange(samples)
    ends = source.initial("validation", indices)
    return Pairs(source.initial("train", indices), ends, source.field(indices), 0.0)


def main() -> None:
    """Print the figures of one network and derivative, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--nfe", type=int, required=True)
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    host = PluginHost.load([Path(__file__).with_name("large_networks.py")])
    model: Model = host.model(options.model).make()
    model = model.to("cpu", dtype_named(options.dtype, model.dtype))
    samples = 1 if weights_of(model) > LARGE else SAMPLES
    print(json.dumps(measure(model, options.kind, options.nfe, options.guidance, samples)))


if __name__ == "__main__":
    main()
