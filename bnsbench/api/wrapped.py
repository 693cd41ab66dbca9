"""The model that `bnsbench.wrap` makes of a network: how it is asked, its conditions, and its fingerprint."""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from bnsbench.api.calling import Calling, Network
from bnsbench.api.captured import Captured, bytes_of
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.features import SampleFeatures
from bnsbench.flows.model import Model, check_details
from bnsbench.flows.network_state import adapters_of
from bnsbench.flows.paths import Path

Encode = Callable[[list[str]], Tensor]
"""From texts to what the network is told in their place, [texts, ...]."""

PROBED = 64
"""Conditions by which a function that gives conditions is recognised."""


class Lexicon:
    """Texts and what a network is told in their place; conditions are numbers of texts.

    Args:
        texts: Of which sample i takes text i modulo n; "", which stands for no text, comes last.
        encode: Encodes texts.
    """

    def __init__(self, texts: Sequence[str], encode: Encode) -> None:
        self.count, self.encode = len(texts), encode
        self.texts = [*texts, ""]
        self.rows = encoded(encode, self.texts)

    def number(self, text: str) -> int:
        """Return the number of a text, which is encoded now unless it is known."""
        if text not in self.texts:
            self.rows = torch.cat([self.rows, encoded(self.encode, [text])])
            self.texts.append(text)
        return self.texts.index(text)


@dataclass(frozen=True)
class Conditions:
    """What samples are conditioned on.

    given: a tensor [n, ...] of which sample i takes row i modulo n, or a function from sample numbers [count] to conditions
    [count, ...]; None for an unconditional network. null: what stands for "no condition", a tensor [...] or a function from
    conditions to as many null conditions. lexicon: of a network that is told encoded texts, in place of both.
    """

    given: Tensor | Callable[[Tensor], Tensor] | None = None
    null: Tensor | Callable[[Tensor], Tensor] | None = None
    lexicon: Lexicon | None = None


