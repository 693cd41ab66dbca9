"""The traced exponential solvers against diffusers' schedulers stepping themselves, in float64 on the same nodes.

Diffusers works on sigma / alpha of a variance-preserving path; its ``sigmas`` are replaced by those of our nodes, and the
field is evaluated where a scheduler's state is. Schedulers that cast to float32 are compared to 1e-6.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    LMSDiscreteScheduler,
    SASolverScheduler,
    UniPCMultistepScheduler,
)

from bnsbench.flows.paths import EDM, VP, CondOT, Cosine, DiscreteVP
from bnsbench.flows.predictions import to_noise
from bnsbench.nonstationary.tracing import trace
from tests.solvers.schedulers import prepare, run

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`algorithm_type:FutureWarning"),
]

FINITE, TO_ZERO = (0.0, 0.99), (0.0, 1.0)


def traced(sampler, nfe, field):
    return trace(functools.partial(sampler, nfe=nfe), field.path, field.interval)


@pytest.mark.parametrize("interval", [FINITE, TO_ZERO])
@pytest.mark.parametrize("grid", ["uniform", "logsnr", "quadratic"])
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("lower_order_final", [True, False])
def test_dpm_solver_pp_multistep(mixture, start, solver, deviation, interval, grid, order, lower_order_final):
    """Like ours, diffusers takes a first-order step to sigma = 0 whatever the order."""
    field = mixture(VP(), interval)
    table = traced(solver(f"dpm++{order}m", grid=grid, lower_order_final=lower_order_final), 8, field)
    scheduler = DPMSolverMultistepScheduler(
        solver_order=order,
        lower_order_final=lower_order_final,
        final_sigmas_type="zero" if interval == TO_ZERO else "sigma_min",
    )
    prepare(scheduler, field.path, table.times)
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0)) < 1e-6


@pytest.mark.parametrize(("interval", "variant"), [(FINITE, "bh1"), (FINITE, "bh2"), (TO_ZERO, "bh2")])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(mixture, start, solver, deviation, interval, variant, order):
    """At sigma = 0 diffusers' bh1 is NaN, infinity times nothing."""
    field = mixture(VP(), interval)
    table = traced(solver("unipc", order=order, variant=variant), 9, field)
    scheduler = UniPCMultistepScheduler(solver_order=order, solver_type=variant, lower_order_final=True)
    prepare(scheduler, field.path, table.times)
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0)) < 1e-10


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
def test_unipc_at_full_order_to_the_end(mixture, start, solver, deviation, variant):
    field = mixture(VP(), FINITE)
    table = traced(solver("unipc", order=3, variant=variant, lower_order_final=False), 9, field)
    scheduler = UniPCMultistepScheduler(solver_order=3, solver_type=variant, lower_order_final=False)
    prepare(scheduler, field.path, table.times)
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0)) < 1e-10


@pytest.mark.parametrize("predictor", [1, 2, 3, 4])
@pytest.mark.parametrize("corrector", [1, 2, 3, 4])
@pytest.mark.parametrize("lower_order_final", [True, False])
def test_sa_solver_without_noise(mixture, start, solver, deviation, predictor, corrector, lower_order_final):
    """Its integrals are differences of large numbers, which cost it digits at the higher orders."""
    field = mixture(VP(), FINITE)
    orders = {"predictor_order": predictor, "corrector_order": corrector, "lower_order_final": lower_order_final}
    table = traced(solver("sa-solver", **orders), 8, field)
    scheduler = SASolverScheduler(tau_func=lambda t: torch.zeros(()), **orders)
    prepare(scheduler, field.path, table.times)
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0)) < 1e-9


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("grid", ["uniform", "edm"])
def test_deis_in_log_snr(mixture, start, solver, deviation, order, grid):
    """Diffusers' polynomials are in log(sigma / alpha), unlike the paper's, which are in time."""
    field = mixture(VP(), FINITE)
    table = traced(solver("deis", order=order, variable="logsnr", grid=grid), 8, field)
    scheduler = DEISMultistepScheduler(solver_order=order, lower_order_final=False)
    prepare(scheduler, field.path, table.times)
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0)) < 1e-10


