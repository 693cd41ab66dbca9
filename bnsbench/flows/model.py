"""The model: a frozen prediction on a Gaussian path, with its conditions, its decoding and its data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from bnsbench.contract.returned import states, whole
from bnsbench.errors import NotApplicableError, UsageError, raised_by
from bnsbench.flows.features import SampleFeatures
from bnsbench.flows.fields import in_parts
from bnsbench.flows.guidance import Guidance, check_scale, unguided
from bnsbench.flows.judge import ConditionJudge
from bnsbench.flows.network_state import NetworkState, state_of
from bnsbench.flows.paths import Path
from bnsbench.flows.precision import times_on
from bnsbench.flows.predictions import Prediction, check_prediction, per_sample, singularity, to_velocity
from bnsbench.process import clock
from bnsbench.process.parts import Parts


@dataclass(frozen=True)
class Reference:
    """Real data for distribution metrics: images [n, C, H, W] in [-1, 1] (or waveforms) and their labels [n], if any."""

    samples: Tensor
    labels: Tensor | None = None


class Model(ABC):
    """A frozen generative model; subclass it and implement `predict` and `fingerprint` to add one.

    The other methods are what a model may have besides: conditions and guidance, texts, decoding, real data, features of
    its samples and a judge of its conditions. The version of its record has to change with features and judge as well as
    with weights, because a run reuses what it has measured and trained for the same version.

    Attributes:
        path: The Gaussian path on which it was trained.
        shape: One sample's shape in the space where the ODE lives.
        prediction: What `predict` returns.
        interval: The times on which it may be evaluated; epsilon-VP networks end at 1 - 1e-3.
        linear_guidance: Whether guidance mixes its answers as (1 + w) f(x | c) - w f(x) at all times, with the w that it is
            asked for; where it does not, no table can weigh them apart.
        jumps: Times at which its velocity jumps, as where one network takes over from another; at such a time itself it is
            the one before. The ground truth makes no step across them.
        data_range: Peak-to-peak range of the data, which PSNR uses.
        dtype: The precision in which it is meant to be used; states of the ODE are kept in at least float32.
        device: Where it lies, as `to` was told; "" if nobody has told it. States may lie elsewhere.
        sample_rate: Of decoded waveforms, [batch, samples] or [batch, channels, samples], in Hz; None for models of
            anything but sound.
    """

    path: Path
    shape: tuple[int, ...]
    prediction: Prediction = "velocity"
    interval: tuple[float, float] = (0.0, 1.0)
    linear_guidance: bool = True
    jumps: tuple[float, ...] = ()
    data_range: float = 2.0
    dtype: torch.dtype = torch.float32
    device: str = ""
    sample_rate: int | None = None

    @abstractmethod
    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        """Return the network's prediction, of the type that ``prediction`` names.

        Args:
            t: Time, 0-d or [batch].
            x: States [batch, *shape] in the model's dtype.
            condition: Conditions [batch, ...], those of `null_condition` among them under guidance; None if unconditional.

        Returns:
            The prediction, shaped like x.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hexadecimal hash of everything that determines `predict`: weights, parameters, path."""

    def networks(self) -> tuple[nn.Module, ...]:
        """Return the modules whose weights `predict` uses, of which quantisation and adapters are told; () if unsaid."""
        return ()

    def network_state(self) -> NetworkState:
        """Return what the network is besides its weights, which tables are trained for as well; see `NetworkState`."""
        return state_of(self.shape, self.dtype, self.networks())

    def conditions(self, indices: Tensor) -> Tensor | None:
        """Return the conditions of the samples with these indices, the same for every solver; None if unconditional."""
        del indices
        return None

    def null_condition(self, condition: Tensor) -> Tensor:
        """Return what stands for 'no condition' in place of ``condition``; required for guidance."""
        del condition
        raise NotApplicableError(f"{type(self).__name__} has no unconditional prediction, so guidance needs w = 0.")

    def describe(self, text: str, **details: int) -> Tensor:
        """Return the condition [...] of one sample that a text asks for.

        Args:
            text: What to make.
            details: What else the model can be told, such as ``voice=2`` of speech; see `check_details`.

        Raises:
            UsageError: The model does not understand the text or a detail.
            NotApplicableError: It is not told by texts what to make.
        """
        del text, details
        raise NotApplicableError(f"{type(self).__name__} is not told by a text what to make.")

    def texts(self, condition: Tensor) -> list[str] | None:
        """Return the texts that conditions [batch, ...] stand for; None unless the model reads text."""
        del condition
        return None

    def decode(self, x: Tensor) -> Tensor:
        """Return what metrics look at, such as images [batch, C, H, W] in [-1, 1], for end states x [batch, *shape]."""
        return x

    def modality(self, declared: str) -> str:
        """Return what it generates: "audio" if it has a sample rate, else what its record declares.

        One record may stand for pipelines of pictures and of sound.
        """
        return declared if self.sample_rate is None else "audio"

    def reference(self) -> Reference | None:
        """Return real data for distribution metrics, or None if there is none."""
        return None

    def features(self) -> SampleFeatures | None:
        """Return the feature extractor that knows its samples, for distances and perceptual objectives; None if it has none.

        It is asked for often, so weights are loaded once.
        """
        return None

    def judge(self) -> ConditionJudge | None:
        """Return what tells whether its samples satisfy their conditions, or None if nothing does."""
        return None

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Return the model on that device and in that precision (itself, moved)."""
        self.dtype, self.device = dtype, str(device)
        return self

    def recompute(self, on: bool) -> bool:
        """Let the network keep few activations for a backward pass, and compute the others once more, or let it keep all.

        Args:
            on: Whether activations are computed once more.

        Returns:
            Whether it can do so; False where ``on`` changes nothing.
        """
        del on
        return False

    def forwards_per_evaluation(self, guidance: Guidance) -> int:
        """Network forwards that one evaluation of the guided field costs per sample."""
        return 1 if unguided(guidance) else 2

    def guided(self, t: Tensor, x: Tensor, condition: Tensor | None, guidance: Guidance) -> Tensor:
        """Return the guided prediction (1 + w) f(x | condition) - w f(x), in one batch of twice the size.

        It is exact for every type of prediction: the velocity is affine in the prediction, and the weights 1 + w and -w sum
        to one, so that a guided prediction is a guided velocity.

        Args:
            t: Time, 0-d or [batch].
            x: States [batch, *shape] in the model's dtype.
            condition: Conditions [batch, ...], or None.
            guidance: The scale w, or one for each sample [batch].

        Returns:
            The prediction, shaped like x; of a network below float32, in float32 where two answers are weighed.

        Raises:
            NotApplicableError: If w is not 0 and the model is unconditional.
        """
        # w = 0: the conditional network alone, at half the cost.
        if unguided(guidance):
            return self.predict(t, x, condition)
        if condition is None:
            raise NotApplicableError(f"{type(self).__name__} is unconditional, so guidance needs w = 0, not {guidance}.")
        return self.mixed(*self.answers(t, x, condition), guidance)

    def mixed(self, with_condition: Tensor, without: Tensor, guidance: Guidance) -> Tensor:
        """Return the guided prediction that both answers of the network make, (1 + w) f(x | condition) - w f(x).

        Args:
            with_condition: f(x | condition) [batch, ...].
            without: f(x), of the same shape.
            guidance: The scale w, or one for each sample [batch].
        """
        # f + (1 + w) (f_cond - f) = (1 + w) f_cond - w f, in at least float32: the weights are larger than one, and so would
        # be the rounding of both answers. Torch takes no weight that is a number in bfloat16 either.
        precision = torch.promote_types(without.dtype, torch.float32)
        ends = without.to(precision), with_condition.to(precision)
        if isinstance(guidance, Tensor):
            return torch.lerp(*ends, per_sample(1.0 + guidance, ends[0]))
        return torch.lerp(*ends, 1.0 + guidance)

    def answers(self, t: Tensor, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predictions f(x | condition) and f(x), both [batch, ...], by one call with a batch of twice the size.

        Args:
            t: Time, 0-d or [batch].
            x: States [batch, *shape] in the model's dtype.
            condition: Conditions [batch, ...].

        Raises:
            NotApplicableError: If the model has no unconditional prediction.
        """
        both = torch.cat([condition, self.null_condition(condition)])
        time = t if t.ndim == 0 else torch.cat([t, t])
        with_condition, without = self.predict(time, torch.cat([x, x]), both).chunk(2)
        return with_condition, without

    def field(self, condition: Tensor | None, guidance: Guidance = 0.0) -> ModelField:
        """Return the velocity field for a batch with these conditions."""
        return ModelField(self, condition, guidance)


def check_details(details: Collection[str], known: Collection[str] = ()) -> None:
    """Raise UsageError if `Model.describe` was given details that the model does not know."""
    strange = [name for name in details if name not in known]
    if strange:
        told = f"besides a text it takes {', '.join(known)}" if known else "it is told by a text alone"
        raise UsageError(f"The model cannot be told a {strange[0]}: {told}.")


def _counted(x: Tensor) -> AbstractContextManager[None]:
    """Return a block whose time counts as that of a network; inside torch.compile there is no time to count."""
    return nullcontext() if torch.compiler.is_compiling() else clock.network(x.device)


_Evaluate = Callable[[Tensor, Tensor, Tensor | None, Guidance], Tensor]
"""From t, x, conditions and guidance of some samples, all where the network lies, to their velocities."""


class ModelField:
    """A model's velocity under classifier-free guidance, u_w = (1 + w) u_cond - w u_uncond (Ho & Salimans 2022).

    One guided evaluation is one NFE and two network forwards (``forwards_per_evaluation``). The network gets states in the
    model's own precision; the velocity comes back in that of the states.

    Args:
        model: The model.
        condition: The conditions [batch, ...] of this batch, or None.
        guidance: The scale w, or one for each sample [batch]. w = 0 is the conditional model; w + 1 is the
            ``guidance_scale`` of diffusers.
        parts: How many samples the network takes at once; found by trying if not given.

    Raises:
        UsageError: The model names a type of prediction that does not exist.
    """

    def __init__(self, model: Model, condition: Tensor | None, guidance: Guidance = 0.0, parts: Parts | None = None) -> None:
        with raised_by("model"):
            check_prediction(model.prediction)
        self.parts = parts or Parts()
        self.model = model
        self.condition = condition
        self.guidance = guidance
        with raised_by("model"):
            forwards = model.forwards_per_evaluation(self.guidance)
            self.forwards_per_evaluation = whole(forwards, "the forwards of an evaluation", least=1)

    @property
    def path(self) -> Path:
        return self.model.path

    @property
    def interval(self) -> tuple[float, float]:
        return self.model.interval

    @property
    def jumps(self) -> tuple[float, ...]:
        return self.model.jumps

    def check_ends(self) -> None:
        """Raise UsageError if the prediction has no finite velocity at an end of the interval.

        A table never evaluates the last time, but adaptive solvers and some classic ones do.
        """
        begin, end = self.interval
        margin = 1e-3 * (end - begin)
        for t, verb, interval in ((begin, "begins", (begin + margin, end)), (end, "ends", (begin, end - margin))):
            reason = singularity(self.path, self.model.prediction, t)
            if reason is not None:
                raise UsageError(
                    f"{type(self.model).__name__} has no finite velocity at t = {t:g}, where its interval {verb}: on the "
                    f"path {self.path.name}, {reason}. Choose an interval without this time, such as "
                    f"({interval[0]:g}, {interval[1]:g})."
                )

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        return in_parts(self.parts, partial(self._where_it_lies, self._mixed), t, x)

    def _where_it_lies(self, at: _Evaluate, part: slice, t: Tensor, x: Tensor) -> Tensor:
        """Evaluate a part of the samples, which visit the network's device if they lie elsewhere."""
        condition, guidance, device = self.condition, self.guidance, self._device(x)
        if condition is not None and len(condition) > len(x):
            condition = condition[part]
        if isinstance(guidance, Tensor) and len(guidance) > len(x):
            guidance = guidance[part]
        if device is None:
            return at(t, x, condition, guidance)
        there = None if condition is None else condition.to(device)
        scale = guidance.to(device) if isinstance(guidance, Tensor) else guidance
        return at(times_on(t, device), x.to(device), there, scale).to(x.device)

    def _mixed(self, t: Tensor, x: Tensor, condition: Tensor | None, guidance: Guidance) -> Tensor:
        # u = beta x + gamma f_w
        with raised_by("model"):
            with _counted(x):
                found = self.model.guided(t, x.to(self.model.dtype), condition, guidance)
            prediction = states(found, x, "a prediction", same_type=False).to(x.dtype)
        return to_velocity(self.model.path, self.model.prediction, t, x, prediction)

    def _apart(self, t: Tensor, x: Tensor, condition: Tensor | None, guidance: Guidance) -> Tensor:
        del guidance
        if condition is None:
            raise NotApplicableError(f"{type(self.model).__name__} is unconditional, so it has one answer and not two.")
        if not self.model.linear_guidance:
            raise NotApplicableError(
                f"Guidance of {type(self.model).__name__} is not (1 + w) u_cond - w u_uncond with one w, so no table can "
                "weigh its answers apart: use columns=guided."
            )
        path, kind = self.model.path, self.model.prediction
        with raised_by("model"):
            with _counted(x):
                found = self.model.answers(t, x.to(self.model.dtype), condition)
            both = [states(each, x, "a prediction", same_type=False).to(x.dtype) for each in found]
        return torch.stack([to_velocity(path, kind, t, x, prediction) for prediction in both])

    def _device(self, x: Tensor) -> torch.device | None:
        """Return the network's device, None if the states lie there or nothing is known of it."""
        if not self.model.device:
            return None
        own = torch.device(self.model.device)
        here = own.type == x.device.type and own.index in (None, x.device.index)
        return None if here else own

    def within(self, parts: Parts) -> ModelField:
        """Return the field with another knowledge of how many samples fit."""
        return ModelField(self.model, self.condition, self.guidance, parts)

    def answers(self, t: Tensor, x: Tensor, guidance: float) -> Tensor:
        """Return u_cond and u_uncond [2, batch, ...] by one call of the network: what (1 + w) and -w weigh in u_w.

        Args:
            t: Time, 0-d or [batch].
            x: States [batch, *shape].
            guidance: The scale w that the field is expected to have, since the answers themselves do not depend on it.

        Raises:
            NotApplicableError: If it has another scale, or the model has no unconditional prediction.
        """
        check_scale(guidance, self.guidance)
        return in_parts(self.parts, partial(self._where_it_lies, self._apart), t, x, axis=1)

    def conditional(self, t: Tensor, x: Tensor) -> Tensor:
        """Return u_cond [batch, ...], by half the forwards of a guided evaluation.

        Args:
            t: Time, 0-d or [batch].
            x: States [batch, *shape].

        Raises:
            NotApplicableError: If guidance does not double the model's forwards, so that none can be left out.
        """
        alone = self.model.forwards_per_evaluation(0.0)
        if self.forwards_per_evaluation != 2 * alone:
            raise NotApplicableError(
                f"An evaluation of {type(self.model).__name__} takes {self.forwards_per_evaluation} forwards here and"
                f" {alone} without guidance, so that no forward without the condition can be left out."
            )
        return self.model.field(self.condition).within(self.parts)(t, x)

    def part(self, index: Tensor | slice) -> ModelField:
        condition = None if self.condition is None else self.condition[index]
        guidance = self.guidance[index] if isinstance(self.guidance, Tensor) else self.guidance
        return ModelField(self.model, condition, guidance, self.parts)
