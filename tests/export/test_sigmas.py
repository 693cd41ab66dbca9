"""Times alone: the samplers that are named are given them, and make what the engine makes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

import bnsbench
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.export.receivers import RECEIVERS
from bnsbench.export.sigmas import sigmas, unshifted
from bnsbench.flows.paths import EDM, VP, CondOT, Cosine, DiscreteVP, Path
from bnsbench.flows.predictions import to_data, to_noise
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import retrace
from bnsbench.solvers.dpm_solver_pp import dpm_solver_pp_2m, dpm_solver_pp_3m
from bnsbench.solvers.unipc import unipc
from tests.export.test_files import exact
from tests.solvers import peers

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`algorithm_type:FutureWarning"),
]

DDPM = DiscreteVP.linear()
WHOLE = (0.0, 1.0)
LEARNED = (0.0, 0.03, 0.11, 0.2, 0.36, 0.55, 0.71, 0.9, 1.0)
"""Times such as LD3 finds, of no named grid."""


def on_times(rule: str, path: Path = CondOT(), interval: tuple[float, float] = WHOLE) -> SolverArtefact:  # noqa: B008
    """A classic on learned times, as train_ld3 leaves it."""
    grid = "nodes:" + ":".join(f"{t}" for t in LEARNED[1:-1])
    selector = f"{rule[:-1]},grid={grid}]" if rule.endswith("]") else f"{rule}[grid={grid}]"
    table = bnsbench.solver(selector, 8, path=path, interval=interval)
    record = {"start": {"name": "the rule of its family", "rule": rule}, "psnr": 37.25}
    return SolverArtefact(table, path, interval, "mine", "abc123", 2.0, "ld3", record)


def written(made: SolverArtefact, folder: FilePath, **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(sigmas(made, folder, **more).read_text())
    return content


def sampler(content: dict[str, Any], begins: str) -> dict[str, Any]:
    (found,) = [each for each in content["samplers"] if each["sampler"].startswith(begins)]
    return dict(found)


def noise() -> Tensor:
    return torch.randn(32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def psnr(found: Tensor, expected: Tensor) -> float:
    return float(-10 * torch.log10((found - expected).square().mean() / 4))


def on_flow(scheduler: Any, x: Tensor) -> Tensor:
    """What a pipeline of flows does, its network told the scheduler's timesteps and predicting noise - data."""
    field = exact(CondOT()).field(None)
    for timestep in scheduler.timesteps:
        x = scheduler.step(-field(1 - timestep.double() / 1000, x), timestep, x).prev_sample
    return x


def on_ddpm(scheduler: Any, x: Tensor) -> Tensor:
    """What a pipeline of noise predictions does."""
    field = exact(DDPM).field(None)
    for timestep in scheduler.timesteps:
        t, seen = 1 - timestep.double() / 999, scheduler.scale_model_input(x, timestep)
        x = scheduler.step(to_noise(DDPM, t, seen, field(t, seen)), timestep, x).prev_sample
    return x


@pytest.mark.parametrize("rule", ["euler", "ddim"])
def test_flow_match_euler(rule: str, tmp_path: FilePath) -> None:
    made = on_times(rule)
    found = sampler(written(made, tmp_path), "FlowMatchEuler")
    scheduler: Any = FlowMatchEulerDiscreteScheduler(**found["settings"])
    scheduler.set_timesteps(sigmas=found["values"])
    assert len(scheduler.timesteps) == len(found["values"]) == 8
    assert apart(on_flow(scheduler, noise()), made.solver(exact(CondOT()).field(None), noise())) < 1e-6


def test_a_shift_is_applied_once(tmp_path: FilePath) -> None:
    """Sigmas that are given to a scheduler with a shift are shifted once more, unless that has been taken out before."""
    made, expected = on_times("euler"), on_times("euler").solver(exact(CondOT()).field(None), noise())
    plain, taken_out = (sampler(written(made, tmp_path, shift=shift), "FlowMatchEuler") for shift in (1.0, 3.0))
    assert (plain["settings"]["shift"], taken_out["settings"]["shift"]) == (1.0, 3.0)
    shifted: Any = FlowMatchEulerDiscreteScheduler(shift=3.0)
    shifted.set_timesteps(sigmas=plain["values"])
    assert apart(on_flow(shifted, noise()), expected) > 1e-2
    shifted.set_timesteps(sigmas=taken_out["values"])
    assert apart(on_flow(shifted, noise()), expected) < 1e-6
    by_size: Any = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    by_size.set_timesteps(sigmas=sampler(written(made, tmp_path, shift=math.exp(1.15)), "FlowMatchEuler")["values"], mu=1.15)
    assert apart(on_flow(by_size, noise()), expected) < 1e-6
    assert 3 * unshifted(0.6, 3.0) / (1 + 2 * unshifted(0.6, 3.0)) == pytest.approx(0.6, abs=1e-15)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_unipc_on_flows_is_near(order: int, shift: float, tmp_path: FilePath) -> None:
    """Diffusers begins it at 1 - 1e-6 and tells whole timesteps: far less than what the solver itself is away."""
    made, field = on_times(f"unipc[order={order}]"), exact(CondOT()).field(None)
    found = sampler(written(made, tmp_path, shift=shift), "UniPC")
    scheduler: Any = UniPCMultistepScheduler(**found["settings"])
    scheduler.set_timesteps(sigmas=np.array(found["values"]))
    torch.testing.assert_close(scheduler.sigmas.double(), 1 - made.solver.times, rtol=0, atol=2e-6)
    expected = made.solver(field, noise())
    truth = bnsbench.solver("rk4", 200)(field, noise())
    near = psnr(on_flow(scheduler, noise()), expected)
    assert near > 20 + psnr(expected, truth)
    assert 0 < found["deviation"] < 0.1
    assert "near, not the same" in found["note"]


