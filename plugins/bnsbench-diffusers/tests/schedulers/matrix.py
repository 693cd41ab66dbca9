"""Imported schedulers against themselves, over everything that can be combined: what they claim, or a reason.

Every class x prediction type x noise schedule x spacing x grid of noise levels x end x budget. The table of each must end
where the scheduler itself ends that steps a small random network of that prediction type in a pipeline's loop.

``python plugins/bnsbench-diffusers/tests/schedulers/matrix.py [--every K] [--results FILE]`` runs all, or every
K-th, and prints the counts; with a file it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import itertools
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers.utils.logging import set_verbosity_error
from torch import Tensor

from bnsbench.plugin import FunctionField, NotApplicableError
from bnsbench_diffusers.schedule import Schedule, read_schedule
from bnsbench_diffusers.schedulers.noise import noise_rates
from bnsbench_diffusers.schedulers.traced import table

LATENT = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
NOISES: dict[str, dict[str, Any]] = {
    "linear": {},
    "scaled_linear": LATENT,
    "squaredcos_cap_v2": {"beta_schedule": "squaredcos_cap_v2"},
    "sigmoid": {"beta_schedule": "sigmoid"},
    "trained_betas": {"trained_betas": (0.02 * np.linspace(0.05, 1.0, 1000) ** 3 + 1e-4).tolist()},
    "zero_terminal": {**LATENT, "rescale_betas_zero_snr": True},
    "short": {"num_train_timesteps": 100, "beta_start": 1e-3, "beta_end": 0.1},
}
LEVELS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")
"""Options that other classes must not fill with defaults of their own."""

PREDICTIONS = ("epsilon", "v_prediction", "sample")
SPACINGS = ("leading", "trailing", "linspace")
GRIDS = ("native", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
ENDS = {
    "zero": ("final_sigmas_type=zero", "set_alpha_to_one=true"),
    "sigma_min": ("final_sigmas_type=sigma_min", "set_alpha_to_one=false"),
}
CLASSES = {
    "DDIM": ("",),
    "DDIMParallel": ("",),
    "CogVideoXDDIM": ("",),
    "PNDM": ("skip_prk_steps=true", "skip_prk_steps=false"),
    "EulerDiscrete": ("",),
    "LMSDiscrete": ("",),
    "HeunDiscrete": ("",),
    "KDPM2Discrete": ("",),
    "DPMSolverMultistep": ("", "solver_order=3", "solver_type=heun", "algorithm_type=dpmsolver", "euler_at_final=true"),
    "DPMSolverSinglestep": ("", "solver_order=3", "algorithm_type=dpmsolver"),
    "DEISMultistep": ("", "solver_order=3"),
    "UniPCMultistep": ("", "solver_order=3", "solver_type=bh1", "predict_x0=false"),
    "SASolver": ("tau=0", "tau=0,predictor_order=3,corrector_order=3", "tau=0,algorithm_type=noise_prediction"),
    "EDMEuler": ("", "prediction_type=v_prediction", "sigma_schedule=exponential"),
    "EDMDPMSolverMultistep": ("", "prediction_type=v_prediction,sigma_data=1.0", "solver_order=3"),
}
FLOWS = {
    "FlowMatchEulerDiscrete": ("", "shift=3", "use_karras_sigmas=true", "use_beta_sigmas=true", "shift_terminal=0.1"),
    "FlowMatchHeunDiscrete": ("", "shift=3"),
    "FlowMapEulerDiscrete": ("",),
    "UniPCMultistep": ("", "flow_shift=3", "solver_order=3", "use_karras_sigmas=true", "final_sigmas_type=sigma_min"),
    "DPMSolverMultistep": ("", "flow_shift=3", "solver_order=3", "use_karras_sigmas=true", "timestep_spacing=trailing"),
    "DPMSolverSinglestep": ("", "flow_shift=3", "solver_order=3"),
    "DEISMultistep": ("", "flow_shift=3", "use_exponential_sigmas=true"),
    "SASolver": ("tau=0", "tau=0,flow_shift=3"),
}
DYNAMIC = {
    "FlowMatchEulerDiscrete": ("time_shift_type=exponential", "time_shift_type=linear"),
    "UniPCMultistep": ("",),
    "DPMSolverMultistep": ("",),
    "DEISMultistep": ("",),
}
BUDGETS = 20
DRAWN = 2
"""How many of the budgets each combination gets, drawn anew for each; flows get them all."""

EXACT = 1e-6
"""The deviation that is allowed to all."""

ROUNDINGS = 30.0
"""How often a scheduler that casts its states to float32 may deviate by what one more rounding of its states changes."""

BATCH = (4, 1, 2, 2)


@dataclass(frozen=True)
class Case:
    """One configuration; ``options`` are those of the scheduler, as a user writes them."""

    name: str
    nfe: int
    options: tuple[str, ...] = ()
    noise: str = "flow"
    prediction: str = "flow_prediction"
    sigmas: str = "own"
    mu: float | None = None

    @property
    def selector(self) -> str:
        return f"{self.name}[{','.join(self.options)}]" if self.options else self.name

    def __str__(self) -> str:
        words = (self.selector, self.noise, self.prediction, self.sigmas, f"mu={self.mu}", f"nfe={self.nfe}")
        return " ".join(words)


def combinations() -> Iterator[Case]:
    """Yield all configurations, each at some of the budgets."""
    for name, noise, prediction, extra in itertools.product(CLASSES, NOISES, PREDICTIONS, range(5)):
        if extra >= len(CLASSES[name]):
            continue
        if name.startswith("EDM") and prediction != "epsilon":
            continue
        takes = _takes(name)
        spacings = SPACINGS if "timestep_spacing" in takes else ("",)
        grids = [grid for grid in GRIDS if grid == "native" or grid in takes]
        ends = [next((option for option in options if option.partition("=")[0] in takes), "") for options in ENDS.values()]
        for spacing, grid, end in itertools.product(spacings, grids, dict.fromkeys(ends)):
            if CLASSES[name][extra] and spacing != spacings[0]:
                continue  # options of the solver do not depend on how timesteps are spaced
            options = [f"timestep_spacing={spacing}" if spacing else "", "" if grid == "native" else f"{grid}=true", end]
            chosen = [option for option in (*options, *CLASSES[name][extra].split(",")) if option]
            yield Case(name, 0, tuple(chosen), noise, prediction)
    for name, options in FLOWS.items():
        for chosen, sigmas in itertools.product(options, ("own", "linear")):
            yield Case(name, 0, tuple(filter(None, chosen.split(","))), sigmas=sigmas)
    for name, options in DYNAMIC.items():
        for chosen, sigmas in itertools.product(options, ("own", "linear")):
            yield Case(name, 0, ("use_dynamic_shifting=true", *filter(None, [chosen])), sigmas=sigmas, mu=0.9)


def cases() -> list[Case]:
    """Return all configurations with their budgets."""
    found = []
    for number, case in enumerate(combinations()):
        count = BUDGETS if case.noise == "flow" else DRAWN
        draw = np.random.default_rng(number).permutation(BUDGETS)[:count] + 1
        found += [replace(case, nfe=int(nfe)) for nfe in sorted(draw)]
    return found


def verdict(case: Case) -> tuple[str, str]:
    """Return "agrees", "refused" or "DISAGREES", with the deviation or the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _verdict(case)


