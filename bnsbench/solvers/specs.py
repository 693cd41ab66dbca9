"""The built-in classic solvers; importing this imports none of them.

``order`` is the order with which a solver converges, by default parameters, on every path. A multistep solver starts with
one first-order step, and a solver in log-SNR takes one where the log-SNR is infinite; each has an error O(h^2), so that
these converge with order 2 on equal steps (but for a factor log n where the log-SNR is infinite) however high the order of
their other steps is. On grids with finer steps at the ends ("chebyshev") the formula's order shows.

``stages`` is 1 for the singlestep solvers of diffusion models as well (dpm-solver-1 to -3, dpm++2s, res-2s, etd2rk,
edm-heun): their grids have a step for each evaluation, whatever orders the budget is dealt out to, and a step of k
evaluations spans k of them.
"""

from __future__ import annotations

from bnsbench.contract.specs import Budgets, Scalar, SolverSpec

_GRID: dict[str, Scalar] = {"grid": "uniform"}
_MULTISTEP: dict[str, Scalar] = {"lower_order_final": True, **_GRID}


def _solver(
    name: str,
    target: str,
    order: int,
    summary: str,
    reference: str,
    stages: int = 1,
    parameters: dict[str, Scalar] = _GRID,
    known_as: tuple[str, ...] = (),
) -> SolverSpec:
    return SolverSpec(
        name=name,
        target=f"bnsbench.solvers.{target}",
        summary=summary,
        parameters=parameters,
        order=order,
        budgets=Budgets(stages, stages),
        reference=reference,
        stages=stages,
        known_as=known_as,
    )


_DPM = "Lu et al. 2022, DPM-Solver, arXiv 2206.00927"
_DPM_PP = "Lu et al. 2022, DPM-Solver++, arXiv 2211.01095"
_DEIS = "Zhang & Chen 2023, DEIS, arXiv 2204.13902"
_RES = "Zhang et al. 2023, RES, arXiv 2308.02157"
_HAIRER = "Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I"

