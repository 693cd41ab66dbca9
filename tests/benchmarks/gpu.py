"""What a machine with a GPU says of bnsbench, in one command of at most eight minutes.

    python -m tests.benchmarks.gpu --output gpu-results

It writes a file for each part, and one page that shows them:

- ``agreement``: the quick suite on the GPU against the CPU. Classics must agree within 0.05 dB; tables that are trained on
  either are shown beside them.
- ``engine``: microseconds of one step of a table beside its network, by the size of its states.
- ``synchronisation``: whether anything between the first and the last evaluation of a table makes the CPU wait for the GPU.
- ``large``: networks of published sizes with random weights in bfloat16: milliseconds of one forward (``batched``: of a
  sample among 32), gigabytes and overhead of one Gauss-Newton iteration on 4 samples by derivative, and hours for a table of
  8 NFE, from the batched forwards and as many as the shipped table of `scenes` took.

What is over the time is left out and says so. ``--device cpu --tiny`` runs the same code on small networks.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import bnsbench
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.model import Model, ModelField
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.paths import CondOT
from bnsbench.process.float32 import use_full_float32
from bnsbench.process.parts import free_memory
from tests.benchmarks.training import large_networks, memory

CLOSE = 0.05
"""Decibels within which a classic does the same on two devices."""
TRAINED = ("bns", "tuned")
SHIPPED = Path(bnsbench.__file__).parent / "models" / "solvers" / "scenes_w0_bns_nfe8.json"
"""A table of 8 NFE whose training's forwards stand for those of a large network."""
SECONDS = 480.0
SHAPES = ((1, 4, 32, 32), (16, 4, 64, 64), (16, 16, 128, 128))
STEPS, REPEATS = 8, 20
BATCH = 32
"""Samples of a forward as trainings take them."""


@dataclass
class Job:
    """What is measured where.

    device: "cuda", "cuda:<i>" or "cpu". tiny: whether small networks stand for large ones. output: folder of the results.
    """

    device: str
    tiny: bool
    output: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return SECONDS - (time.monotonic() - self.began)

    @property
    def gpu(self) -> bool:
        return self.device.startswith("cuda")


def agreement(job: Job) -> pd.DataFrame:
    """Return the PSNR of every cell of the quick suite on both devices, and whether they are close."""
    few: dict[str, Any] = {"models": "ring8", "solvers": "euler,ab2", "nfe": 4, "guidance": 0.0, "samples": 32}
    chosen = few if job.tiny else {}
    frames = [
        bnsbench.run("quick", device=device, metrics="psnr", results=job.output / f"quick-{place}", **chosen)
        for place, device in (("cpu", "cpu"), ("device", job.device))
    ]
    keys = ["model", "guidance", "solver", "nfe"]
    on_cpu, on_device = (frame[[*keys, "psnr"]].set_index(keys)["psnr"] for frame in frames)
    found = pd.DataFrame({"cpu": on_cpu, "device": on_device}).reset_index()
    found["difference"] = found["device"] - found["cpu"]
    classic = ~found["solver"].str.split("[").str[0].isin(TRAINED)
    found["close"] = (found["difference"].abs() <= CLOSE).where(classic, "trained on each")
    return found


def engine(job: Job) -> pd.DataFrame:
    """Return the microseconds of one step of a table whose network gives back a tensor at hand."""
    rows = []
    for shape in SHAPES[:1] if job.tiny else SHAPES:
        x0 = torch.randn(shape, device=job.device)
        seconds = memory.timed(partial(memory.euler(STEPS), AtHand(torch.randn_like(x0)), x0), job.device, REPEATS)
        rows.append({"states": "x".join(map(str, shape)), "microseconds": 1e6 * seconds / STEPS})
    return pd.DataFrame(rows)


class AtHand(FunctionField):
    """A field whose velocity costs nothing."""

    def __init__(self, velocity: Tensor) -> None:
        super().__init__(lambda _t, _x: velocity, CondOT())


class Watched:
    """A field after whose first evaluation, up to its last, no wait of the CPU for the GPU is allowed."""

    forwards_per_evaluation = 1

    def __init__(self, velocity: ModelField, evaluations: int, device: str) -> None:
        self.velocity, self.left, self.gpu = velocity, evaluations, device.startswith("cuda")
        self.path, self.interval = velocity.path, velocity.interval

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        self._forbid(True)
        found = self.velocity(t, x)
        self.left -= 1
        if not self.left:
            self._forbid(False)
        return found

    def part(self, index: Tensor | slice) -> Watched:
        raise NotImplementedError

    def _forbid(self, on: bool) -> None:
        if self.gpu:
            torch.cuda.set_sync_debug_mode("error" if on else "default")


