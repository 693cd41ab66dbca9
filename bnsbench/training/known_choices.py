"""What a training can be told by name: its objectives, and the families of tables that trained solvers choose from.

`bnsbench.training.objectives`, `bnsbench.training.families` and `bnsbench.training.recipes` have their mathematics.
"""

from __future__ import annotations

from bnsbench.contract.choices import Choice, Option

OBJECTIVES = (
    Choice("log-mse", "log-mse", "The mean over samples of log |x_n - x_1|^2: every sample's decibels count alike."),
    Choice("mse", "mse", "The mean squared error of the end states, in which the worst samples count most."),
    Choice("features", "features", "The mean squared error of the model's features: a perceptual loss."),
    Choice("log-features", "log-features", "The error of the features, in which every sample's decibels count alike."),
    Choice("trajectory", "trajectory", "The mean squared error of all states x_1 to x_n against the true trajectory."),
    Choice("log-trajectory", "log-trajectory", "The error of all states, in which every sample's decibels count alike."),
)
"""The objectives of `bnsbench.training.objectives.make_objective`, in the same order."""

FORMS = (
    Choice(
        "soft",
        "soft-OBJECTIVE",
        "LD3's soft teacher: the noise may move a little so that the solver's end comes nearer to the truth.",
        (Option("OBJECTIVE", None, "any other objective"),),
    ),
    Choice("own", "own", "What the paper of ld3, s4s, gs, dss or bst itself trains for; bns has none beside log-mse."),
)
"""What may be written beside the plain objectives."""

_COMMON = (
    Option("objective", "log-mse", "see `bnsbench list objectives`", "what is minimised"),
    Option("optimiser", "gauss-newton", "gauss-newton, adam"),
    Option("derivative", "auto", "backward, forward, difference, auto", "of the network, for Gauss-Newton"),
    Option(
        "pairs",
        0,
        "at least 0",
        "of noise and its end to train on at last; 0 for as many as gain, 512 at most (2,048 in up to 32 dimensions)",
    ),
    Option("iterations", 0, "at least 0", "0 for the default"),
    Option("gain", 0.0, "at least 0", "nats that iterations must gain to go on; 0 for the default"),
    Option("rate", 0.0, "at least 0", "Adam's learning rate; 0 for the default"),
    Option("checkpointed", False, "true, false", "whether activations are computed twice to spare memory"),
    Option("floor", 0.3, "at least 0", "share of the median error below which a sample's error hardly counts"),
)
_RULE = "a classic solver, such as unipc or deis[order=2]"

FAMILIES = (
    Choice(
        "bns",
        "bns[recipe=..., init=..., ...]",
        "Every number of the table is free: times, a and b.",
        (
            Option("recipe", "default", "default, paper", "ours, or the published one"),
            Option("init", "", "greedy, a classic solver, or FILE.json", "what it starts from; the ladder if empty"),
            Option("sigma_0", 1.0, "above 0", "preconditioning of a classic start; above 1 for high guidance only"),
            Option("ladder", "standard", "standard, every, none", "which smaller budgets are trained first"),
            Option("columns", "guided", "guided, split", "whether both answers of a guided network are weighed apart"),
            Option("then", "", "features", "a second stage, for samples that look like the truth at 3 to 5 evaluations"),
            *_COMMON,
        ),
    ),
    Choice(
        "bst",
        "bst[order=..., ...]",
        "Scale and time around Euler's or the midpoint rule.",
        (Option("order", 2, "1, 2", "Euler's rule or the midpoint rule"), *_COMMON),
    ),
    Choice(
        "ld3",
        "ld3[rule=..., decoupled=..., ...]",
        "The times of a classic rule.",
        (
            Option("rule", "best", f"{_RULE}, or best", "the rule whose times are learned"),
            Option("decoupled", False, "true, false", "whether the network is told other times than the rule uses"),
            *_COMMON,
        ),
    ),
    Choice(
        "s4s",
        "s4s[rule=..., alternate=..., ...]",
        "The coefficients of a classic rule on its best grid.",
        (
            Option("rule", "unipc", _RULE, "where the coefficients start"),
            Option("alternate", False, "true, false", "whether the times are learned in turn"),
            *_COMMON,
        ),
    ),
    Choice(
        "gs",
        "gs[rule=..., ...]",
        "The times of a classic rule, and corrections of its coefficients that follow them.",
        (Option("rule", "dpm++3m", _RULE, "the rule that is corrected"), *_COMMON),
    ),
    Choice("dss", "dss[...]", "Times, and multistep weights that sum to one in every step.", _COMMON),
    Choice(
        "tuned",
        "tuned[rules=..., pairs=...]",
        "Nothing but the choice among classic rules and two numbers of a time grid.",
        (
            Option("rules", "", "classic solvers, separated by spaces", "all that are known to be best somewhere if empty"),
            Option("pairs", 8, "at least 4", "of noise and its end to choose by"),
        ),
    ),
)
"""The solvers that are made for a model, with what each of them has to choose."""
