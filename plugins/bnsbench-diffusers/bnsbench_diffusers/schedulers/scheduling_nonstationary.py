"""ABOUT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from torch import Tensor

# numbers
NAME = "euler"
NFE = 1
PREDICTION_TYPE = "flow_prediction"
NUM_TRAIN_TIMESTEPS = 1000
INIT_NOISE_SIGMA = 1.0
TIMESTEPS = [1000.0]
SIGMAS = [1.0, 0.0]
ROWS = [[1.0, -1.0]]
MODEL = ""
FINGERPRINT = ""
GUIDANCE = 0.0
# end of numbers

ALLOWED_CHANGE = 1e-2
"""The part of a state's largest number by which a pipeline may change it between two steps: the rounding of a cast."""


class NonStationaryTableScheduler(SchedulerMixin, ConfigMixin):
    """Runs x[i+1] = rows[i] . (x[0], f[0], ..., f[i]) for the outputs f of a pipeline's network.

    The pipeline's code stays as it is. A table starts from noise and keeps all that it has seen, so it cannot enter in the
    middle (image to image), and a state that something else changes between two steps (inpainting, callbacks) is refused,
    as is a number of steps other than the table's, and times of the caller's. A step is one matrix product, and waits for
    no device.

    Args:
        rows: Row i has i + 2 numbers, for the initial state and for i + 1 outputs of the network.
        timesteps: What the network is told, a number for each step.
        sigmas: sigma / alpha before each step and at the end, or sigma of flows.
        init_noise_sigma: The standard deviation of initial states.
        prediction_type: What the network predicts.
        num_train_timesteps: Of the network.
        nfe, name, model, fingerprint, guidance, licence: What the table is, and what for; guidance_scale is guidance + 1.
    """

    order = 1
    refusal: type[Exception] = ValueError
    """What is raised for what the solver cannot do."""
    _step_index: int
    _history: Tensor
    _returned: Tensor | None

    @register_to_config
    def __init__(
        self,
        rows: Sequence[Sequence[float]] = ROWS,
        timesteps: Sequence[float] = TIMESTEPS,
        sigmas: Sequence[float] = SIGMAS,
        init_noise_sigma: float = INIT_NOISE_SIGMA,
        prediction_type: str = PREDICTION_TYPE,
        num_train_timesteps: int = NUM_TRAIN_TIMESTEPS,
        nfe: int = NFE,
        name: str = NAME,
        model: str = MODEL,
        fingerprint: str = FINGERPRINT,
        guidance: float | Sequence[float] = GUIDANCE,
        licence: str = "Apache-2.0",
    ) -> None:
        del prediction_type, name, model, fingerprint, guidance, licence  # kept in the configuration
        padded = [[*row, *[0.0] * (nfe + 1 - len(row))] for row in rows]
        table, told, levels = (torch.tensor(each, dtype=torch.float64) for each in (padded, timesteps, sigmas))
        self._hold(table, told, levels, init_noise_sigma, num_train_timesteps)

    def _hold(
        self, rows: Tensor, timesteps: Tensor, sigmas: Tensor, init_noise_sigma: float, num_train_timesteps: int
    ) -> None:
        """Keep the numbers, float64, the rows [n, n + 1], and begin anew on the CPU."""
        n = len(timesteps)
        if rows.shape != (n, n + 1) or len(sigmas) != n + 1:
            raise self.refusal(f"A table of {n} timesteps has rows [{n}, {n + 1}] and {n + 1} sigmas: this file is damaged.")
        self._rows, self._timesteps, self._sigmas = rows, timesteps, sigmas
        self.num_inference_steps, self.train_timesteps, self._init_noise_sigma = n, num_train_timesteps, init_noise_sigma
        self._restart()
        self._place(torch.device("cpu"))

    @property
    def init_noise_sigma(self) -> float:
        """The standard deviation of the initial states."""
        return self._init_noise_sigma

    @property
    def step_index(self) -> int | None:
        """How many steps have been taken; None before the first."""
        return self._step_index or None

    @property
    def begin_index(self) -> int:
        """Always 0: a table starts from noise."""
        return 0

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Accept 0, with which pipelines from noise begin; any other is refused."""
        if begin_index != 0:
            raise self.refusal(f"A non-stationary solver starts from noise: it cannot begin at step {begin_index}.")

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Begin anew on a device; a number of steps other than the table's is refused.

        sigmas: the table has times of its own, so only 1, ..., 2/n, 1/n is accepted, which many flow pipelines pass when
            nothing was asked for. mu: the shift that flow pipelines derive from the resolution; likewise without effect.
        """
        del mu
        if sigmas is not None:
            n = num_inference_steps = len(sigmas)
            if any(abs(float(sigma) - (1 - i / n)) > 1e-5 for i, sigma in enumerate(sigmas)):
                raise self.refusal("A non-stationary solver has times of its own: call the pipeline without sigmas.")
        if num_inference_steps not in (None, self.num_inference_steps):
            raise self.refusal(
                f"This scheduler's solver spends {self.num_inference_steps} evaluations: call the pipeline with "
                f"num_inference_steps={self.num_inference_steps}, not {num_inference_steps}."
            )
        self._place(torch.device("cpu" if device is None else device))
        self._restart()

    def scale_model_input(self, sample: Tensor, timestep: Tensor | float | None = None) -> Tensor:
        """Return the state as it is: it lies on the network's own path."""
        del timestep
        return sample

    @torch.no_grad()
    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | float,
        sample: Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool | None = None,
        generator: Any = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[Tensor]:
        """Return the next state for the network's output at the state ``sample``, both [batch, ...]; no gradients.

        The timestep is that of the step whose turn it is. Refused are eta other than 0, an output of another shape, a step
        too many, and a state that is not the one that the step before has returned.
        """
        del timestep, generator
        if eta or use_clipped_model_output:
            raise self.refusal("A non-stationary solver is deterministic and does not clip: use eta=0 and no clipping.")
        if model_output.shape != sample.shape:
            shapes = f"{list(model_output.shape)} for a state of shape {list(sample.shape)}"
            raise self.refusal(f"The network's output must be shaped like the state, but it is {shapes}.")
        i, n = self._step_index, self.num_inference_steps
        if i >= n:
            raise self.refusal(f"All {n} steps of this scheduler are taken: call set_timesteps to begin anew.")
        self._keep(i, sample, model_output)
        rows, history = self._running, self._history
        # With a place for its result, the product is out of reach of an autocast that is meant for the network.
        state = torch.mv(history[: i + 2].T, rows[i, : i + 2], out=torch.empty_like(history[0]))
        self._step_index = i + 1
        self._returned = found = state.to(sample.dtype).view(sample.shape)
        return SchedulerOutput(prev_sample=found) if return_dict else (found,)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Refuse: noise is added to begin in the middle, where a table cannot begin."""
        del original_samples, noise, timesteps
        raise self.refusal("A non-stationary solver starts from noise: it cannot begin at a picture, nor fill its gaps.")

    def __len__(self) -> int:
        return self.train_timesteps

    def _place(self, device: torch.device) -> None:
        """Put onto the device what pipelines look at and what steps need."""
        self.timesteps = self._timesteps.to(device, torch.float32)
        self.sigmas = self._sigmas.to(device, torch.float32)
        self._running = self._rows.to(device, torch.float32)

    def _restart(self) -> None:
        self._step_index, self._history, self._returned = 0, torch.empty(0), None

    def _keep(self, i: int, sample: Tensor, model_output: Tensor) -> None:
        """Put the output, and before the first step the state, into the history [n + 1, numbers]."""
        if i == 0:
            precision = torch.promote_types(sample.dtype, torch.float32)
            rows = self._running if precision == torch.float32 else self._rows
            self._running = rows.to(sample.device, precision)
            self._history = torch.empty(len(rows) + 1, sample.numel(), dtype=precision, device=sample.device)
            self._history[0] = sample.reshape(-1)
        elif self._returned is not None and sample is not self._returned:
            self._check_unchanged(sample, self._returned)
        self._history[i + 1] = model_output.reshape(-1)

    def _check_unchanged(self, sample: Tensor, last: Tensor) -> None:
        """Refuse a state that is another than the last; pipelines that only pass it on never come here."""
        if sample.shape == last.shape:
            change = (sample.to(last) - last).abs().max()
            if bool(change <= ALLOWED_CHANGE * last.abs().max()) or not bool(change.isfinite()):
                return
        raise self.refusal(
            "The pipeline has changed the state between two steps, as inpainting and some callbacks do; a non-stationary "
            "solver goes on from all that it has seen, so it cannot follow."
        )
