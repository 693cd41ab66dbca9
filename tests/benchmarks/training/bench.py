"""What the benchmarks share: a field with its trained solvers, PSNR on test noise, and tables that grow row by row."""

from __future__ import annotations

import math
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bnsbench.contract import PluginHost
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.process.machine import cache_folder
from bnsbench.storage.files import name_of
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import TrainingStatus
from bnsbench.training.trainer import make_problem, train_solver
from bnsbench.truth.pairs import PairSource
from bnsbench.truth.source import Source

TEST = 1024
KEYS = ("model", "guidance", "nfe", "seed", "kind")


class Bench:
    """A field, such as "digits-ot:2", under one seed.

    output: folder of the results. work: folder of solvers that are not results themselves. device: of the network.
    """

    def __init__(self, field: str, seed: int, output: Path, work: Path, device: str = "cpu") -> None:
        self.model, _, scale = field.rpartition(":")
        self.guidance, self.seed, self.output, self.device = float(scale), seed, output, device
        self.folder = output / name_of(f"{self.model}_w{self.guidance:g}_seed{seed}")
        self.work = work / self.folder.name
        self.host = PluginHost.load([Path(__file__).with_name("hard_fields.py")])

    @cached_property
    def source(self) -> PairSource:
        """The field's pairs."""
        model: Model = self.host.model(self.model).make()
        model = model.to(self.device, model.dtype)
        return PairSource(model, self.model, self.guidance, self.seed, cache=cache_folder() / "pairs", device=self.device)

    @property
    def dimensions(self) -> int:
        """Numbers of one sample."""
        return math.prod(self.source.model.shape)

    def trained(self, solver: str, nfe: int, file: Path | None = None, source: Source | None = None) -> SolverArtefact:
        """Return a trained solver, from its file (by default in the working folder) if it is there.

        Rungs of a ladder are kept in the same folder under the solver's name.
        """
        selection = self.host.solver(solver)
        target = file or self.work / f"{name_of(solver)}_nfe{nfe}.json"

        def at(budget: int) -> SolverArtefact:
            own = target if budget == nfe else target.with_name(f"{name_of(solver)}_nfe{budget}.json")
            if not own.exists():
                problem = make_problem(
                    source or self.source, self.host, previous=at, progress=_show, checkpoint=own.with_suffix(".pt")
                )
                train_solver(selection, problem, budget).save(own)
            return SolverArtefact.load(own)

        return at(nfe)

    def psnr(self, artefact: SolverArtefact, source: Source | None = None) -> float:
        """Return the PSNR of a trained solver on test noise."""
        field = source or self.source
        return psnr(artefact.solver, field.pairs("test", TEST), field.model.data_range)

    def best_classic(self, nfe: int) -> tuple[str, float]:
        """Return the best classic rule on its best grid, as a search on training noise has found it, and its test PSNR."""
        tuned = self.trained("tuned", nfe)
        return f"{tuned.training['rule']} on {tuned.training['grid']}", self.psnr(tuned)

    def row(self, nfe: int, **figures: Any) -> dict[str, Any]:
        """Return a table's row: what was measured, and its figures."""
        return {"model": self.model, "guidance": self.guidance, "nfe": nfe, "seed": self.seed, **figures}

    def write(self, table: str, row: dict[str, Any]) -> None:
        """Add a row to the table of that name, in place of an earlier measurement of the same."""
        self.output.mkdir(parents=True, exist_ok=True)
        file, frame = self.output / f"{table}.csv", pd.DataFrame([row])
        keys = [key for key in KEYS if key in row]
        if file.exists():
            frame = pd.concat([pd.read_csv(file, float_precision="round_trip"), frame]).drop_duplicates(keys, keep="last")
        frame = frame.sort_values(keys)
        frame.to_csv(file, index=False, float_format="%.6g")
        text = frame.to_markdown(index=False, floatfmt=".4g")
        (self.output / f"{table}.md").write_text(f"{text}\n", encoding="utf-8")


def evaluations(artefact: SolverArtefact) -> int:
    """Return the evaluations that training took, ground truth and validation apart."""
    return int(artefact.training["curve"][-1]["evaluations"])


def _show(status: TrainingStatus) -> None:
    sys.stderr.write(f"\r{status.nfe} NFE {status.stage} {status.iteration}/{status.total}: {status.psnr:.2f} dB   ")
    sys.stderr.flush()
