"""The built-in classic solvers; importing this imports none of them.

``order`` is the order with which a solver converges, by default parameters, on every path. A multistep solver starts with
one first-order step, and a solver in log-SNR takes one where the log-SNR is infinite; each has an error O(h^2), so that
these converge with order 2 on equal steps (but for a factor log n where the log-SNR is infinite) however high the order of
their other steps is. On grids with finer steps at the ends ("chebyshev") the formula's order shows.

``stages`` is 1 for the singlestep solvers of diffusion models as well (dpm-solver-1 to -3, dpm++2s, edm-heun): their grids
have a step for each evaluation, whatever orders the budget is dealt out to, and a step of k evaluations spans k of them.
"""

from __future__ import annotations

from bnsbench.specs import Budgets, Scalar, SolverSpec

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
    )


_DPM = "Lu et al. 2022, DPM-Solver, arXiv 2206.00927"
_DPM_PP = "Lu et al. 2022, DPM-Solver++, arXiv 2211.01095"
_DEIS = "Zhang & Chen 2023, DEIS, arXiv 2204.13902"
_HAIRER = "Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I"

SOLVERS: tuple[SolverSpec, ...] = (
    _solver("euler", "runge_kutta:euler", 1, "Euler's method.", f"{_HAIRER}, I.7"),
    _solver("midpoint", "runge_kutta:midpoint", 2, "The explicit midpoint rule.", f"{_HAIRER}, II.1", stages=2),
    _solver("heun", "runge_kutta:heun", 2, "Heun's trapezoidal rule.", f"{_HAIRER}, II.1", stages=2),
    _solver("ralston", "runge_kutta:ralston", 2, "Ralston's two-stage rule.", "Ralston 1962, Math. Comp. 16", stages=2),
    _solver("rk3", "runge_kutta:rk3", 3, "Kutta's three-stage rule.", "Kutta 1901", stages=3),
    _solver("rk4", "runge_kutta:rk4", 4, "The classic four-stage rule.", f"{_HAIRER}, II.1", stages=4),
    _solver("rk38", "runge_kutta:rk38", 4, "Kutta's four-stage 3/8 rule.", f"{_HAIRER}, II.1", stages=4),
    _solver("ab2", "adams_bashforth:ab2", 2, "Two-step Adams-Bashforth.", f"{_HAIRER}, III.5"),
    _solver("ab3", "adams_bashforth:ab3", 2, "Three-step Adams-Bashforth, started by Euler and AB2.", f"{_HAIRER}, III.5"),
    _solver("ab4", "adams_bashforth:ab4", 2, "Four-step Adams-Bashforth, started by Euler, AB2, AB3.", f"{_HAIRER}, III.5"),
    _solver("ddim", "ddim:ddim", 1, "Deterministic DDIM.", "Song et al. 2021, DDIM, arXiv 2010.02502, Eq. 12"),
    _solver("dpm-solver-1", "dpm_solver:dpm_solver_1", 1, "DPM-Solver-1, the same as DDIM.", f"{_DPM}, Eq. 3.7"),
    _solver("dpm-solver-2", "dpm_solver:dpm_solver_2", 2, "Singlestep DPM-Solver-2.", f"{_DPM}, Algorithm 1"),
    _solver("dpm-solver-3", "dpm_solver:dpm_solver_3", 2, "Singlestep DPM-Solver-3, fast schedule.", f"{_DPM}, Algorithm 2"),
    _solver("dpm++2s", "dpm_solver_pp:dpm_solver_pp_2s", 2, "Singlestep DPM-Solver++(2S).", f"{_DPM_PP}, Algorithm 1"),
    _solver(
        "dpm++2m",
        "dpm_solver_pp:dpm_solver_pp_2m",
        2,
        "Multistep DPM-Solver++(2M).",
        f"{_DPM_PP}, Algorithm 2",
        parameters=_MULTISTEP,
    ),
    _solver(
        "dpm++3m",
        "dpm_solver_pp:dpm_solver_pp_3m",
        2,
        "Multistep DPM-Solver++(3M).",
        f"{_DPM_PP}, authors' code",
        parameters={"third_order": False, **_MULTISTEP},
    ),
    _solver(
        "unipc",
        "unipc:unipc",
        2,
        "Multistep UniPC, predictor and corrector; variants bh1 and bh2.",
        "Zhao et al. 2023, UniPC, arXiv 2302.04867, Algorithms 1 and 2",
        parameters={"order": 2, "variant": "bh2", **_MULTISTEP},
    ),
    _solver(
        "deis",
        "deis:deis",
        2,
        "DEIS-AB, polynomials in time, rho or logsnr.",
        f"{_DEIS}, Algorithm 1",
        parameters={"order": 3, "variable": "time", **_GRID},
    ),
    _solver("ipndm", "deis:ipndm", 2, "Improved PNDM.", _DEIS, parameters={"order": 4, **_GRID}),
    _solver(
        "edm-heun",
        "edm:edm_heun",
        2,
        "EDM's Heun sampler on its rho = 7 grid.",
        "Karras et al. 2022, EDM, arXiv 2206.00364, Algorithm 1",
        parameters={"grid": "edm"},
    ),
)
