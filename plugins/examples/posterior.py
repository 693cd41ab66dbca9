"""A model plugin: what a simulator's observation says of its parameters, by a flow that the package sbi has trained.

The simulator draws two moons (Greenberg et al. 2019), whose posterior is known. The network is trained when the model is
first used, by flow matching (Wildberger et al. 2023), about a minute of one core, and kept in bnsbench's cache folder.
"""

import hashlib
import math
import sys
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from bnsbench.paths import CondOT
from bnsbench.plugin import Model, ModelSpec, Reference, UsageError, cache_folder, hookimpl, replacing, seeded_random_states

OBSERVATIONS = 256


@hookimpl
def bnsbench_models():
    """Yield the model; the parameters say what it is trained with."""
    yield ModelSpec(
        "posterior",
        ":Posterior",
        "Parameters of a simulator.",
        parameters={"simulations": 8000, "epochs": 150, "seed": 0},
        modality="points",
    )


def simulate(theta, generator):
    """Return observations [n, 2] for parameters theta [n, 2] in [-1, 1]: a point on a half circle, moved by theta."""
    return moon(len(theta), generator) - torch.stack([theta.sum(1).abs(), theta[:, 0] - theta[:, 1]], 1) / math.sqrt(2)


def moon(count, generator):
    """Return points [count, 2] on a blurred half circle about (0.25, 0)."""
    angle = math.pi * (torch.rand(count, generator=generator) - 0.5)
    radius = 0.1 + 0.01 * torch.randn(count, generator=generator)
    return torch.stack([0.25 + radius * angle.cos(), radius * angle.sin()], 1)


def prior(count, generator):
    """Return parameters [count, 2], uniform in [-1, 1]^2."""
    return 2 * torch.rand(count, 2, generator=generator) - 1


def exact(x, generator):
    """Return a parameter [n, 2] of the true posterior for each observation x [n, 2].

    Given the point of the moon, theta is one of two; those outside of the prior are drawn again.
    """
    theta = torch.full_like(x, math.inf)
    while (open_ := (theta.abs() > 1).any(1)).any():
        away = moon(int(open_.sum()), generator) - x[open_]
        sign = torch.where(torch.rand(len(away), generator=generator) < 0.5, -1.0, 1.0)
        total, difference = sign * away[:, 0], away[:, 1]
        drawn = torch.stack([total + difference, total - difference], 1) / math.sqrt(2)
        theta[open_] = torch.where(away[:, :1] >= 0, drawn, math.inf)
    return theta


class Posterior(Model):
    """The posterior of the parameters theta [2], given an observation [2] of simulations that training has not seen.

    sbi's time runs from the noise at 1 to the parameters at 0; its networks tell themselves the time in float32.
    """

    path = CondOT()
    shape = (2,)

    def __init__(self, simulations: int, epochs: int, seed: int) -> None:
        self.estimator = trained(simulations, epochs, seed)
        self.observations = simulate(prior(OBSERVATIONS, stream := torch.Generator().manual_seed(2**32 + seed)), stream)

    def predict(self, t, x, condition):
        velocity = self.estimator.ode_fn(x.float(), condition.float(), 1.0 - t.float().expand(len(x)))
        return -velocity.to(x)

    def conditions(self, indices):
        return self.observations[indices % OBSERVATIONS]

    def fingerprint(self):
        digest = hashlib.sha256(self.observations.numpy().tobytes())
        for name, value in sorted(self.estimator.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()

    def reference(self):
        return Reference(exact(self.observations.repeat(8, 1), torch.Generator().manual_seed(0)))

    def networks(self):
        return (self.estimator,)

    def to(self, device, dtype):
        self.estimator.to(device)
        return super().to(device, dtype)


def trained(simulations, epochs, seed):
    """Return the estimator, from the cache if it was trained before."""
    try:
        from sbi.neural_nets import posterior_flow_nn
    except ImportError as error:
        raise UsageError(
            f"The model posterior is trained by the package sbi, which cannot be imported ({error}): install it by 'pip"
            " install sbi'."
        ) from error
    stream = torch.Generator().manual_seed(seed)
    theta = prior(simulations, stream)
    x = simulate(theta, stream)
    made_by = f"{simulations} {epochs} {seed} {version('sbi')} {torch.__version__}".encode() + Path(__file__).read_bytes()
    file = cache_folder() / "posterior" / f"{hashlib.sha256(made_by).hexdigest()[:16]}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    with seeded_random_states(seed), FileLock(file.with_suffix(".lock")):
        build = posterior_flow_nn("mlp", hidden_features=100, num_layers=5)
        if not file.exists():
            weights = fit(build, theta, x, epochs).state_dict()
            with replacing(file) as temporary:
                save_file({name: value.contiguous().clone() for name, value in weights.items()}, temporary)
        estimator = build(theta, x)
    estimator.load_state_dict(load_file(file))
    return estimator.eval().requires_grad_(False)


def fit(build, theta, x, epochs):
    """Return an estimator trained on parameters theta [n, 2] and their observations x [n, 2]; progress goes to stderr."""
    from sbi.inference import FMPE
    from torch.distributions import Independent, Uniform

    print("Training the posterior, once:", file=sys.stderr)  # noqa: T201
    box = Independent(Uniform(-torch.ones(2), torch.ones(2)), 1)
    with redirect_stdout(sys.stderr):
        learner = FMPE(box, vf_estimator=build, tracker=Silent())
        estimator = learner.append_simulations(theta, x).train(
            max_num_epochs=epochs, stop_after_epochs=epochs, training_batch_size=200, learning_rate=1e-3
        )
        print()  # noqa: T201 - ends the line on which sbi counts epochs
    return estimator


class Silent:
    """A tracker of sbi that keeps nothing, since the usual one writes into the folder where one works."""

    log_dir = None

    def log_metric(self, name, value, step=None):
        """Take a number."""

    def log_metrics(self, metrics, step=None):
        """Take several."""

    def log_params(self, params):
        """Take what training is told."""

    def add_figure(self, name, figure, step=None):
        """Take a picture."""

    def flush(self):
        """Have nothing to write."""
