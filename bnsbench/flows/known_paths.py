"""The probability paths by name, with what they take; `bnsbench.flows.paths` has their mathematics."""

from __future__ import annotations

from bnsbench.contract.choices import Choice, Option

PATHS = (
    Choice(
        "condot",
        "CondOT()",
        "The straight line of flow matching and rectified flow: alpha = t, sigma = 1 - t.",
    ),
    Choice("cosine", "Cosine()", "The cosine path: alpha = sin(pi t / 2), sigma = cos(pi t / 2)."),
    Choice(
        "vp",
        "VP(beta_min=0.1, beta_max=20)",
        "The variance-preserving diffusion with a linear noise rate.",
        (
            Option("beta_min", 0.1, "above 0", "the noise rate at the data"),
            Option("beta_max", 20.0, "at least beta_min", "the noise rate at the noise"),
        ),
    ),
    Choice(
        "discrete-vp",
        "DiscreteVP(alphas_cumprod)",
        "A DDPM schedule, interpolated in log-SNR; DiscreteVP.linear() is DDPM's own, .scaled_linear() Stable Diffusion's.",
        (Option("alphas_cumprod", None, "numbers between 0 and 1, each below the one before", "of timesteps 0 to T - 1"),),
    ),
    Choice(
        "edm",
        "EDM(sigma_min=0.002, sigma_max=80)",
        "The path of Karras et al. 2022: alpha = 1, sigma from sigma_max to sigma_min in a straight line.",
        (
            Option("sigma_min", 0.002, "at least 0", "the noise that is left at t = 1"),
            Option("sigma_max", 80.0, "above sigma_min", "the noise at t = 0"),
        ),
    ),
    Choice(
        "ve",
        "VE(sigma_min=0.01, sigma_max=50)",
        "The variance-exploding diffusion: alpha = 1, sigma in geometric progression.",
        (
            Option("sigma_min", 0.01, "above 0", "the noise that is left at t = 1"),
            Option("sigma_max", 50.0, "above sigma_min", "the noise at t = 0"),
        ),
    ),
    Choice(
        "sampled",
        "as_path((alpha, sigma))",
        "Any path by its coefficients at 193 times: two functions of time, a scheduler of flow_matching, your own class.",
    ),
    Choice(
        "preconditioned",
        "Preconditioned(base, sigma_0)",
        "Another path with its noise multiplied by sigma_0, which spends more steps on noise; for large guidance scales.",
        (
            Option("base", None, "a path"),
            Option("sigma_0", None, "above 0", "the standard deviation of the noise at t = 0, of a path with sigma(0) = 1"),
        ),
    ),
)