@pytest.mark.parametrize("late", [0.0, 1e-6])
def test_the_deviation_of_unipc_is_that_of_its_first_time(late: float) -> None:
    """From 1 - 1e-6 on, our rule is diffusers' to the precision in which it keeps its sigmas."""
    made = on_times("unipc")
    times = made.solver.times.clone()
    times[0] += late
    settings = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 1.0}
    scheduler: Any = UniPCMultistepScheduler(**settings)
    scheduler.set_timesteps(sigmas=(1 - made.solver.times[:-1]).numpy())
    scheduler.timesteps = 1000 * (1 - made.solver.times[:-1])  # not rounded
    ours = retrace(lambda field, x0: unipc(field, x0, 8, grid=times), CondOT(), (late, 1.0), 8)
    distance = apart(on_flow(scheduler, noise()), ours(exact(CondOT()).field(None), noise()))
    assert (distance < 1e-4) == bool(late)


def test_euler_discrete(tmp_path: FilePath) -> None:
    made = on_times("ddim", DDPM)
    found = sampler(written(made, tmp_path), "EulerDiscrete")
    scheduler: Any = EulerDiscreteScheduler(**found["settings"])
    scheduler.set_timesteps(sigmas=found["values"])
    assert len(scheduler.timesteps) == len(found["values"]) - 1 == 8
    assert float(scheduler.init_noise_sigma) == pytest.approx(found["values"][0], rel=1e-6)
    x0 = noise() * DDPM.sigma(torch.tensor(0.0))
    last = float(DDPM.alpha(torch.tensor(1.0)))  # it ends with data + sigma noise, x / alpha
    ended = on_ddpm(scheduler, noise() * scheduler.init_noise_sigma) * last
    assert apart(ended, made.solver(exact(DDPM).field(None), x0)) < 1e-5


@pytest.mark.parametrize(("order", "rule"), [(2, dpm_solver_pp_2m), (3, dpm_solver_pp_3m)])
def test_dpm_solver_takes_whole_timesteps(order: int, rule: Callable[..., Tensor], tmp_path: FilePath) -> None:
    made, field = on_times(f"dpm++{order}m", DDPM), exact(DDPM).field(None)
    found = sampler(written(made, tmp_path), "DPMSolver")
    assert found["argument"] == "timesteps"
    scheduler: Any = DPMSolverMultistepScheduler(**found["settings"])
    scheduler.set_timesteps(timesteps=found["values"])
    rounded = torch.tensor([*found["values"], 0], dtype=torch.float64)
    assert float((rounded - DDPM.timestep(made.solver.times)).abs().max()) <= 0.5
    theirs = retrace(lambda field, x0: rule(field, x0, 8, grid=1 - rounded / 999), DDPM, WHOLE, 8)
    ended = on_ddpm(scheduler, noise())
    assert apart(ended, theirs(field, noise())) < 1e-5
    assert psnr(ended, made.solver(field, noise())) > 50  # what rounding costs here


@pytest.mark.parametrize("path", [VP(), DDPM, EDM(0.01, 20.0), EDM(0.0, 80.0)], ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("begins", "rule", "theirs"),
    [
        ("euler of k", "ddim", peers.euler),
        ("dpmpp_2m of k", "dpm++2m[lower_order_final=false]", peers.dpmpp_2m),
        ("lms of k", "deis[order=4,variable=rho]", peers.lms),
        ("res_multistep of C", "res-multistep", peers.res_multistep),
    ],
)
def test_samplers_of_k_diffusion(
    begins: str, rule: str, theirs: Callable[..., Tensor], path: Path, tmp_path: FilePath
) -> None:
    interval = (0.0, 0.999) if isinstance(path, VP) else WHOLE
    made, model = on_times(rule, path, interval), exact(path)
    found = sampler(written(made, tmp_path), begins)

    def denoise(y: Tensor, sigma: float) -> Tensor:
        t = path.time(torch.tensor([-math.log(sigma)], dtype=torch.float64))[0]
        x = y * path.alpha(t)
        return to_data(path, t, x, model.predict(t, x, None))

    begin, end = (torch.tensor(t, dtype=torch.float64) for t in interval)
    ended = theirs(denoise, noise() * found["values"][0], found["values"]) * path.alpha(end)
    assert apart(ended, made.solver(model.field(None), noise() * path.sigma(begin))) < 1e-5