def _verdict(case: Case) -> tuple[str, str]:
    schedule = schedule_of(case)
    try:
        solver = table(schedule.path, schedule.interval, case.nfe, case.selector, case.sigmas, case.mu)
    except NotApplicableError as error:
        return "refused", str(error)
    network, noise = network_of(), torch.randn(BATCH, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    theirs, scale = reference(case)
    first = noise * _begin(theirs)
    x0 = _seen(theirs, first, 0) if case.noise != "flow" else noise
    expected, rounding = _stepped(case, theirs, network, first, scale)
    found = solver(field_of(case, schedule, network), x0)
    deviation = _distance(found, expected)
    allowed = EXACT + rounding
    return ("agrees" if deviation <= allowed else "DISAGREES"), f"{deviation:.1e} (allowed {allowed:.1e})"


@cache
def pipeline_scheduler(noise: str, prediction: str) -> Any:
    """Return the scheduler with which the pipeline of such a network came."""
    if noise == "flow":
        return diffusers.FlowMatchEulerDiscreteScheduler()
    name = "DDPM" if noise == "sigmoid" else "DDIM"
    return getattr(diffusers, f"{name}Scheduler")(**NOISES[noise], prediction_type=prediction)


def schedule_of(case: Case) -> Schedule:
    """Return what bnsbench reads from the pipeline's scheduler."""
    return _read(case.noise, case.prediction)


@cache
def _read(noise: str, prediction: str) -> Schedule:
    return read_schedule(pipeline_scheduler(noise, prediction))


@cache
def network_of() -> Any:
    """Return a small random network of a state and its timestep, smooth in both."""
    generator = torch.Generator().manual_seed(3)
    size = int(np.prod(BATCH[1:]))
    first, second = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) / 3 for shape in ((size + 2, 12), (12, size))
    )

    def network(x: Tensor, timestep: Tensor | float) -> Tensor:
        phase = torch.as_tensor(timestep, dtype=torch.float64).expand(len(x)).reshape(-1, 1) / 1000
        told = torch.cat([x.flatten(1), torch.sin(3 * phase), phase], dim=1)
        return (torch.tanh(told @ first) @ second).reshape(x.shape)

    return network