def test_ddim_at_integer_timesteps(mixture, start, solver, deviation):
    """Nine of ten steps of 100; diffusers' tenth leaves the schedule for its ``final_alpha_cumprod``."""
    scheduler: Any = DDIMScheduler(clip_sample=False)
    scheduler.alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    scheduler.set_timesteps(10)
    path = DiscreteVP(scheduler.alphas_cumprod.tolist())
    field = mixture(path, (1 - 900 / 999, 1.0))
    table = traced(solver("ddim"), 9, field)
    torch.testing.assert_close(path.timestep(table.times), torch.linspace(900, 0, 10, dtype=torch.float64))
    x0 = expected = start(path, field.interval)
    for t, timestep in zip(table.times[:-1], scheduler.timesteps[:-1], strict=True):
        noise = to_noise(path, t, expected, field(t, expected))
        expected = scheduler.step(noise, int(timestep), expected).prev_sample
    assert deviation(table(field, x0), expected) < 1e-9


@pytest.mark.parametrize("name", ["ddim", "dpm-solver-1"])
def test_first_order_solvers(mixture, start, solver, deviation, name):
    field = mixture(VP(), FINITE)
    table = traced(solver(name, grid="logsnr"), 7, field)
    scheduler = DPMSolverMultistepScheduler(solver_order=1, algorithm_type="dpmsolver", final_sigmas_type="sigma_min")
    prepare(scheduler, field.path, table.times)
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0)) < 1e-6


@pytest.mark.parametrize(("name", "algorithm"), [("dpm-solver-2", "dpmsolver"), ("dpm++2s", "dpmsolver++")])
@pytest.mark.parametrize("nfe", [6, 7])
def test_second_order_singlestep(mixture, start, solver, deviation, name, algorithm, nfe):
    """Diffusers takes any node for its intermediate one; ours are in the middle, in lambda, as in the papers."""
    field = mixture(VP(), FINITE)
    table = traced(solver(name), nfe, field)
    scheduler: Any = DPMSolverSinglestepScheduler(
        solver_order=2, algorithm_type=algorithm, lower_order_final=bool(nfe % 2), final_sigmas_type="sigma_min"
    )
    prepare(scheduler, field.path, table.times)
    scheduler.order_list = ([1, 2] * nfe)[: nfe - nfe % 2] + [1] * (nfe % 2)
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0)) < 1e-10


@pytest.mark.parametrize(
    ("nfe", "orders"), [(6, [1, 2, 3, 1, 2, 1]), (7, [1, 2, 3, 1, 2, 3, 1]), (8, [1, 2, 3, 1, 2, 3, 1, 2])]
)
def test_third_order_singlestep(mixture, start, solver, deviation, nfe, orders):
    """Algorithm 2 has the second stage of diffusers' "heun" type and the end of its "midpoint" type."""
    field = mixture(VP(), FINITE)
    table = traced(solver("dpm-solver-3"), nfe, field)
    scheduler: Any = DPMSolverSinglestepScheduler(
        solver_order=3, algorithm_type="dpmsolver", lower_order_final=True, final_sigmas_type="sigma_min"
    )
    prepare(scheduler, field.path, table.times)
    assert scheduler.order_list == orders
    x0 = x = start(field.path)
    for i, t in enumerate(table.times[:-1]):
        inside = orders[i] == 2 and orders[i + 1 : i + 2] == [3]
        scheduler.register_to_config(solver_type="heun" if inside else "midpoint")
        x = scheduler.step(to_noise(field.path, t, x, field(t, x)), scheduler.timesteps[i], x).prev_sample
    assert deviation(table(field, x0), x) < 1e-10