@pytest.mark.parametrize(("begins", "rule", "theirs"), [("euler", "euler", peers.euler), ("lms", "ab4", peers.lms)])
def test_samplers_of_comfyui_on_flows(begins: str, rule: str, theirs: Callable[..., Tensor], tmp_path: FilePath) -> None:
    made, field = on_times(rule), exact(CondOT()).field(None)
    found = sampler(written(made, tmp_path), f"{begins} of ComfyUI")

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return x + sigma * field(torch.tensor(1 - sigma, dtype=torch.float64), x)

    assert found["values"][-1] == 0.0
    assert apart(theirs(denoise, noise(), found["values"]), made.solver(field, noise())) < 1e-9


def test_every_receiver_is_tested() -> None:
    told = {(each.sampler.split()[0], each.paths) for each in RECEIVERS}
    flows = {(name, "flow") for name in ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler", "euler", "lms")}
    schedules = {(name, "ddpm") for name in ("EulerDiscreteScheduler", "DPMSolverMultistepScheduler")}
    assert told == flows | schedules | {(name, "other") for name in ("euler", "dpmpp_2m", "lms", "res_multistep")}


def test_what_the_file_says(tmp_path: FilePath) -> None:
    file = sigmas(on_times("euler"), tmp_path)
    assert file.name == "ld3_mine_w2_nfe8_sigmas.json"
    content = json.loads(file.read_text())
    assert content["sigmas"] == pytest.approx([1 - t for t in LEARNED])
    assert (content["rule"], content["states"], content["psnr"]) == ("euler", "(1 - sigma) data + sigma noise", 37.25)
    assert (content["nfe"], content["guidance"], content["fingerprint"]) == (8, 2.0, "abc123")
    words = " ".join(content["about"].split())
    for said in ("the solver's times alone", "changes given sigmas once more", "no other number of steps", "Apache-2.0"):
        assert said in words


@pytest.mark.parametrize("rule", ["ab2", "deis", "midpoint", "ipndm"])
def test_rules_that_nobody_runs_on_a_list_of_times(rule: str, tmp_path: FilePath) -> None:
    """A tuned one's record names its rule, as an LD3's does."""
    made = replace(classic(rule), training={"rule": rule, "grid": "uniform"}) if rule == "midpoint" else on_times(rule)
    sentence = f"of its rule, {rule}, or its own, and other software runs only euler, unipc.*train times.*as ld3.rule=euler"
    with pytest.raises(NotApplicableError, match=sentence):
        sigmas(made, tmp_path)


def classic(rule: str, path: Path = CondOT(), interval: tuple[float, float] = WHOLE) -> SolverArtefact:  # noqa: B008
    return SolverArtefact(bnsbench.solver(rule, 8, path=path, interval=interval), path, interval, "", "", 0.0, rule)


def test_a_table_with_coefficients_of_its_own(tmp_path: FilePath) -> None:
    """A change in one of them is enough, and what the record says of the rule is not asked."""
    made = on_times("euler")
    rows = made.solver.rows.clone()
    rows[-1, 1] += 1e-4
    own = replace(made, solver=NonStationarySolver.from_rows(made.solver.times, rows), name="bns", training={})
    with pytest.raises(NotApplicableError, match="The coefficients of bns are its own, and other software"):
        sigmas(own, tmp_path)


def test_euler_on_the_velocity_of_a_diffusion_is_nobody_s(tmp_path: FilePath) -> None:
    with pytest.raises(NotApplicableError, match=r"runs only ddim, dpm\+\+2m.*as ld3.rule=ddim"):
        sigmas(classic("euler", DDPM), tmp_path)


@pytest.mark.parametrize(
    ("path", "interval", "shift", "sentence"),
    [
        (CondOT(), WHOLE, 0.0, "A shift is a number above 0, not 0"),
        (CondOT(), WHOLE, math.nan, "A shift is a number above 0, not nan"),
        (DDPM, WHOLE, 3.0, "on flows, but the solver's path is 'discrete-vp'"),
        (CondOT(), (0.0, 0.9), 1.0, "the solver goes from 1 to 0.1: export it as kdiffusion or python"),
        (Cosine(), WHOLE, 1.0, r"where there is no data at all \(alpha = 0\)"),
    ],
)
def test_what_has_no_list(
    path: Path, interval: tuple[float, float], shift: float, sentence: str, tmp_path: FilePath
) -> None:
    with pytest.raises(UsageError, match=sentence):
        sigmas(classic("ddim", path, interval), tmp_path, shift)
