"""What a solver is trained for: residuals of every sample, and how their mean squares add up to one loss.

With e_s = |r_s|^2 / m the mean square of a sample's m residuals and w_s its weight (all weights sum to one), the loss is
sum_s w_s log (e_s + f) ("log-" objectives: every sample's decibels count alike) or log sum_s w_s e_s (the others: the
logarithm of the mean, so that losses are nats in both cases and their differences are relative). Optimisers know nothing
else.

The floor f is what keeps the logarithm off its cusps: where a sample can be hit exactly, least squares with weights 1 / e_s
hits one, and no later step helps. Descents lower it on the way (`bnsbench.training.floor`). Samples far below it count no
more, so it is also the knob between the mean of decibels (f = 0) and the mean squared error (f large).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.process.parts import EXTRACTOR, Parts
from bnsbench.process.ranks import team
from bnsbench.training.problem import Cost, Features
from bnsbench.truth.pairs import Pairs

SMALLEST_ERROR = 1e-28
"""Mean squares below this are taken for it, so that an exact solver has a finite loss."""

SOFT = "soft-"
"""Before an objective's name, it adds LD3's soft teacher."""


def count_features(features: Features | None, cost: Cost) -> Features | None:
    """Return the features with every sample that passes through them counted: one forwards, and two on the way back."""
    if features is None:
        return None

    def add(samples: int) -> None:
        cost.features += samples

    def counting(x: Tensor) -> Tensor:
        team().count(add, len(x) * (3 if torch.is_grad_enabled() and x.requires_grad else 1))
        return features(x)

    return counting


class Objective(ABC):
    """An objective of training.

    name: as users write it. logarithmic: whether samples count by the logarithm of their errors.
    """

    whole = False
    """Whether residuals look at all states x_1 .. x_n of a solver; else they look at x_n alone."""
    exact_end = False
    """Whether the residuals are x_n - x_1, so that a table's last row has a closed form."""

    def __init__(self, name: str, logarithmic: bool) -> None:
        self.name = name
        self.logarithmic = logarithmic
        self.parts = Parts()
        """How many samples are taken at once, where a graph of their residuals is kept."""

    @property
    def soft(self) -> bool:
        """Whether the soft teacher goes with it, so that a student may start a little off the teacher's noise."""
        return self.name.startswith(SOFT)

    @abstractmethod
    def residuals(self, pairs: Pairs, states: Tensor, times: Tensor) -> Tensor:
        """Return the residuals [N, m], differentiable in states [1 or n, N, d] and their times [1 or n, N]."""

    def errors(self, pairs: Pairs, states: Tensor, times: Tensor) -> Tensor:
        """Return the mean squared residuals e_s [N] in float64."""
        return self.residuals(pairs, states, times).double().square().mean(1)

    def loss(self, errors: Tensor, weights: Tensor, floor: float = 0.0) -> Tensor:
        """Return the loss in nats (0-d).

        Args:
            errors: e_s [N].
            weights: w_s [N], summing to one.
            floor: f, an error; objectives that are not logarithmic have none.
        """
        errors = errors.clamp_min(SMALLEST_ERROR)
        return (weights * (errors + floor).log()).sum() if self.logarithmic else (weights * errors).sum().log()

    def importance(self, errors: Tensor, weights: Tensor, floor: float = 0.0) -> Tensor:
        """Return d loss / d e_s [N], by which least squares reweights each sample; arguments as for `loss`."""
        errors = errors.clamp_min(SMALLEST_ERROR)
        return weights / (errors + floor) if self.logarithmic else weights / (weights * errors).sum()


class EndError(Objective):
    """r_s = x_n - x_1: the log MSE of Shaul et al. 2024, Eq. 13, or the plain MSE."""

    exact_end = True

    def residuals(self, pairs: Pairs, states: Tensor, times: Tensor) -> Tensor:
        del times
        return states[-1] - pairs.x1.flatten(1).to(states)


