"""`NonStationaryScheduler`: any non-stationary solver, trained or traced, as a scheduler in a diffusers pipeline."""

from __future__ import annotations

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
from bnsbench.plugin import NonStationarySolver, SolverArtefact, UsageError, combine
from bnsbench_diffusers.schedule import times_of, timesteps_of
from bnsbench_diffusers.schedulers.conventions import noise_ratio, path_of, prediction_type_of, same_path
from bnsbench_diffusers.schedulers.folding import (
    check_grid,
    check_inversion,
    check_pairing,
    is_inverted,
    prediction_type_for,
    rows_in_outputs,
    train_timesteps_for,
)
from bnsbench_diffusers.schedulers.sums import Sums

ALLOWED_CHANGE = 1e-2
"""The part of a state's largest number by which a pipeline may change it between two steps: the rounding of a cast."""


class NonStationaryScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Runs x_{i+1} = a_i x_0 + sum_j b_ij u_j in an unmodified pipeline call: ``pipe.scheduler = ...``, then ``pipe(...)``.

    The configuration, and so ``scheduler_config.json``, holds all of it:
        solver: the table as `NonStationarySolver.to_dict` gives it.
        path, interval: of the field that it was made for, the path as `Path.to_dict` gives it.
        prediction_type: what the pipeline's network predicts: "epsilon", "v_prediction", "sample" or "flow_prediction".
        num_train_timesteps: T of the network's timesteps.
        invert_sigmas: whether the network counts from data to noise, as Mochi's: told T - timestep, it says data - noise.
        name, model, fingerprint, guidance: where the solver comes from; w = guidance_scale - 1.

    It starts from noise and keeps all that it has seen, so it cannot enter in the middle (image to image), and a state
    that something else changes between two steps (inpainting, callbacks) raises UsageError, as does a number of steps other
    than the table's. Sigmas or timesteps that a pipeline passes are looked at for their number and their beginning only,
    since the table has times of its own. Conversions between outputs and velocities are folded into the coefficients
    beforehand, in float64: a step is one matrix product, and waits for no device.
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
        invert_sigmas: bool = False,
    ) -> None:
        if solver is None or path is None:
            raise UsageError("A NonStationaryScheduler needs a solver's table and its path: make it by from_artefact.")
        del name, model, fingerprint, guidance  # kept in the configuration
        self.table = NonStationarySolver.from_dict(solver)
        self.path: Path = path_from_dict(path)
        self.prediction_type, self.train_timesteps, self.begin = prediction_type, num_train_timesteps, float(interval[0])
        check_pairing(self.path, prediction_type, num_train_timesteps)
        self.inverted = invert_sigmas
        check_inversion(invert_sigmas, prediction_type)
        self._rows = rows_in_outputs(self.table, self.path, prediction_type, invert_sigmas)
        self.num_inference_steps = self.table.nfe
        self._step_index, self._warned = 0, False
        self._sums: Sums | None = None
        self._returned: Tensor | None = None
        self._place(torch.device("cpu"))

    @classmethod
    def from_artefact(
        cls, artefact: SolverArtefact | PathLike[str] | str, scheduler: Any = None, *, prediction_type: str | None = None
    ) -> Self:
        """Return the scheduler for a solver or its file.

        scheduler: the one that the pipeline came with, ``pipe.scheduler``; UsageError if the solver is for another path.
        prediction_type: of the pipeline's network, if there is no scheduler to ask; flows need neither.
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
            invert_sigmas=scheduler is not None and is_inverted(scheduler),
        )
        if scheduler is not None:
            made.check(scheduler)
        return made

    def check(self, scheduler: Any) -> None:
        """Raise UsageError unless the networks that ``scheduler`` serves have this one's path and prediction type."""
        theirs, mine = prediction_type_of(scheduler), self.prediction_type
        if theirs != mine:
            raise UsageError(
                f"This scheduler is for networks that predict {mine!r}, but the pipeline's predicts {theirs!r}."
            )
        if is_inverted(scheduler) != self.inverted:
            mine, theirs = ("as usual", "from data to noise (invert_sigmas)")[:: -1 if self.inverted else 1]
            raise UsageError(
                f"This scheduler is for networks that count noise levels {mine}, but the pipeline's counts {theirs}: make "
                "it with the pipeline's own, from_artefact(file, pipe.scheduler)."
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
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Begin anew on a device; UsageError unless the number of steps is the table's.

        sigmas, timesteps: what a pipeline takes for its own grid. The table has times of its own, so that only their number
            and their beginning count; those between are without effect, of which a warning tells once, unless they are
            1, ..., 2/n, 1/n, which flow pipelines pass when nothing was asked for. UsageError if they begin elsewhere.
        mu: the shift that flow pipelines derive from the resolution; likewise without effect.
        """
        del mu
        for given, own in ((sigmas, self.sigmas), (timesteps, self.timesteps)):
            if given is not None:
                num_inference_steps = self._stand_in(np.asarray(given, dtype=np.float64), float(own[0]))
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
        if i == 0:
            self._begin(sample)
        elif sample is not self._returned:
            self._check_unchanged(sample)
        assert self._sums is not None  # noqa: S101 (for the type checker)
        self._returned = found = self._sums.add(i, model_output).to(sample.dtype).view(sample.shape)
        self._step_index = i + 1
        return SchedulerOutput(prev_sample=found) if return_dict else (found,)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the states alpha x1 + sigma eps of the path at these timesteps [batch]."""
        told = self.train_timesteps - timesteps if self.inverted else timesteps
        times = times_of(self.path, told, self.train_timesteps)
        return combine(self.path.alpha(times), original_samples, self.path.sigma(times), noise)

    def __len__(self) -> int:
        return self.train_timesteps

    def _place(self, device: torch.device) -> None:
        """Put onto the device what pipelines look at."""
        times = self.table.times
        timesteps = timesteps_of(self.path, times[:-1], self.train_timesteps)
        sigmas = noise_ratio(self.path, times)
        if self.inverted:
            timesteps, sigmas = self.train_timesteps - timesteps, 1.0 - sigmas
        self.timesteps, self.sigmas = timesteps.to(device, torch.float32), sigmas.to(device, torch.float32)

    def _restart(self) -> None:
        self._step_index, self._returned = 0, None

    def _begin(self, sample: Tensor) -> None:
        """Take the first state, into the memory of the run before if that was for states of this kind."""
        if self._sums is None or not self._sums.serve(sample):
            self._sums = Sums(self._rows, sample)
        self._sums.begin(sample)

    def _stand_in(self, given: np.ndarray[Any, Any], beginning: float) -> int:
        """Return of how many steps a pipeline's own grid is; UsageError if the table cannot stand in for it."""
        steps, usual = check_grid(given, beginning, self.inverted)
        if not usual and steps == self.table.nfe and not self._warned:
            self._warned = True
            warnings.warn(
                "The pipeline passes noise levels of its own, which are without effect: a non-stationary solver has times "
                "of its own.",
                stacklevel=3,
            )
        return steps

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