def synchronisation(job: Job) -> pd.DataFrame:
    """Return, for an embedded and a large network, what waited for the GPU inside the loop of a table; "" for nothing."""
    rows = []
    for name, model in (("scenes", None), *networks(job)[:1]):
        made = _scenes(job.device) if model is None else model().to(job.device, torch.bfloat16)
        pairs = memory.pairs_of(made, 2.0, 2, job.device)
        table = memory.euler(4)
        table(pairs.field, pairs.x0)  # what a network prepares once may wait
        waited = ""
        try:
            table(Watched(pairs.field, 4, job.device), pairs.x0)
        except RuntimeError as error:
            waited = " ".join(str(error).split())[:200]
        finally:
            if job.gpu:
                torch.cuda.set_sync_debug_mode("default")
        rows.append({"network": name, "checked": job.gpu, "waited": waited})
    return pd.DataFrame(rows)


def _scenes(device: str) -> Model:
    from bnsbench.models.scenes.model import scenes

    model: Model = scenes()
    return model.to(device, model.dtype)


def networks(job: Job) -> Sequence[tuple[str, Callable[[], Model]]]:
    """Return the networks that are measured, by name."""
    if job.tiny:
        return [("dit, 1 block", lambda: large_networks.dit(1, 2))]
    return [("dit", large_networks.dit), ("pixart", large_networks.pixart), ("sd3", large_networks.sd3)]


def large(job: Job) -> pd.DataFrame:
    """Return figures of large networks in bfloat16 for every derivative; what the time does not allow has a note instead."""
    forwards = sum(SolverArtefact.load(SHIPPED).training["forwards"].values())
    samples, rows = 1 if job.tiny else 4, list[dict[str, Any]]()
    for name, make in networks(job):
        if job.left < 60:
            rows.append({"network": name, "note": "left out for want of time"})
            continue
        model = made_on(job.device, make).to(job.device, torch.bfloat16)
        batched = _batched(model, job)
        for kind in memory.KINDS:
            rows.append(
                {"network": name, "derivative": kind, **_measured(model, kind, samples, job), "batched": 1000 * batched}
            )
        hours = forwards * batched / 3600
        rows = [{**row, "hours": hours} if row["network"] == name else row for row in rows]
        del model
        free_memory()
    frame = pd.DataFrame(rows)
    if "seconds" in frame:
        frame.insert(2, "milliseconds", 1000 * frame.pop("seconds"))
    return frame


def made_on(device: str, make: Callable[[], Model]) -> Model:
    """Return the network, its weights drawn on the device, which takes seconds where a CPU takes a minute."""
    with torch.device(device):
        return make()


def _batched(model: Model, job: Job) -> float:
    """Return the seconds of one forward of a sample among BATCH."""
    pairs = memory.pairs_of(model, 0.0, 2 if job.tiny else BATCH, job.device)
    t = torch.tensor(0.4, dtype=torch.float64)
    with torch.no_grad():
        pairs.field(t, pairs.x0)
        return memory.timed(lambda: pairs.field(t, pairs.x0), job.device, 3) / len(pairs)


def _measured(model: Model, kind: str, samples: int, job: Job) -> dict[str, Any]:
    if job.left < 30:
        return {"note": "left out for want of time"}
    if job.gpu:
        torch.cuda.reset_peak_memory_stats(job.device)
    predict = model.predict
    try:
        return dict(memory.measure(model, kind, 2 if job.tiny else 4, 0.0, samples, job.device))
    except (bnsbench.BnsbenchError, RuntimeError) as error:
        return {"note": " ".join(str(error).split())[:200]}
    finally:
        model.predict = predict  # type: ignore[method-assign]
        free_memory()


PARTS: dict[str, Callable[[Job], pd.DataFrame]] = {
    "engine": engine,
    "synchronisation": synchronisation,
    "large": large,
    "agreement": agreement,
}


def measure(job: Job) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the table of every part, written as it is done."""
    job.output.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        frame = part(job)
        frame.to_csv(job.output / f"{name}.csv", index=False, float_format="%.6g")
        yield name, frame


def main(words: Sequence[str] | None = None) -> int:
    """Measure everything and write the page; return 1 if the devices disagree or something waited for the GPU."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks, a few seconds on a CPU")
    options = parser.parse_args(words)
    use_full_float32()
    job = Job(options.device, options.tiny, options.output)
    name = torch.cuda.get_device_name(job.device) if job.gpu else "CPU"
    about = {"device": name, "torch": torch.__version__, "bnsbench": bnsbench.__version__}
    page, faults = [f"# {name}", "", json.dumps(about)], []
    for part, frame in measure(job):
        page += ["", f"## {part}", "", frame.to_markdown(index=False, floatfmt=".4g")]
        print(f"{part}\n{frame.to_string(index=False)}\n", flush=True)
        if part == "agreement" and bool((frame["close"] == False).any()):  # noqa: E712 - of three values
            faults.append("the devices disagree")
        if part == "synchronisation" and bool((frame["waited"] != "").any()):
            faults.append("sampling waits for the GPU")
    page += ["", f"{time.monotonic() - job.began:.0f} seconds. " + ("; ".join(faults) or "No fault found.")]
    (job.output / "README.md").write_text("\n".join(page) + "\n", encoding="utf-8")
    print(page[-1])
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
