"""How a network is asked: what it predicts, in which order it takes time and states, and how it counts time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bnsbench.flows.paths import DiscreteVP, Path
from bnsbench.flows.predictions import Prediction, per_sample

Network = Callable[..., Tensor]
"""From time and states, in the order of its `Calling`, and the condition [batch, ...], if there is any, to a prediction."""

Clock = Literal["0 to 1", "1 to 0", "sigma", "timestep"]
"""How time is told: as t, from noise to data; as 1 - t; as the noise sigma / alpha; as a timestep of a DDPM schedule."""


@dataclass(frozen=True)
class Calling:
    """The convention by which a network is called.

    prediction: what it returns. clock: how it is told the time. A velocity takes time first, ``velocity(t, x)``, anything
    else takes the states first, as ``denoiser(x, sigma)`` and ``epsilon(x, timestep)`` do.
    """

    prediction: Prediction = "velocity"
    clock: Clock = "0 to 1"

    @property
    def words(self) -> str:
        """Return how the network is called, for sentences."""
        if self.prediction == "velocity":
            return "velocity(t, x)"
        time = {"sigma": "sigma", "timestep": "timestep"}.get(self.clock, "t")
        return f"{'denoiser' if self.clock == 'sigma' else self.prediction}(x, {time})"

    def arguments(self, path: Path, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network gets, in its order.

        Args:
            path: Of the model.
            t: Times [batch], in float64.
            x: States [batch, *shape] in the network's precision.
        """
        if self.clock == "sigma":
            # In the coordinates of variance-exploding diffusions, x = data + sigma noise.
            alpha, sigma = path.alpha(t), path.sigma(t)
            x, time = x / per_sample(alpha, x), sigma / alpha
        elif self.clock == "timestep" and isinstance(path, DiscreteVP):
            time = path.timestep(t)
        else:
            time = 1.0 - t if self.clock == "1 to 0" else t
        # Numbers up to 1,000 are not told apart by half precision, and networks embed them in float32 anyway.
        precision = x.dtype if self.prediction == "velocity" else torch.promote_types(x.dtype, torch.float32)
        told = time.to(x.device, precision)
        return (told, x) if self.prediction == "velocity" else (x, told)

    def read(self, answer: Tensor) -> Tensor:
        """Return the prediction that an answer stands for: dx/ds for s = 1 - t is a velocity with the other sign."""
        return -answer if self.prediction == "velocity" and self.clock == "1 to 0" else answer
