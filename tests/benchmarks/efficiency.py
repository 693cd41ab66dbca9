"""Which share of a run's time its network computes, where a forward takes 5 ms.

    python -m tests.benchmarks.efficiency --output results/speed

The network waits for 5 ms, whatever the batch, and returns the exact velocity of a Gaussian: so little of a batch that what
the runner itself does shows. Classics on plain and searched grids, the tuned solver and bns are run in one process, from
nothing; ``efficiency.csv`` has the seconds by phase, and those of them in the network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

import bnsbench
from bnsbench.paths import CondOT
from bnsbench.plugin import ModelSpec, hookimpl

SECONDS = 5e-3

SOLVERS = ("euler", "midpoint", "ab2", "unipc", "dpm++2m", "unipc[grid=best]", "tuned", "bns")


@hookimpl
def bnsbench_models() -> Iterator[ModelSpec]:
    yield ModelSpec("waiting", ":Waiting", summary="A Gaussian whose network takes 5 ms.", modality="image")


class Waiting(bnsbench.Model):
    """Images of independent Gaussian pixels of standard deviation 0.5."""

    def __init__(self) -> None:
        self.path, self.shape = CondOT(), (1, 16, 16)

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        until = time.perf_counter() + SECONDS
        # u = (d/dt log sd_t) x with sd_t^2 = t^2 / 4 + (1 - t)^2
        slope = ((t / 4 - (1 - t)) / (t**2 / 4 + (1 - t) ** 2)).to(x)
        found = (slope if slope.ndim == 0 else slope[:, None, None, None]) * x
        time.sleep(max(0.0, until - time.perf_counter()))
        return found

    def fingerprint(self) -> str:
        return "5e3"


def measure(solvers: Sequence[str], nfe: Sequence[int], samples: int) -> pd.DataFrame:
    """Return the seconds of a run by phase, those in the network among them, and the shares; last, all together.

    The last row also has the processor's seconds, which another program on the machine does not change.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        suite = place / "waiting.toml"
        suite.write_text('nfe = [8]\nsolvers = ["euler"]\nmetrics = ["psnr"]\nmodels = ["waiting"]\n', encoding="utf-8")
        began = time.process_time()
        bnsbench.run(
            suite, solvers=solvers, nfe=nfe, samples=samples, batch=64, results=place, device="cpu", plugins=[__file__]
        )
        processor = time.process_time() - began
        found = json.loads((place / "waiting" / "timings.json").read_text(encoding="utf-8"))
    frame = pd.DataFrame(
        [(phase, seconds, found["network"].get(phase, 0.0)) for phase, seconds in found["spent"].items()],
        columns=["phase", "seconds", "network"],
    )
    total = {"phase": "all", "seconds": frame["seconds"].sum(), "network": frame["network"].sum(), "processor": processor}
    frame = pd.concat([frame, pd.DataFrame([total])], ignore_index=True)
    frame.insert(3, "share", frame["network"] / frame["seconds"])
    return frame


def shown(frame: pd.DataFrame) -> str:
    """Return the table as Markdown."""
    filled = frame.astype(object).where(frame.notna(), None)
    return str(filled.to_markdown(index=False, floatfmt=("", ".2f", ".2f", ".1%", ".2f"), missingval=""))


def main(words: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--solvers", nargs="+", default=SOLVERS)
    parser.add_argument("--nfe", nargs="+", type=int, default=(4, 8))
    parser.add_argument("--samples", type=int, default=4000)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    frame = measure(options.solvers, options.nfe, options.samples)
    options.output.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.output / "efficiency.csv", index=False, float_format="%.4g")
    print(shown(frame))


if __name__ == "__main__":
    main()