class FeatureError(Objective):
    """r_s = phi(x_n) - phi(x_1) for features phi: a perceptual loss, as LD3, S4S and GS use LPIPS."""

    def __init__(
        self, name: str, logarithmic: bool, features: Features, notice: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(name, logarithmic)
        self.parts = Parts(notice=notice, what=EXTRACTOR)
        self._features = features
        # Of all samples, and of those that are this process's share: what is known has to be the same in all processes.
        self._known: dict[bool, list[tuple[Tensor, Tensor]]] = {False: [], True: []}

    def residuals(self, pairs: Pairs, states: Tensor, times: Tensor) -> Tensor:
        del times
        end = states[-1].reshape(pairs.x1.shape).to(pairs.x1.dtype)
        if torch.is_grad_enabled() and end.requires_grad:
            return self._features(end).flatten(1) - self._targets(pairs.x1)
        return self._of(end) - self._targets(pairs.x1)

    def _targets(self, truth: Tensor) -> Tensor:
        """Return the features of true end states, computed once for each of the few sets in use."""
        mine = team().sharing
        for known, features in self._known[False] if mine else []:
            rows = _rows_within(truth, known)
            if rows is not None:
                return features[rows]
        for known, features in self._known[mine]:
            if known.shape == truth.shape and known.data_ptr() == truth.data_ptr():
                return features
        with torch.no_grad():
            features = self._of(truth)
        self._known[mine] = [*self._known[mine][-3:], (truth, features)]
        return features

    def _of(self, states: Tensor) -> Tensor:
        """Return the features of states of which no graph is kept."""
        return torch.cat(self.parts.each("values", len(states), lambda part: self._features(states[part]).flatten(1)))


def _rows_within(part: Tensor, whole: Tensor) -> slice | None:
    """Return which rows of a contiguous tensor another one is a view of, None if it is none."""
    size, storages = whole[:1].numel(), [each.untyped_storage().data_ptr() for each in (part, whole)]
    offset = part.storage_offset() - whole.storage_offset()
    alike = part.shape[1:] == whole.shape[1:] and part.is_contiguous() and whole.is_contiguous()
    if not alike or storages[0] != storages[1] or offset < 0 or offset % size:
        return None
    first = offset // size
    return slice(first, first + len(part)) if first + len(part) <= len(whole) else None


class TrajectoryError(Objective):
    """r_s = (x_i - x*(t_i)) for i = 1 .. n: every state against the true trajectory at its time, as DSS trains."""

    whole = True

    def residuals(self, pairs: Pairs, states: Tensor, times: Tensor) -> Tensor:
        if pairs.trajectory is None:
            raise NotApplicableError("Matching trajectories needs pairs with their ground-truth trajectories.")
        along = [state - pairs.trajectory.along(t).flatten(1).to(state) for state, t in zip(states, times, strict=True)]
        return torch.cat(along, dim=1)


OBJECTIVES = ("log-mse", "mse", "features", "log-features", "trajectory", "log-trajectory")
"""The names."""

LOG_MSE = EndError("log-mse", logarithmic=True)
"""The objective of the paper (Shaul et al. 2024, Eq. 13)."""


def make_objective(name: str, features: Features | None, notice: Callable[[str], None] | None = None) -> Objective:
    """Return the objective of a name.

    Args:
        name: of `OBJECTIVES`, with "soft-" before it or not; the residuals are the same.
        features: for the perceptual objectives, which compare states by them.
        notice: hears that these are taken in parts because of memory.

    Raises:
        UsageError: for an unknown name.
        NotApplicableError: for a perceptual objective without features.
    """
    plain = name.removeprefix(SOFT)
    if plain not in OBJECTIVES:
        raise UsageError(
            f"There is no objective {name!r}; choose from {', '.join(OBJECTIVES)}, with {SOFT!r} before it or not."
        )
    logarithmic, kind = plain.startswith("log-"), plain.removeprefix("log-")
    if kind == "mse":
        return EndError(name, logarithmic)
    if kind == "trajectory":
        return TrajectoryError(name, logarithmic)
    if features is None:
        raise NotApplicableError(f"The objective {name!r} needs a feature extractor, and this model has none.")
    return FeatureError(name, logarithmic, features, notice)