class WrappedModel(Model):
    """What `wrap` returns: a network with what is known about it.

    Args:
        network: What is called.
        module: The networks behind it, None if none is known.
        captured: What decides what it returns besides; None for a module.
        calling: How it is called.
        path: On which it was trained.
        shape: Of one sample.
        interval: On which it may be evaluated.
        jumps: Times inside of it at which its velocity jumps.
        conditions: What samples are conditioned on.
        decode: From end states to what one looks at; None for the states themselves.
        features: Of its samples; None if there are none.
        data_range: Of the data.
        sample_rate: Of sound, in Hz; None for anything else.
        fingerprint: The user's own; None for that of weights and code.
        name: Of its noise streams and in files.
    """

    def __init__(
        self,
        *,
        network: Network,
        module: nn.Module | None,
        captured: Captured | None,
        calling: Calling,
        path: Path,
        shape: tuple[int, ...],
        interval: tuple[float, float],
        jumps: tuple[float, ...],
        conditions: Conditions,
        decode: Callable[[Tensor], Tensor] | None,
        features: SampleFeatures | None,
        data_range: float,
        sample_rate: int | None,
        fingerprint: str | None,
        name: str,
    ) -> None:
        self.network, self.module, self.captured, self.calling, self.name = network, module, captured, calling, name
        self.prediction = calling.prediction
        self.path, self.shape, self.interval, self.data_range = path, shape, interval, data_range
        self.jumps, self.sample_rate = jumps, sample_rate
        self._conditions, self._decode, self._features = conditions, decode, features
        self._given, self._token = fingerprint, secrets.token_hex(16)
        self._hashed: tuple[object, str] = (None, "")
        self._thawing = ExitStack()
        first = None if module is None else next(module.parameters(), None)
        self.dtype = torch.float32 if module is None else _precision(module)
        self.device = "" if first is None else str(first.device)

    @property
    def passing(self) -> bool:
        """Whether nothing says that the model is still the same at the next call, so that nothing about it is kept."""
        return self._given is None and self.captured is not None and bool(self.captured.unknown)

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        """Return the prediction; UsageError if the network returns something of another shape."""
        asked = self.calling.arguments(self.path, t.double().expand(len(x)), x)
        with frozen(self.module) if torch.is_grad_enabled() else nullcontext():
            found = self.network(*asked) if condition is None else self.network(*asked, self._told(condition, x))
        if not isinstance(found, Tensor) or found.shape != x.shape:
            raise UsageError(self._misshapen(found, x))
        return self.calling.read(found)

    def _told(self, condition: Tensor, x: Tensor) -> Tensor:
        """Return what the network is told of conditions, in the precision of the states."""
        lexicon = self._conditions.lexicon
        told = condition if lexicon is None else lexicon.rows.to(x.device)[condition]
        return told.to(x.dtype) if told.is_floating_point() else told

    def _misshapen(self, found: object, x: Tensor) -> str:
        """Say what the network has returned and what is likely wrong."""
        shown = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        told = f"The network {self.name} returned {shown} for states {list(x.shape)}: "
        if isinstance(found, Tensor) and found.ndim == x.ndim and found.shape[1] == 2 * x.shape[1]:
            return (
                f"{told}it seems to return a variance as well; wrap a function that takes the first {x.shape[1]} channels."
            )
        if isinstance(found, Tensor) and found.ndim == x.ndim and found.shape[:1] == x.shape[:1]:
            return f"{told}a network that takes more channels than it returns, or fewer, needs a function around it."
        return f"{told}{self.calling.words} takes its arguments in this order and returns one for every state."

    def fingerprint(self) -> str:
        """Return a hash of what decides the prediction for every sample: see `wrap`."""
        facts: list[object] = [self.path.to_dict(), self.interval, self.shape]
        if self.calling != Calling():
            facts.append((self.calling.prediction, self.calling.clock))
        if self.jumps:  # across which no truth makes a step
            facts.append(self.jumps)
        digest = hashlib.sha256(repr(tuple(facts)).encode())
        if self._given is not None:
            digest.update(self._given.encode())
            return digest.hexdigest()
        if self.passing:
            digest.update(self._token.encode())
        if self.module is not None:
            digest.update(self._weights(self.module).encode())
            digest.update("".join(adapters_of(self.module)).encode())  # their scales are no weights
        if self.captured is not None:
            digest.update(self.captured.digest())
        for tensor in self._condition_facts():
            digest.update(b"none" if tensor is None else bytes_of(tensor))
        return digest.hexdigest()

    def _condition_facts(self) -> tuple[Tensor | None, Tensor | None]:
        """Return conditions and null conditions, as many as tell them from others."""
        if self._conditions.lexicon is not None:
            return self._conditions.lexicon.rows[: self._conditions.lexicon.count + 1], None
        given = self._conditions.given
        condition = None if given is None else self.conditions(torch.arange(PROBED))
        null = None if condition is None or self._conditions.null is None else self.null_condition(condition)
        return given if isinstance(given, Tensor) else condition, null

    def _weights(self, module: nn.Module) -> str:
        """Return a hash of the module's classes, plain attributes and tensors.

        It is made anew after `to`, which every call of bnsbench makes, and after tensors were written into.
        """
        tensors = sorted(module.state_dict().items())
        attributes = [(path, type(part).__qualname__, _plain_attributes(part)) for path, part in module.named_modules()]
        state = [attributes, [(key, value.data_ptr(), value._version) for key, value in tensors]]
        if self._hashed[0] != state:
            digest = hashlib.sha256(f"{type(module).__module__} {attributes}".encode())
            for key, value in tensors:
                digest.update(key.encode() + bytes_of(value))
            self._hashed = (state, digest.hexdigest())
        return self._hashed[1]

    def networks(self) -> tuple[nn.Module, ...]:
        return () if self.module is None else (self.module,)

    def conditions(self, indices: Tensor) -> Tensor | None:
        given, lexicon = self._conditions.given, self._conditions.lexicon
        if lexicon is not None:
            return indices % lexicon.count
        if given is None or isinstance(given, Tensor):
            return None if given is None else given[indices % len(given)]
        return given(indices)

    def null_condition(self, condition: Tensor) -> Tensor:
        null, lexicon = self._conditions.null, self._conditions.lexicon
        if lexicon is not None:
            return torch.full_like(condition, lexicon.number(""))
        if null is None:
            raise NotApplicableError(
                f"The network {self.name} has no unconditional prediction, so guidance needs w = 0: give wrap a"
                " null_condition."
            )
        return null.to(condition).expand_as(condition) if isinstance(null, Tensor) else null(condition)

    def describe(self, text: str, **details: int) -> Tensor:
        if self._conditions.lexicon is None:
            return super().describe(text, **details)
        check_details(details)
        return torch.tensor(self._conditions.lexicon.number(text))

    def texts(self, condition: Tensor) -> list[str] | None:
        lexicon = self._conditions.lexicon
        return None if lexicon is None else [lexicon.texts[number] for number in condition.tolist()]

    def decode(self, x: Tensor) -> Tensor:
        return x if self._decode is None else self._decode(x)

    def features(self) -> SampleFeatures | None:
        return self._features

    def recompute(self, on: bool) -> bool:
        """Let the network checkpoint its blocks, where it can be told so as the networks of diffusers are."""
        if self.module is None or not getattr(self.module, "_supports_gradient_checkpointing", False):
            return False
        switch = "enable" if on else "disable"
        getattr(self.module, f"{switch}_gradient_checkpointing")()
        # Blocks are run again outside of `predict`, as they were run inside.
        self._thawing.close()
        if on:
            self._thawing.enter_context(frozen(self.module))
        return True

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Return the model on that device, its network moved; in another precision it is a copy, and the network stays.

        Raises:
            UsageError: For another precision of a network that is called by a function, which cannot be copied.
        """
        made = self
        if dtype != self.dtype and self.module is not None:
            if self.network is not self.module:
                raise UsageError(
                    f"The network {self.name} is called by a function, so it cannot be copied to {dtype}: convert it"
                    " yourself, and wrap it then."
                )
            made = copy.copy(self)
            made.module = made.network = copy.deepcopy(self.module).to(dtype=dtype)
        if made.module is not None:
            made.module.to(device=device)
        made.dtype, made.device = dtype, str(device)
        made._token, made._hashed = secrets.token_hex(16), (None, "")
        return made


def encoded(encode: Encode, texts: Sequence[str]) -> Tensor:
    """Return what an encoder makes of texts [texts, ...]; UsageError if that is no tensor of so many rows."""
    with torch.no_grad():
        found = encode(list(texts))
    if not isinstance(found, Tensor) or len(found) != len(texts):
        shown = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(f"encode takes a list of texts and returns a row for each, not {shown} for {len(texts)} texts.")
    return found


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[None]:
    """Let the parameters of a network want no gradients for a while: for these, layers would keep their inputs."""
    learning = [] if module is None else [part for part in module.parameters() if part.requires_grad]
    for part in learning:
        part.requires_grad_(False)
    try:
        yield
    finally:
        for part in learning:
            part.requires_grad_(True)


def _precision(module: nn.Module) -> torch.dtype:
    """Return the type of the first parameter of floating-point numbers: quantised ones may be of bytes."""
    types = (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    return next(types, torch.float32)


def _plain_attributes(module: nn.Module) -> list[tuple[str, str]]:
    """Return a module's attributes that are numbers, texts or tuples, by name."""
    own = vars(module).items()
    return sorted((key, repr(value)) for key, value in own if key[0] != "_" and isinstance(value, int | float | str | tuple))
