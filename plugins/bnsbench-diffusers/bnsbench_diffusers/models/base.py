"""What the models of all families share: the network, its schedule, its decoding and its identity."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path as FilePath
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from bnsbench.plugin import Model, NotApplicableError, UsageError, check_details
from bnsbench_diffusers.models.fingerprint import digest_of, network_digest
from bnsbench_diffusers.origin import attach, origin_of
from bnsbench_diffusers.schedule import read_schedule

LATENT_RANGE = 8.0
"""Peak-to-peak range of latents, four standard deviations to each side: pipelines scale them to about unit variance."""


@dataclass(frozen=True)
class Options:
    """What may be chosen about a pipeline.

    prompts: the texts that samples take in turn.
    negative: the text of unconditional predictions, the pipeline's own if empty.
    size: side of the images, or of a video's frames, in pixels, 0 for the pipeline's own.
    null_class: the class that stands for none, -1 for the pipeline's own.
    embedded_guidance: what a guidance-distilled network is told, as its ``guidance_scale``.
    seconds: length of sounds, 0 for the pipeline's own.
    frames: of a video, 0 for the pipeline's own.
    guidance_scale_2: that of the network for little noise, of the pipeline's two, 0 for the same as of the first.
    """

    prompts: tuple[str, ...] = ()
    negative: str = ""
    size: int = 0
    null_class: int = -1
    embedded_guidance: float = 3.5
    seconds: float = 0.0
    frames: int = 0
    guidance_scale_2: float = 0.0


class PipelineModel(Model):
    """A pipeline's denoiser; families subclass it with `evaluate` and what it is told.

    component: the denoiser's name in the pipeline. folder: where the pipeline has just been loaded from, None for one that
    was made or changed in memory. Channels of the network's output beyond those of its input (a learned variance) are left
    out.
    """

    component: ClassVar[str] = "transformer"

    def __init__(self, pipeline: Any, shape: tuple[int, ...], folder: FilePath | None = None) -> None:
        self.pipeline = pipeline
        self.network: Any = getattr(pipeline, self.component).eval().requires_grad_(False)
        self.schedule = read_schedule(pipeline.scheduler)
        self.path = self.schedule.path
        self.prediction = self.schedule.prediction
        self.interval = self.schedule.interval
        self.shape = shape
        self.dtype = self.network.dtype
        weights = network_digest(self.network, None if folder is None else folder / self.component)
        self._facts: list[Any] = [type(self).__name__, weights, self.path.to_dict(), self.prediction, shape]

    def passes(self, tokens: int = 0, sigmas: Literal["own", "linear"] = "own") -> None:
        """Let solvers know what the pipeline passes to its scheduler, see `Origin`."""
        origin = origin_of(self.path)
        if origin is not None:
            attach(self.path, replace(origin, tokens=tokens, sigmas=sigmas))

    @abstractmethod
    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        """Return the network's output [batch, channels, ...] for float32 timesteps [batch] and states [batch, *shape]."""

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        output = self.evaluate(self.timestep(t, x), x, condition)
        return self.schedule.prediction_from(output[:, : self.shape[0]])

    def timestep(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the timesteps [batch] that the network is told for states x at time t, 0-d or [batch]."""
        # Never in less than float32: bfloat16 has no timestep between 512 and 516.
        return self.schedule.timestep(t).to(device=x.device, dtype=torch.float32).expand(len(x))

    def decode(self, x: Tensor) -> Tensor:
        return x.clamp(-1.0, 1.0)

    def networks(self) -> tuple[Any, ...]:
        """Return the denoisers that take turns; most pipelines have one."""
        return (self.network,)

    def fingerprint(self) -> str:
        """Return a hash of network, path and shape, and of the active adapters, whose scales are no weights."""
        adapters = self.network_state().adapters
        return digest_of([*self._facts, *adapters] if adapters else self._facts)

    def recompute(self, on: bool) -> bool:
        """Let the network's blocks be checkpointed, where its class offers that; see `Model.recompute`."""
        if not getattr(self.network, "_supports_gradient_checkpointing", False):
            return False
        for network in self.networks():
            if on:
                network.enable_gradient_checkpointing()
            else:
                network.disable_gradient_checkpointing()
        return True

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        for network in self.networks():
            network.to(device)
            if dtype != network.dtype:
                _cast(network, dtype)
        return super().to(device, dtype)


class ClassConditional:
    """Conditions that are classes, int64 [batch]: sample i has the class i modulo the number of classes.

    classes: their numbers. null: the number that stands for no class, None if there is none. names: of classes, for people.
    """

    classes: tuple[int, ...]
    null: int | None = None
    names: dict[str, int]

    def conditions(self, indices: Tensor) -> Tensor:
        return torch.tensor(self.classes)[indices.to("cpu", torch.int64) % len(self.classes)]

    def null_condition(self, condition: Tensor) -> Tensor:
        if self.null is None:
            raise NotApplicableError(
                "The network knows no class that stands for none, so guidance needs w = 0; null_class=NUMBER names one."
            )
        return torch.full_like(condition, self.null)

    def describe(self, text: str, **details: int) -> Tensor:
        """Return the class [] that a text asks for, by its name or its number; UsageError if there is none."""
        check_details(details)
        number = self.names.get(text, int(text) if text.isdecimal() else -1)
        if number not in self.classes:
            raise UsageError(f"There is no class {text!r}: write a number from 0 to {max(self.classes)} or a class's name.")
        return torch.tensor(number)


def _cast(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Cast a network, but keep in at least float32 the parts that it wants so, as when it is loaded in that precision."""
    kept = set(getattr(network, "_keep_in_fp32_modules", None) or ())
    for name, part in chain(network.named_parameters(), network.named_buffers()):
        if part.is_floating_point():
            keep = not kept.isdisjoint(name.split("."))
            part.data = part.data.to(torch.promote_types(dtype, torch.float32) if keep else dtype)


def side_lengths(sample_size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """Return height and width of what a network's configuration calls ``sample_size``."""
    if isinstance(sample_size, int):
        return sample_size, sample_size
    height, width = sample_size
    return int(height), int(width)


def takes(options: Options, *names: str) -> None:
    """Raise UsageError if an option other than these has been set, for which a family has no use."""
    for name in (field.name for field in fields(Options) if field.name not in names):
        if getattr(options, name) != getattr(Options(), name):
            raise UsageError(f"This pipeline has no use for the parameter {name!r}; leave it out.")