@pytest.mark.parametrize("path", [VP(), Cosine()])
def test_ipndm(mixture, start, solver, deviation, path):
    """Diffusers' iPNDM takes v = alpha epsilon - sigma x1 and, at its first node, any alpha."""
    field = mixture(path, (0.01, 0.99))
    table = traced(solver("ipndm"), 9, field)
    scheduler: Any = IPNDMScheduler()
    scheduler.set_timesteps(9)
    scheduler.alphas, scheduler.betas = path.alpha(table.times), path.sigma(table.times)
    scheduler.timesteps = torch.arange(9, 0, -1)
    scheduler.set_begin_index(0)

    def v(t, x, u):
        return (to_noise(path, t, x, u) - path.sigma(t) * x) / path.alpha(t)

    x0 = start(path, field.interval)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0, v)) < 1e-10


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("grid", ["uniform", "edm"])
def test_adams_bashforth_is_lms_on_the_edm_path(mixture, start, solver, deviation, order, grid):
    field = mixture(EDM(0.002, 10.0))
    table = traced(solver(f"ab{order}", grid=grid), 10, field)
    scheduler: Any = LMSDiscreteScheduler()
    prepare(scheduler, field.path, table.times)
    scheduler.is_scale_input_called = True
    x0 = x = start(field.path)
    for t, timestep in zip(table.times[:-1], scheduler.timesteps, strict=True):
        noise = to_noise(field.path, t, x, field(t, x))
        x = scheduler.step(noise, timestep, x, order=order).prev_sample
    assert deviation(table(field, x0), x) < 1e-10


@pytest.mark.parametrize("steps", [3, 6])
def test_edm_heun_ends_with_a_first_order_step(mixture, start, solver, deviation, steps):
    field = mixture(EDM(0.0, 80.0))
    table = traced(solver("edm-heun"), 2 * steps - 1, field)
    # Node by node: the first once, those between twice (end of one step, beginning of the next), sigma = 0 in the end.
    nodes = torch.cat([table.times[:2], table.times[3:-1:2], table.times[-1:]])
    scheduler: Any = HeunDiscreteScheduler()
    scheduler.set_timesteps(steps)
    sigmas = field.path.sigma(nodes)
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.timesteps = torch.arange(2 * steps - 1, 0, -1, dtype=torch.float64)
    scheduler.is_scale_input_called = True
    scheduler.set_begin_index(0)
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0)) < 1e-10


def test_euler_on_the_edm_path(mixture, start, solver, deviation):
    field = mixture(EDM())
    table = traced(solver("euler", grid="edm"), 10, field)
    scheduler: Any = EulerDiscreteScheduler()
    prepare(scheduler, field.path, table.times)
    scheduler.is_scale_input_called = True
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0)) < 1e-6


def test_euler_on_the_flow_path(mixture, start, solver, deviation):
    field = mixture(CondOT())
    table = traced(solver("euler", grid="shifted:3"), 8, field)
    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / 8, 8).tolist())
    torch.testing.assert_close(scheduler.sigmas.double(), 1 - table.times, rtol=0, atol=1e-6)
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0, lambda t, x, u: -u)) < 1e-6


def test_heun_on_the_flow_path(mixture, start, solver, deviation):
    """Up to the last step, in which diffusers' Heun has no corrector."""
    steps = 5
    field = mixture(CondOT(), (0.0, 0.9))
    table = traced(solver("heun"), 2 * steps, field)
    scheduler: Any = FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(steps + 1)
    sigmas = 1 - torch.linspace(0, 0.9, steps + 1, dtype=torch.float64)
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:].repeat_interleave(2), sigmas.new_zeros(1)])
    scheduler.timesteps = torch.arange(2 * steps, 0, -1, dtype=torch.float64)
    scheduler.set_begin_index(0)
    x0 = start(field.path)
    assert deviation(table(field, x0), run(scheduler, field, table.times, x0, lambda t, x, u: -u)) < 1e-6