def field_of(case: Case, schedule: Schedule, network: Any) -> FunctionField:
    """Return the velocity that the network means, by the definitions of what networks predict."""
    path = schedule.path

    def velocity(t: Tensor, x: Tensor) -> Tensor:
        alpha, sigma, d_alpha, d_sigma = (float(part(t)) for part in (path.alpha, path.sigma, path.d_alpha, path.d_sigma))
        output = network(x, schedule.timestep(torch.as_tensor(t, dtype=torch.float64)))
        if case.prediction == "flow_prediction":
            return -output
        if case.prediction == "epsilon":
            noise, data = output, (x - sigma * output) / alpha
        elif case.prediction == "sample":
            noise, data = (x - alpha * output) / sigma, output
        else:
            noise, data = sigma * x + alpha * output, alpha * x - sigma * output
        return d_sigma * noise + d_alpha * data

    return FunctionField(velocity, path, schedule.interval)


def reference(case: Case) -> tuple[Any, float]:
    """Return the scheduler itself with its steps set, as its user makes it, and by what its last state is multiplied."""
    options: dict[str, Any] = dict(option.split("=") for option in case.options)
    values = {key: _parsed(value) for key, value in options.items()}
    if "tau" in values:
        values["tau_func"] = lambda _: values["tau"]
    steps, given = steps_of(case, values), {key: value for key, value in values.items() if key != "tau"}
    kind, theirs = getattr(diffusers, f"{case.name}Scheduler"), pipeline_scheduler(case.noise, case.prediction)
    if case.noise == "flow":
        return _flow(case, kind, given, steps), 1.0
    alphas = torch.as_tensor(theirs.alphas_cumprod).double()
    smallest = float(((1 - alphas[0]) / alphas[0]).sqrt())
    if case.name.startswith("EDM"):
        largest = float(((1 - schedule_of(case).path.alphas_cumprod[-1]) / schedule_of(case).path.alphas_cumprod[-1]) ** 0.5)
        made = kind(**{"sigma_min": smallest, "sigma_max": largest, **given})
    else:
        made = _diffusion(case, kind, given, theirs, alphas)
    made.set_timesteps(steps)
    if not {"final_sigmas_type", "set_alpha_to_one"} & set(_takes(case.name)):
        for name in ("sigmas", "sigmas_interpol"):
            values_there = getattr(made, name, torch.ones(1))
            values_there[values_there == 0] = smallest
    to_data = given.get("final_sigmas_type") == "zero"
    relative = case.name in {"EulerDiscrete", "LMSDiscrete", "HeunDiscrete", "KDPM2Discrete"} or case.name.startswith("EDM")
    return made, float(alphas[0] ** 0.5) if relative and not to_data else 1.0


def steps_of(case: Case, values: dict[str, Any]) -> int:
    """Return the number of steps that spends the budget, as the documentation of the classes has it."""
    if case.name in {"HeunDiscrete", "KDPM2Discrete", "FlowMatchHeunDiscrete"}:
        return (case.nfe + 1) // 2
    if case.name == "PNDM":
        return case.nfe - 1 if values["skip_prk_steps"] and case.nfe > 1 else case.nfe - 9 if case.nfe > 9 else case.nfe
    return case.nfe


def _diffusion(case: Case, kind: Any, given: dict[str, Any], theirs: Any, alphas: Tensor) -> Any:
    """Return the scheduler of the pipeline's configuration, or of its levels where the class does not know their name."""
    kept = {"clip_sample": False, "snr_shift_scale": 1.0}
    chosen = {key: value for key, value in {**kept, **given}.items() if key in _takes(case.name)}
    knows = case.noise != "sigmoid" and (case.noise != "zero_terminal" or "rescale_betas_zero_snr" in _takes(case.name))
    if not knows:
        betas = noise_rates(tuple(schedule_of(case).path.alphas_cumprod))
        chosen |= {"trained_betas": betas, "beta_schedule": "linear", "rescale_betas_zero_snr": False}
    unset = [key for key in theirs.config["_use_default_values"] if key not in {*chosen, *LEVELS}]
    return kind.from_config({**theirs.config, **chosen, "_use_default_values": unset})


