"""`NonStationaryScheduler`: any non-stationary solver, trained or traced, as a scheduler in a diffusers pipeline."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from torch import Tensor

from bnsbench.paths import Path, path_from_dict
from bnsbench.plugin import (
    NetworkState,
    NonStationarySolver,
    Scope,
    SolverArtefact,
    UsageError,
    adapters_of,
    combine,
    quantisation_of,
    remark,
)
from bnsbench_diffusers.models.loading import denoiser_of
from bnsbench_diffusers.schedule import times_of, timesteps_of
from bnsbench_diffusers.schedulers.conventions import noise_ratio, path_of, prediction_type_of, same_path
from bnsbench_diffusers.schedulers.folding import (
    check_default_sigmas,
    check_pairing,
    prediction_type_for,
    rows_in_outputs,
    train_timesteps_for,
)

ALLOWED_CHANGE = 1e-2
"""The part of a state's largest number by which a pipeline may change it between two steps: the rounding of a cast."""


class NonStationaryScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Runs x_{i+1} = a_i x_0 + sum_j b_ij u_j in an unmodified pipeline call: ``pipe.scheduler = ...``, then ``pipe(...)``.

    The configuration, and so ``scheduler_config.json``, holds all of it:
        solver: the table as `NonStationarySolver.to_dict` gives it.
        path, interval: of the field that it was made for, the path as `Path.to_dict` gives it.
        prediction_type: what the pipeline's network predicts: "epsilon", "v_prediction", "sample" or "flow_prediction".
        num_train_timesteps: T of the network's timesteps.
        name, model, fingerprint, guidance, network: where the solver comes from; w = guidance_scale - 1.

    It starts from noise and keeps all that it has seen, so it cannot enter in the middle (image to image), and a state
    that something else changes between two steps (inpainting, callbacks) raises UsageError, as does a number of steps other
    than the table's. Conversions between outputs and velocities are folded into the coefficients beforehand, in float64: a
    step is one matrix product, and waits for no device.
    """

    order = 1

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        solver: Mapping[str, Any] | None = None,
        path: Mapping[str, Any] | None = None,
        interval: Sequence[float] = (0.0, 1.0),
        prediction_type: str = "epsilon",
        num_train_timesteps: int = 1000,
        name: str = "",
        model: str = "",
        fingerprint: str = "",
        guidance: float | Sequence[float] = 0.0,
        network: Mapping[str, Any] | None = None,
    ) -> None:
        if solver is None or path is None:
            raise UsageError("A NonStationaryScheduler needs a solver's table and its path: make it by from_artefact.")
        del name, fingerprint  # kept in the configuration
        scales = guidance if isinstance(guidance, Sequence) else [guidance]
        self.scope = Scope(model, "", tuple(map(float, scales)), NetworkState.from_dict(network or {}))
        self.strict, self._measured, self._remarks = False, {}, set[str]()
        self.table = NonStationarySolver.from_dict(solver)
        self.path: Path = path_from_dict(path)
        self.prediction_type, self.train_timesteps, self.begin = prediction_type, num_train_timesteps, float(interval[0])
        check_pairing(self.path, prediction_type, num_train_timesteps)
        self._rows = rows_in_outputs(self.table, self.path, prediction_type)
        self.num_inference_steps = self.table.nfe
        self._step_index, self._history = 0, torch.empty(0)
        self._returned: Tensor | None = None
        self._place(torch.device("cpu"))

    @classmethod
    def from_artefact(
        cls,
        artefact: SolverArtefact | PathLike[str] | str,
        scheduler: Any = None,
        *,
        prediction_type: str | None = None,
        pipeline: Any = None,
        strict: bool = False,
    ) -> Self:
        """Return the scheduler for a solver or its file.

        scheduler: the one that the pipeline came with, ``pipe.scheduler``; UsageError if the solver is for another path.
        prediction_type: of the pipeline's network, if there is no scheduler to ask; flows need neither.
        pipeline: that it will serve, whose network is looked at as `check_scope` does.
        strict: whether to refuse samples of another size, and another network, which is a warning otherwise.
        """
        if not isinstance(artefact, SolverArtefact):
            artefact = SolverArtefact.load(str(artefact))
        predicted = prediction_type_for(artefact.path, scheduler, prediction_type)
        guidance = artefact.guidance
        made: Self = cls(
            solver=artefact.solver.to_dict(),
            path=artefact.path.to_dict(),
            interval=list(artefact.interval),
            prediction_type=predicted,
            num_train_timesteps=train_timesteps_for(artefact.path, scheduler),
            name=artefact.name,
            model=artefact.model,
            fingerprint=artefact.fingerprint,
            guidance=list(guidance) if isinstance(guidance, tuple) else guidance,
            network=artefact.network.to_dict() or None,
        )
        made.strict, made._measured = strict, artefact.training
        if scheduler is not None:
            made.check(scheduler)
        if pipeline is not None:
            made.check_scope(pipeline)
        return made

    def check_scope(self, pipeline: Any, guidance_scale: float | None = None) -> None:
        """Warn once where a pipeline is not what the solver was trained for; UsageError if the scheduler is strict.

        Looked at are the precision of its denoiser, how it is quantised, and its active adapters with their scales.

        pipeline: as it will be called. guidance_scale: with which it will be called, w + 1; not looked at if None.
        """
        network = denoiser_of(pipeline)
        dtype = str(network.dtype).removeprefix("torch.")
        state = NetworkState(None, dtype, quantisation_of(network), adapters_of(network))
        self._tell(Scope(guidance=() if guidance_scale is None else (guidance_scale - 1.0,), network=state))

    def check(self, scheduler: Any) -> None:
        """Raise UsageError unless the networks that ``scheduler`` serves have this one's path and prediction type."""
        theirs, mine = prediction_type_of(scheduler), self.prediction_type
        if theirs != mine:
            raise UsageError(
                f"This scheduler is for networks that predict {mine!r}, but the pipeline's predicts {theirs!r}."
            )
        if not same_path(self.path, path_of(scheduler)):
            raise UsageError(
                f"The solver was made for another path than the pipeline's: a {self.path.name!r} path with other noise "
                f"levels than those of its {type(scheduler).__name__}."
            )

    @property
    def init_noise_sigma(self) -> float:
        """The standard deviation of the initial states."""
        return float(self.path.sigma(self.begin))

    @property
    def step_index(self) -> int | None:
        """How many steps have been taken; None before the first."""
        return self._step_index or None

    @property
    def begin_index(self) -> int:
        """Always 0: a table starts from noise."""
        return 0

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Accept 0, with which pipelines from noise begin; UsageError for any other."""
        if begin_index != 0:
            raise UsageError(f"A non-stationary solver starts from noise: it cannot begin at step {begin_index}.")

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Begin anew on a device; UsageError unless the number of steps is the table's.

        sigmas: the table has times of its own, so only 1, ..., 2/n, 1/n is accepted, which many flow pipelines pass when
            nothing was asked for. mu: the shift that flow pipelines derive from the resolution; likewise without effect.
        """
        del mu
        if sigmas is not None:
            check_default_sigmas(np.asarray(sigmas, dtype=np.float64))
            num_inference_steps = len(sigmas)
        if num_inference_steps not in (None, self.table.nfe):
            raise UsageError(
                f"This scheduler's solver spends {self.table.nfe} evaluations: call the pipeline with "
                f"num_inference_steps={self.table.nfe}, not {num_inference_steps}."
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

        The timestep is that of the step whose turn it is. UsageError for eta other than 0, an output of another shape, a
        step too many, and a state that is not the one that the step before has returned.
        """
        del timestep, generator
        if eta or use_clipped_model_output:
            raise UsageError("A non-stationary solver is deterministic and does not clip: use eta=0 and no clipping.")
        if model_output.shape != sample.shape:
            shapes = f"{list(model_output.shape)} for a state of shape {list(sample.shape)}"
            raise UsageError(f"The network's output must be shaped like the state, but it is {shapes}.")
        i = self._step_index
        if i >= self.table.nfe:
            raise UsageError(f"All {self.table.nfe} steps of this scheduler are taken: call set_timesteps to begin anew.")
        self._keep(i, sample, model_output)
        rows, history = self._running, self._history
        # With a place for its result, the product is out of reach of an autocast that is meant for the network.
        state = torch.mv(history[: i + 2].T, rows[i, : i + 2], out=torch.empty_like(history[0]))
        self._step_index = i + 1
        self._returned = found = state.to(sample.dtype).view(sample.shape)
        return SchedulerOutput(prev_sample=found) if return_dict else (found,)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the states alpha x1 + sigma eps of the path at these timesteps [batch]."""
        times = times_of(self.path, timesteps, self.train_timesteps)
        return combine(self.path.alpha(times), original_samples, self.path.sigma(times), noise)

    def __len__(self) -> int:
        return self.train_timesteps

    def _place(self, device: torch.device) -> None:
        """Put onto the device what pipelines look at and what steps need."""
        times = self.table.times
        self.timesteps = timesteps_of(self.path, times[:-1], self.train_timesteps).to(device, torch.float32)
        self.sigmas = noise_ratio(self.path, times).to(device, torch.float32)
        self._running = self._rows.to(device, torch.float32)

    def _restart(self) -> None:
        self._step_index, self._history, self._returned = 0, torch.empty(0), None

    def _keep(self, i: int, sample: Tensor, model_output: Tensor) -> None:
        """Put the output, and before the first step the state, into the history [n + 1, numbers]."""
        if i == 0:
            self._check_size(sample)
            precision = torch.promote_types(sample.dtype, torch.float32)
            rows = self._running if precision == torch.float32 else self._rows
            self._running = rows.to(sample.device, precision)
            self._history = torch.empty(self.table.nfe + 1, sample.numel(), dtype=precision, device=sample.device)
            self._history[0] = sample.reshape(-1)
        elif sample is not self._returned:
            self._check_unchanged(sample)
        self._history[i + 1] = model_output.reshape(-1)

    def _check_size(self, sample: Tensor) -> None:
        """Tell of samples of another size than those that the table was trained for; pipelines may pack their sides."""
        shape = self.scope.network.shape
        if shape is not None and math.prod(shape) != sample[0].numel():
            self._tell(Scope(network=NetworkState(tuple(sample.shape[1:]))))

    def _tell(self, used: Scope) -> None:
        """Warn of what differs where the table is used, of each difference once."""
        found = remark(self.scope, used, self._measured, self.strict)
        if found and found not in self._remarks:
            self._remarks.add(found)
            warnings.warn(found, stacklevel=3)

    def _check_unchanged(self, sample: Tensor) -> None:
        """Raise UsageError if the state is another than the last; pipelines that only pass it on never come here."""
        assert self._returned is not None  # noqa: S101 (for the type checker)
        last = self._returned
        if sample.shape == last.shape:
            change = (sample.to(last) - last).abs().max()
            if bool(change <= ALLOWED_CHANGE * last.abs().max()) or not bool(change.isfinite()):
                return
        raise UsageError(
            "The pipeline has changed the state between two steps, as inpainting and some callbacks do; a non-stationary "
            "solver goes on from all that it has seen, so it cannot follow."
        )