SOLVERS: tuple[SolverSpec, ...] = (
    _solver(
        "euler",
        "runge_kutta:euler",
        1,
        "Euler's method.",
        f"{_HAIRER}, I.7",
        known_as=("FlowMatchEulerDiscreteScheduler (diffusers)",),
    ),
    _solver(
        "midpoint",
        "runge_kutta:midpoint",
        2,
        "The explicit midpoint rule.",
        f"{_HAIRER}, II.1",
        stages=2,
        known_as=("midpoint (torchdiffeq)",),
    ),
    _solver(
        "heun",
        "runge_kutta:heun",
        2,
        "Heun's trapezoidal rule.",
        f"{_HAIRER}, II.1",
        stages=2,
        known_as=("heun2 (torchdiffeq)",),
    ),
    _solver("ralston", "runge_kutta:ralston", 2, "Ralston's two-stage rule.", "Ralston 1962, Math. Comp. 16", stages=2),
    _solver("rk3", "runge_kutta:rk3", 3, "Kutta's three-stage rule.", "Kutta 1901", stages=3),
    _solver("rk4", "runge_kutta:rk4", 4, "The classic four-stage rule.", f"{_HAIRER}, II.1", stages=4),
    _solver(
        "rk38",
        "runge_kutta:rk38",
        4,
        "Kutta's four-stage 3/8 rule.",
        f"{_HAIRER}, II.1",
        stages=4,
        known_as=("rk4 (torchdiffeq)",),
    ),
    _solver("ab2", "adams_bashforth:ab2", 2, "Two-step Adams-Bashforth.", f"{_HAIRER}, III.5"),
    _solver("ab3", "adams_bashforth:ab3", 2, "Three-step Adams-Bashforth, started by Euler and AB2.", f"{_HAIRER}, III.5"),
    _solver("ab4", "adams_bashforth:ab4", 2, "Four-step Adams-Bashforth, started by Euler, AB2, AB3.", f"{_HAIRER}, III.5"),
    _solver(
        "ddim",
        "ddim:ddim",
        1,
        "Deterministic DDIM.",
        "Song et al. 2021, DDIM, arXiv 2010.02502, Eq. 12",
        known_as=(
            "DDIMScheduler (diffusers)",
            "EulerDiscreteScheduler (diffusers)",
            "EDMEulerScheduler (diffusers)",
            "euler (k-diffusion)",
        ),
    ),
    _solver("dpm-solver-1", "dpm_solver:dpm_solver_1", 1, "DPM-Solver-1, the same as DDIM.", f"{_DPM}, Eq. 3.7"),
    _solver(
        "dpm-solver-2",
        "dpm_solver:dpm_solver_2",
        2,
        "Singlestep DPM-Solver-2.",
        f"{_DPM}, Algorithm 1",
        known_as=("dpm_2 (k-diffusion)", "KDPM2DiscreteScheduler (diffusers)"),
    ),
    _solver(
        "dpm-solver-3",
        "dpm_solver:dpm_solver_3",
        2,
        "Singlestep DPM-Solver-3, fast schedule.",
        f"{_DPM}, Algorithm 2",
        known_as=("dpm_fast (k-diffusion): dpm-solver-3[grid=logsnr]",),
    ),
    _solver(
        "dpm++2s",
        "dpm_solver_pp:dpm_solver_pp_2s",
        2,
        "Singlestep DPM-Solver++(2S).",
        f"{_DPM_PP}, Algorithm 1",
        known_as=(
            "DPMSolverSinglestepScheduler (diffusers)",
            "dpmpp_2s_ancestral at eta 0 (k-diffusion)",
            "dpmpp_sde at eta 0 (k-diffusion)",
            "seeds_2 at eta 0 (ComfyUI)",
        ),
    ),
    _solver(
        "dpm++2m",
        "dpm_solver_pp:dpm_solver_pp_2m",
        2,
        "Multistep DPM-Solver++(2M).",
        f"{_DPM_PP}, Algorithm 2",
        parameters=_MULTISTEP,
        known_as=(
            "DPMSolverMultistepScheduler (diffusers)",
            "dpmpp_2m (k-diffusion): dpm++2m[lower_order_final=false]",
            "dpmpp_2m_sde at eta 0 (k-diffusion): dpm++2m[lower_order_final=false]",
        ),
    ),
    _solver(
        "dpm++3m",
        "dpm_solver_pp:dpm_solver_pp_3m",
        2,
        "Multistep DPM-Solver++(3M).",
        f"{_DPM_PP}, authors' code",
        parameters={"third_order": False, **_MULTISTEP},
        known_as=("DPMSolverMultistepScheduler[solver_order=3] (diffusers)",),
    ),
    _solver(
        "dpm++3m-k",
        "dpm_solver_pp:dpm_solver_pp_3m_k",
        2,
        "Multistep DPM-Solver++(3M) with k-diffusion's second step.",
        f"{_DPM_PP}, k-diffusion's code",
        known_as=("dpmpp_3m_sde at eta 0 (k-diffusion)",),
    ),
    _solver(
        "unipc",
        "unipc:unipc",
        2,
        "Multistep UniPC, predictor and corrector; variants bh1 and bh2.",
        "Zhao et al. 2023, UniPC, arXiv 2302.04867, Algorithms 1 and 2",
        parameters={"order": 2, "variant": "bh2", **_MULTISTEP},
        known_as=("UniPCMultistepScheduler (diffusers)",),
    ),
    _solver(
        "sa-solver",
        "sa_solver:sa_solver",
        2,
        "SA-Solver without noise: Adams predictor and corrector.",
        "Xue et al. 2023, SA-Solver, arXiv 2309.05019, Algorithm 1",
        parameters={"predictor_order": 2, "corrector_order": 2, "simple_order_2": True, **_MULTISTEP},
        known_as=(
            "SASolverScheduler at tau 0 (diffusers)",
            "sa_solver at eta 0 (ComfyUI): "
            "sa-solver[corrector_order=4,lower_order_final=false,predictor_order=3,simple_order_2=false]",
        ),
    ),
    _solver(
        "deis",
        "deis:deis",
        2,
        "DEIS-AB, polynomials in time, rho or logsnr.",
        f"{_DEIS}, Algorithm 1",
        parameters={"order": 3, "variable": "time", **_GRID},
        known_as=(
            "lms (k-diffusion): deis[order=4,variable=rho]",
            "LMSDiscreteScheduler (diffusers): deis[order=4,variable=rho]",
            "DEISMultistepScheduler[lower_order_final=false] (diffusers): deis[order=2,variable=logsnr]",
        ),
    ),
    _solver(
        "ipndm",
        "ipndm:ipndm",
        2,
        "Improved PNDM.",
        _DEIS,
        parameters={"order": 4, **_GRID},
        known_as=("ipndm (diff-sampler)", "IPNDMScheduler (diffusers)"),
    ),
    _solver(
        "ipndm-v",
        "ipndm:ipndm_v",
        2,
        "Improved PNDM with diff-sampler's weights for unequal steps.",
        f"{_DEIS}, diff-sampler's code",
        parameters={"order": 3, **_GRID},
        known_as=("ipndm_v (diff-sampler): ipndm-v[order=4]",),
    ),
    _solver(
        "res-multistep",
        "exponential:res_multistep",
        2,
        "Multistep RES: a line through two data predictions, integrated exactly.",
        _RES,
        known_as=(
            "res_multistep (ComfyUI)",
            "dpmpp_2m_sde[solver_type=heun] at eta 0 (k-diffusion)",
            "DPMSolverMultistepScheduler[lower_order_final=false,solver_type=heun] (diffusers)",
        ),
    ),
    _solver(
        "res-2s",
        "exponential:res_2s",
        2,
        "Singlestep RES: two exponential stages, the second at c2.",
        _RES,
        parameters={"c2": 0.5, **_GRID},
        known_as=("res_2s (RES4LYF)", "seeds_2[solver_type=phi_2] at eta 0 (ComfyUI)"),
    ),
    _solver(
        "etd2rk",
        "exponential:etd2rk",
        2,
        "Exponential Heun.",
        "Cox & Matthews 2002, J. Comput. Phys. 176, ETD2RK",
        known_as=("exp_heun_2_x0 (ComfyUI)",),
    ),
    _solver(
        "er-sde",
        "er_sde:er_sde",
        2,
        "ER-SDE-Solver-1 to -3 without noise.",
        "Cui et al. 2023, ER-SDE-Solvers, arXiv 2309.06169",
        parameters={"order": 3, **_GRID},
        known_as=("ER-SDE-Solver at phi = x (Cui et al.)",),
    ),
    _solver(
        "gradient-estimation",
        "gradient_estimation:gradient_estimation",
        1,
        "DDIM on an extrapolated noise prediction.",
        "Permenter & Yuan 2023, arXiv 2306.04848",
        parameters={"gamma": 2.0, **_GRID},
        known_as=("gradient_estimation (ComfyUI)",),
    ),
    _solver(
        "taylor",
        "caching:taylor",
        1,
        "Euler with two of three answers forecast by a Taylor polynomial.",
        "Liu et al. 2025, TaylorSeer, arXiv 2503.06923",
        parameters={"every": 3, "order": 1, **_GRID},
    ),
    _solver(
        "easycache",
        "caching:easycache",
        1,
        "Euler with two of three answers taken from a cache.",
        "Zhou et al. 2025, EasyCache, arXiv 2507.02860",
        parameters={"every": 3, **_GRID},
    ),
    _solver(
        "stork2",
        "stork:stork2",
        1,
        "STORK-2 on the velocity: RKG2 with Taylor stages.",
        "Tan et al. 2025, STORK, arXiv 2505.24210",
        parameters={"derivatives": 1, "s": 50, "exact_times": False, **_GRID},
        known_as=("STORKScheduler[prediction_type=flow_prediction,solver_order=2] (Tan et al.)",),
    ),
    _solver(
        "edm-heun",
        "edm:edm_heun",
        2,
        "EDM's Heun sampler on its rho = 7 grid.",
        "Karras et al. 2022, EDM, arXiv 2206.00364, Algorithm 1",
        parameters={"grid": "edm"},
        known_as=("heun (k-diffusion)", "HeunDiscreteScheduler (diffusers)"),
    ),
)
"""Those that are linear in the field's values and are traced."""

DIRECT: tuple[SolverSpec, ...] = (
    SolverSpec(
        "cfg-truncated",
        "bnsbench.solvers.truncated_guidance:cfg_truncated",
        "A classic whose later steps leave out the network's answer without the condition.",
        parameters={"rule": "ab2", "guided": 0.5, "keep": "difference", **_GRID},
        kind="direct",
        reference="Lyu et al. 2025, FasterCache, arXiv 2410.19355",
    ),
)
"""Those that ask the network in another way than one velocity at a time, and are run as they are."""