def _flow(case: Case, kind: Any, given: dict[str, Any], steps: int) -> Any:
    told = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"} if "use_flow_sigmas" in _takes(case.name) else {}
    made = kind(**{**told, **given})
    options = {} if case.mu is None else {"mu": case.mu}
    if case.sigmas == "linear":
        made.set_timesteps(sigmas=np.linspace(1, 1 / case.nfe, case.nfe), **options)
    else:
        made.set_timesteps(steps, **options)
    return made


@torch.no_grad()
def _stepped(case: Case, scheduler: Any, network: Any, first: Tensor, scale: float) -> tuple[Tensor, float]:
    """Return the end states of a pipeline's loop, and how far they move when its states are rounded once more.

    Nothing for schedulers that do not cast them.
    """
    ends = []
    for rounded in (False, True):
        one, x = copy.deepcopy(scheduler), first
        for i, timestep in enumerate(one.timesteps):
            if rounded:
                x = x.float().double() * (1 + 2.0**-24 * torch.randn(x.shape, generator=torch.Generator().manual_seed(i)))
            x = one.step(_output(case, one, network, x, i), timestep, x, return_dict=False)[0]
        ends.append(scale * x.double())
    return ends[0], ROUNDINGS * _distance(ends[1], ends[0]) * _casts(case.name)


def _output(case: Case, scheduler: Any, network: Any, x: Tensor, i: int) -> Tensor:
    seen = _seen(scheduler, x, i)
    if case.noise == "flow":
        return network(x, 1000 * scheduler.sigmas[i].double())
    if not case.name.startswith("EDM"):
        return network(seen, scheduler.timesteps[i])
    # The raw output of which the scheduler makes the data that the network predicts at this noise level.
    sigma, width = float(scheduler.sigmas[i]), float(scheduler.config.sigma_data)
    path = schedule_of(case).path
    alpha = (1 + sigma**2) ** -0.5
    noise = network(alpha * x, path.timestep(path.time(-torch.log(torch.tensor(sigma, dtype=torch.float64)))))
    sign = -1 if scheduler.config.prediction_type == "v_prediction" else 1
    return (x - sigma * noise - width**2 / (sigma**2 + width**2) * x) / (sign * sigma * width / (sigma**2 + width**2) ** 0.5)


def _seen(scheduler: Any, x: Tensor, i: int) -> Tensor:
    if hasattr(scheduler, "precondition_inputs"):
        return x / (1 + float(scheduler.sigmas[i]) ** 2) ** 0.5
    return scheduler.scale_model_input(x, scheduler.timesteps[i]) if hasattr(scheduler, "scale_model_input") else x


def _begin(scheduler: Any) -> float:
    return float(getattr(scheduler, "init_noise_sigma", 1.0))


@cache
def _takes(name: str) -> frozenset[str]:
    return frozenset(inspect.signature(getattr(diffusers, f"{name}Scheduler").__init__).parameters)


@cache
def _casts(name: str) -> bool:
    return "torch.float32" in inspect.getsource(getattr(diffusers, f"{name}Scheduler").step)


def _parsed(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def main() -> None:
    """Run the matrix and print how many configurations agree, are refused and why, and disagree."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--results", type=Path, help="a file that keeps what is found, to go on from")
    options = parser.parse_args()
    set_verbosity_error()
    torch.set_num_threads(1)
    chosen = cases()[:: options.every]
    found = _kept(options.results)
    for case in chosen:
        if str(case) not in found:
            found[str(case)] = verdict(case)
            _keep(options.results, str(case), *found[str(case)])
    _tell({str(case): found[str(case)] for case in chosen})


def _kept(file: Path | None) -> dict[str, tuple[str, str]]:
    lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    return {case: (kind, words) for case, kind, words in map(json.loads, lines)}


def _keep(file: Path | None, *found: str) -> None:
    if file is not None:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(found) + "\n")


def _tell(found: dict[str, tuple[str, str]]) -> None:
    reasons: Counter[str] = Counter()
    for case, (kind, words) in found.items():
        if kind == "refused":
            reasons[re.sub(r"\d[\d.e+-]*", "#", re.sub(r"\[.*?\]", "", words))] += 1
        elif kind != "agrees":
            sys.stdout.write(f"{kind} {case}: {words}\n")
    counts = Counter(kind for kind, _ in found.values())
    sys.stdout.write(f"{len(found)} configurations: {dict(counts)}\n")
    for reason, count in reasons.most_common():
        sys.stdout.write(f"{count:6d} {reason}\n")


if __name__ == "__main__":
    main()
