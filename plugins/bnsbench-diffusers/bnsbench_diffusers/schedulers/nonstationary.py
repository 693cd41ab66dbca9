"""`NonStationaryScheduler`: any non-stationary solver, trained or traced, as a scheduler in a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self

from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor

from bnsbench.paths import Path, path_from_dict
from bnsbench.plugin import NonStationarySolver, SolverArtefact, UsageError, combine
from bnsbench_diffusers.schedule import times_of, timesteps_of
from bnsbench_diffusers.schedulers.conventions import noise_ratio, path_of, prediction_type_of, same_path
from bnsbench_diffusers.schedulers.folding import (
    check_pairing,
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
        name, model, fingerprint, guidance: where the solver comes from; w = guidance_scale - 1.

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
    ) -> None:
        if solver is None or path is None:
            raise UsageError("A NonStationaryScheduler needs a solver's table and its path: make it by from_artefact.")
        del name, model, fingerprint, guidance  # kept in the configuration
        self.table = NonStationarySolver.from_dict(solver)
        self.path: Path = path_from_dict(path)
        self.prediction_type = prediction_type
        check_pairing(self.path, prediction_type, num_train_timesteps)
        self._hold(
            rows_in_outputs(self.table, self.path, prediction_type),
            timesteps_of(self.path, self.table.times[:-1], num_train_timesteps),
            noise_ratio(self.path, self.table.times),
            float(self.path.sigma(float(interval[0]))),
            num_train_timesteps,
        )

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
        times = times_of(self.path, timesteps, self.train_timesteps)
        return combine(self.path.alpha(times), original_samples, self.path.sigma(times), noise)
