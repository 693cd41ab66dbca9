"""`NonStationaryScheduler`: any non-stationary solver, trained or traced, as a scheduler in a diffusers pipeline."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self

from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin
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
    check_pairing,
    is_inverted,
    prediction_type_for,
    rows_in_outputs,
    train_timesteps_for,
)
from bnsbench_diffusers.schedulers.scheduling_nonstationary import NonStationaryTableScheduler


# When a pipeline is loaded, diffusers looks for SchedulerMixin among the names of the module in which its scheduler is.
class NonStationaryScheduler(NonStationaryTableScheduler, SchedulerMixin):  # type: ignore[misc]
    """Runs x_{i+1} = a_i x_0 + sum_j b_ij u_j in an unmodified pipeline call: ``pipe.scheduler = ...``, then ``pipe(...)``.

    The configuration, and so ``scheduler_config.json``, holds all of it:
        solver: the table as `NonStationarySolver.to_dict` gives it.
        path, interval: of the field that it was made for, the path as `Path.to_dict` gives it.
        prediction_type: what the pipeline's network predicts: "epsilon", "v_prediction", "sample" or "flow_prediction".
        num_train_timesteps: T of the network's timesteps.
        name, model, fingerprint, guidance, network: where the solver comes from; w = guidance_scale - 1.
        invert_sigmas: whether the network counts from data to noise, as Mochi's: told T - timestep, it says data - noise.

    Its steps, and what it refuses, by UsageError, are those of `NonStationaryTableScheduler`: conversions between outputs
    and velocities are folded into the coefficients beforehand, in float64.
    """

    refusal = UsageError

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
        invert_sigmas: bool = False,
    ) -> None:
        if solver is None or path is None:
            raise UsageError("A NonStationaryScheduler needs a solver's table and its path: make it by from_artefact.")
        del name, fingerprint  # kept in the configuration
        scales = guidance if isinstance(guidance, Sequence) else [guidance]
        self.scope = Scope(model, "", tuple(map(float, scales)), NetworkState.from_dict(network or {}))
        self.strict, self._remarks = False, set[str]()
        self._measured: Mapping[str, Any] = {}
        self.table = NonStationarySolver.from_dict(solver)
        self.path: Path = path_from_dict(path)
        self.prediction_type = prediction_type
        self.inverted = invert_sigmas
        check_pairing(self.path, prediction_type, num_train_timesteps, invert_sigmas)
        timesteps = timesteps_of(self.path, self.table.times[:-1], num_train_timesteps)
        sigmas = noise_ratio(self.path, self.table.times)
        self._hold(
            rows_in_outputs(self.table, self.path, prediction_type, invert_sigmas),
            num_train_timesteps - timesteps if invert_sigmas else timesteps,
            1.0 - sigmas if invert_sigmas else sigmas,
            float(self.path.sigma(float(interval[0]))),
            num_train_timesteps,
        )

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
            invert_sigmas=scheduler is not None and is_inverted(scheduler),
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

    def numbers(self) -> dict[str, Any]:
        """Return the arguments with which `NonStationaryTableScheduler` takes the same steps, as plain data."""
        return {
            "rows": [row[: i + 2] for i, row in enumerate(self._rows.tolist())],
            "timesteps": self._timesteps.tolist(),
            "sigmas": self._sigmas.tolist(),
            "init_noise_sigma": self.init_noise_sigma,
            "prediction_type": self.prediction_type,
            "num_train_timesteps": self.train_timesteps,
            "nfe": self.table.nfe,
            **{key: self.config[key] for key in ("name", "model", "fingerprint", "guidance")},
        }

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the states alpha x1 + sigma eps of the path at these timesteps [batch]."""
        told = self.train_timesteps - timesteps if self.inverted else timesteps
        times = times_of(self.path, told, self.train_timesteps)
        return combine(self.path.alpha(times), original_samples, self.path.sigma(times), noise)

    def _begin(self, sample: Tensor) -> None:
        self._check_size(sample)
        super()._begin(sample)

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
