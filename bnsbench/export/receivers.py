"""Samplers of other software that take a list of times, and the rule of ours that each of them runs on it.

Which table is such a rule is told by its numbers, whatever its name: the rule is traced on the table's times and compared.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor

from bnsbench.contract.selectors import parse_selector, select
from bnsbench.errors import UsageError
from bnsbench.export.denoised import rows_in_data
from bnsbench.flows.paths import CondOT, DiscreteVP
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import retrace
from bnsbench.solvers.specs import SOLVERS

SAME = 1e-6
"""Coefficients of states and data of size 1 that differ by no more are the same."""


@dataclass(frozen=True)
class Receiver:
    """A sampler that takes a list of times.

    sampler: its name and whose it is. rule: the classic of ours that it runs. paths: where: on flows, on any other path, or
        on the schedules of DDPM. settings: what has to be set there. note: what else is to be known.
    argument: what it calls the list, sigmas or whole timesteps. last: whether the list holds the level of the end, which
        otherwise is the end of the path. shifts: its setting that changes given sigmas, if there is one.
    late: how far after the beginning its first step begins, as a part of the interval.
    """

    sampler: str
    rule: str
    paths: Literal["flow", "other", "ddpm"]
    argument: Literal["sigmas", "timesteps"] = "sigmas"
    last: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    shifts: str = ""
    late: float = 0.0
    note: str = ""

    def serves(self, artefact: SolverArtefact) -> bool:
        """Whether it is a sampler for the path, and for its interval."""
        flow, ddpm = isinstance(artefact.path, CondOT), isinstance(artefact.path, DiscreteVP)
        whole = self.last or artefact.interval[1] == 1.0
        return whole and {"flow": flow, "other": not flow, "ddpm": ddpm}[self.paths]

    def runs(self, artefact: SolverArtefact) -> bool:
        """Whether a solver is its rule on the solver's times."""
        return self._distance(artefact, 0.0) <= SAME

    def deviation(self, artefact: SolverArtefact) -> float:
        """Return the largest difference between its coefficients and those of a solver that it runs."""
        return self._distance(artefact, self.late)

    def _distance(self, artefact: SolverArtefact, late: float) -> float:
        table = artefact.solver
        times = table.times.clone()
        times[0] += late * (times[-1] - times[0])
        try:
            theirs = _on_times(self.rule, artefact, times)
            mine, other = (_sizes(replace(artefact, solver=each)) for each in (table, theirs))
        except (UsageError, ArithmeticError, ValueError):
            return math.inf
        return float((mine - other).abs().max().nan_to_num(math.inf))


def receivers_of(artefact: SolverArtefact) -> list[Receiver]:
    """Return the samplers that make a solver of its times alone, those that make exactly it first."""
    found = [each for each in RECEIVERS if each.serves(artefact) and each.runs(artefact)]
    return sorted(found, key=lambda each: each.late > 0)


def _on_times(rule: str, artefact: SolverArtefact, times: Tensor) -> NonStationarySolver:
    """Return the table of a built-in classic on the times [n + 1]."""
    _, name, settings = parse_selector(rule)
    sampler = select(next(spec for spec in SOLVERS if spec.name == name), settings).make()
    n, interval = len(times) - 1, (float(times[0]), float(times[-1]))
    return retrace(functools.partial(sampler, nfe=n, grid=times), artefact.path, interval, n)


def _sizes(artefact: SolverArtefact) -> Tensor:
    """Return the table in data predictions, with the column of the initial state times that state's size."""
    rows, scales = rows_in_data(artefact)
    rows[:, 0] *= artefact.path.sigma(artefact.solver.times[0]) / scales[0]
    return rows


_DPM = {"algorithm_type": "dpmsolver++", "solver_type": "midpoint", "euler_at_final": True, "final_sigmas_type": "sigma_min"}
_WHOLE = "Timesteps are whole numbers there, so that each of them is up to half a timestep away from the solver's."
_UNIPC = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "solver_type": "bh2", "final_sigmas_type": "zero"}
_UNIPC_NOTE = (
    "It takes an array of NumPy, begins at 1 - 1e-6, not at 1, keeps what it saw there for its next steps, and tells the"
    " network whole timesteps: near, not the same."
)
_START = "The first state is noise times the first sigma, and the last is data + the last sigma times noise."

RECEIVERS = (
    Receiver(
        "FlowMatchEulerDiscreteScheduler of diffusers",
        "euler",
        "flow",
        last=False,
        settings={"use_dynamic_shifting": False, "shift_terminal": None},
        shifts="shift",
        note="Pipelines take them as sigmas=, with num_inference_steps= their number; so do servers that pass them on.",
    ),
    *(
        Receiver(
            "UniPCMultistepScheduler of diffusers",
            f"unipc[order={order}]",
            "flow",
            last=False,
            settings={**_UNIPC, "solver_order": order},
            shifts="flow_shift",
            late=1e-6,
            note=_UNIPC_NOTE,
        )
        for order in (2, 3)
    ),
    Receiver("euler of ComfyUI", "euler", "flow"),
    Receiver("lms of ComfyUI", "ab4", "flow"),
    Receiver(
        "EulerDiscreteScheduler of diffusers",
        "ddim",
        "ddpm",
        settings={"timestep_spacing": "trailing"},
        note=_START,
    ),
    *(
        Receiver(
            "DPMSolverMultistepScheduler of diffusers",
            f"dpm++{order}m",
            "ddpm",
            "timesteps",
            last=False,
            settings={**_DPM, "solver_order": order},
            note=_WHOLE,
        )
        for order in (2, 3)
    ),
    Receiver("euler of k-diffusion and ComfyUI", "ddim", "other", note=_START),
    Receiver("dpmpp_2m of k-diffusion and ComfyUI", "dpm++2m[lower_order_final=false]", "other", note=_START),
    Receiver("lms of k-diffusion and ComfyUI", "deis[order=4,variable=rho]", "other", note=_START),
    Receiver("res_multistep of ComfyUI", "res-multistep", "other", note=_START),
)
"""What was compared with other software, or with its formulas written again; samplers that differ are not here."""
