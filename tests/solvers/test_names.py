"""Which of ours is which of theirs: every name that a spec gives, against that software's own formulas."""

from __future__ import annotations

import functools
import re

import pytest
import torch
from torchdiffeq import odeint

from bnsbench.contract import PluginHost
from bnsbench.contract.selectors import parse_selector
from bnsbench.errors import UsageError
from bnsbench.flows.paths import CondOT, Cosine
from bnsbench.solvers.specs import SOLVERS
from tests.solvers import peers
from tests.solvers.names import ENTRY, FINITE, NAMES, TO_DATA, ours, parts, sampled, table_of
from tests.solvers.test_scheduler_names import ALONE, VARIANCE_EXPLODING, VARIANCE_PRESERVING


def test_entries_have_the_form_that_the_record_describes():
    for entry, name in NAMES.items():
        found = ENTRY.fullmatch(entry)
        assert found, entry
        if found["ours"]:
            assert parse_selector(found["ours"])[1] == name
    assert len(NAMES) == sum(len(spec.known_as) for spec in SOLVERS)


MULTISTEP = {
    "euler (k-diffusion)": peers.euler,
    "lms (k-diffusion): deis[order=4,variable=rho]": peers.lms,
    "dpmpp_2m (k-diffusion): dpm++2m[lower_order_final=false]": peers.dpmpp_2m,
    "dpmpp_2m_sde at eta 0 (k-diffusion): dpm++2m[lower_order_final=false]": peers.dpmpp_2m,
    "dpmpp_2m_sde[solver_type=heun] at eta 0 (k-diffusion)": functools.partial(peers.dpmpp_2m, solver_type="heun"),
    "dpmpp_3m_sde at eta 0 (k-diffusion)": peers.dpmpp_3m_sde,
    "res_multistep (ComfyUI)": peers.res_multistep,
    "gradient_estimation (ComfyUI)": peers.gradient_estimation,
    "ipndm (diff-sampler)": peers.ipndm,
    "ipndm_v (diff-sampler): ipndm-v[order=4]": peers.ipndm_v,
    "ER-SDE-Solver at phi = x (Cui et al.)": peers.er_sde,
    next(entry for entry in NAMES if entry.startswith("sa_solver at eta 0 (ComfyUI)")): peers.sa_solver,
}
SINGLESTEP = {
    "heun (k-diffusion)": peers.heun,
    "dpm_2 (k-diffusion)": peers.dpm_2,
    "dpmpp_2s_ancestral at eta 0 (k-diffusion)": peers.seeds_2,
    "dpmpp_sde at eta 0 (k-diffusion)": peers.seeds_2,
    "seeds_2 at eta 0 (ComfyUI)": peers.seeds_2,
    "seeds_2[solver_type=phi_2] at eta 0 (ComfyUI)": functools.partial(peers.seeds_2, solver_type="phi_2"),
    "exp_heun_2_x0 (ComfyUI)": functools.partial(peers.seeds_2, r=1.0, solver_type="phi_2"),
    "res_2s (RES4LYF)": peers.res_2s,
}


def settings_of(entry):
    """Where an entry is compared; ComfyUI's sa_solver lowers its orders before a step to sigma = 0."""
    return FINITE if entry.startswith("sa_solver") else [*FINITE, *TO_DATA]


@pytest.mark.parametrize("nfe", [1, 3, 8])
@pytest.mark.parametrize(
    ("entry", "path", "interval"), [(entry, *each) for entry in MULTISTEP for each in settings_of(entry)], ids=str
)
def test_multistep_samplers(mixture, denoise, start, deviation, entry, path, interval, nfe):
    field, x0 = mixture(path, interval), start(path, interval)
    table = ours(entry, field, nfe)
    expected = sampled(MULTISTEP[entry], denoise, path, table.times, x0)
    assert deviation(table(field, x0), expected) < (1e-7 if entry.startswith("lms") else 1e-9)


FROM_ALPHA_0 = [entry for entry in MULTISTEP if not entry.startswith(("euler", "lms", "ipndm (", "gradient"))]


