"""The time grids by name, with what they take; `bnsbench.solvers.grids` has their mathematics."""

from __future__ import annotations

from bnsbench.contract.choices import Choice, Option

_LEVELS = (
    Option("LOWEST", None, "below HIGHEST", "log(alpha / sigma) of the first node; if not given the path's own, or -5"),
    Option("HIGHEST", None, "above LOWEST", "that of the last node; if not given the path's own, or 5"),
)

GRIDS = (
    Choice("uniform", "uniform", "Equal steps in time."),
    Choice(
        "nodes",
        "nodes:T1:T2:...",
        "The inner times themselves, as parts of the interval: one fewer than steps.",
        (Option("T1:T2:...", None, "increasing, between 0 and 1"),),
    ),
    Choice("chebyshev", "chebyshev", "Small steps, of size O(1 / steps^2), at both ends."),
    Choice("quadratic", "quadratic", "Shorter steps at the data: power:2."),
    Choice(
        "power",
        "power:POWER",
        "Distance from the end proportional to this power of the steps that are left.",
        (Option("POWER", 2.0, "above 0", "1 is uniform, more has shorter steps at the data"),),
    ),
    Choice(
        "kumaraswamy",
        "kumaraswamy:P:Q",
        "t = 1 - (1 - x^P)^Q for equal steps in x, as parts of the interval.",
        (
            Option("P", 1.0, "above 0", "above 1 it begins with longer steps"),
            Option("Q", 1.0, "above 0", "above 1 it ends with shorter ones"),
        ),
    ),
    Choice(
        "shifted",
        "shifted:SHIFT",
        "Noise level tau -> shift tau / (1 + (shift - 1) tau), as Stable Diffusion 3 has it.",
        (Option("SHIFT", 3.0, "above 0", "below 1 it has shorter steps at the data, above 1 at the noise"),),
        ("shift",),
    ),
    Choice("logsnr", "logsnr:LOWEST:HIGHEST", "Equal steps in log(alpha / sigma), such as logsnr:-5:5.", _LEVELS),
    Choice(
        "inner",
        "inner:LOWEST:HIGHEST",
        "Inner nodes at equal steps in log(alpha / sigma), with whole first and last steps to the interval's ends.",
        (
            Option("LOWEST", -3.0, "below HIGHEST", "log(alpha / sigma) of the first inner node"),
            Option("HIGHEST", 3.0, "above LOWEST", "that of the last inner node"),
        ),
    ),
    Choice(
        "edm",
        "edm:RHO:SIGMA_MIN:SIGMA_MAX",
        "Equal steps in (sigma / alpha)^(1 / rho), as Karras et al. 2022 place them, such as edm:7:0.002:80.",
        (
            Option("RHO", 7.0, "above 0", "more has shorter steps at the data"),
            Option("SIGMA_MIN", None, "at least 0", "sigma / alpha of the last node; if not given the path's own, or 0.002"),
            Option("SIGMA_MAX", None, "above SIGMA_MIN", "that of the first node; if not given the path's own, or 80"),
        ),
        ("karras",),
    ),
)