@pytest.mark.parametrize("entry", FROM_ALPHA_0)
def test_from_alpha_0_the_first_step_is_ddim_and_the_rest_begins_anew(mixture, denoise, start, deviation, entry):
    """Where lambda is infinite these have no place for a value: the posterior mean there is the data's mean."""
    path, interval = CondOT(), (0.0, 0.9)
    field, x0 = mixture(path, interval), start(path, interval)
    table = ours(entry, field, 8)
    t1 = table.times[1]
    x1 = path.sigma(t1) * x0 + path.alpha(t1) * denoise(torch.zeros(1, 2), 1e6)
    expected = sampled(MULTISTEP[entry], denoise, path, table.times[1:], x1)
    assert deviation(table(field, x0), expected) < 1e-9


def test_gradient_estimation_from_alpha_0_keeps_the_noise_prediction(mixture, denoise, start, deviation):
    path, interval = CondOT(), (0.0, 1.0)
    field, x0 = mixture(path, interval), start(path, interval)
    table = table_of("gradient-estimation", {"gamma": 1.8}, field, 8)
    t1 = table.times[1]
    x1 = path.sigma(t1) * x0 + path.alpha(t1) * denoise(torch.zeros(1, 2), 1e6)
    theirs = functools.partial(peers.gradient_estimation, gamma=1.8, before=x0)
    assert deviation(table(field, x0), sampled(theirs, denoise, path, table.times[1:], x1)) < 1e-9


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(("path", "interval"), [*FINITE, *TO_DATA], ids=str)
@pytest.mark.parametrize("entry", SINGLESTEP)
def test_singlestep_samplers(mixture, denoise, start, deviation, entry, path, interval, steps):
    """A step to sigma = 0 costs one evaluation, and any other one two, at the step's begin first."""
    field, x0 = mixture(path, interval), start(path, interval)
    nfe = 2 * steps - ((path, interval) in TO_DATA)
    table = ours(entry, field, nfe)
    nodes = torch.cat([table.times[:nfe:2], table.times[-1:]])
    assert deviation(table(field, x0), sampled(SINGLESTEP[entry], denoise, path, nodes, x0)) < 1e-9


@pytest.mark.parametrize("nfe", [4, 6, 8, 9])
def test_dpm_fast(mixture, denoise, start, deviation, nfe):
    path, interval = FINITE[0]
    field, x0 = mixture(path, interval), start(path, interval)
    table = ours("dpm_fast (k-diffusion): dpm-solver-3[grid=logsnr]", field, nfe)
    begin, end = (float(path.log_snr(t)) for t in interval)

    def noise(x, sigma):
        return (x - denoise(x, sigma)) / sigma

    expected = path.alpha(interval[1]) * peers.dpm_fast(noise, x0 / path.alpha(interval[0]), begin, end, nfe)
    assert deviation(table(field, x0), expected) < 1e-9


TORCHDIFFEQ = {"midpoint (torchdiffeq)": 2, "heun2 (torchdiffeq)": 2, "rk4 (torchdiffeq)": 4}


@pytest.mark.parametrize(("entry", "stages"), TORCHDIFFEQ.items())
def test_torchdiffeq(mixture, start, deviation, entry, stages):
    field, x0 = mixture(Cosine()), start(Cosine())
    expected = odeint(field, x0, torch.linspace(0, 1, 5, dtype=torch.float64), method=entry.split()[0])[-1]
    assert deviation(ours(entry, field, 4 * stages)(field, x0), expected) < 1e-12


def test_every_name_is_checked():
    dpm_fast = "dpm_fast (k-diffusion): dpm-solver-3[grid=logsnr]"
    stork = "STORKScheduler[prediction_type=flow_prediction,solver_order=2] (Tan et al.)"
    tables = (MULTISTEP, SINGLESTEP, TORCHDIFFEQ, VARIANCE_PRESERVING, VARIANCE_EXPLODING, ALONE)
    assert {dpm_fast, stork}.union(*tables) == set(NAMES)


@pytest.mark.parametrize("entry", NAMES)
def test_whoever_asks_for_a_name_is_told_ours(entry):
    """Unless it is also a name of ours, as "euler" is, or a plainer entry has the same name."""
    theirs, _, _ = parts(entry)["theirs"].partition("[")
    if theirs in {spec.name for spec in SOLVERS}:
        return
    same = [each for each in NAMES if parts(each)["theirs"].partition("[")[0] == theirs]
    meant = [re.escape(repr(parts(each)["ours"] or NAMES[each])) for each in same]
    with pytest.raises(UsageError, match=rf"did you mean ({'|'.join(meant)}) \("):
        PluginHost.load().solver(theirs)
