"""Text conditions: prompts as numbers, and a table of their encodings, each computed once and kept on disk."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bnsbench.plugin import UsageError, cache_folder, check_details, replacing
from bnsbench_diffusers.models.base import LATENT_RANGE, Options, PipelineModel
from bnsbench_diffusers.models.fingerprint import digest_of, network_digest, tokenizer_digest
from bnsbench_diffusers.models.latents import decode_latents

Encoding = dict[str, Tensor]
"""What text encoders make of a prompt, by the names of the network's arguments."""

KEPT = 256
"""Encodings held in memory; a large one has a few megabytes."""

NOTHING = 0
"""The condition that stands for no prompt."""


class EncodingTable:
    """Encodings by number: 0 is the unconditional one, the prompts follow in the order in which they are asked for.

    encode: from prompts, None standing for no prompt, to their encodings without batch axes. place: the folder of this
    encoder, where encodings are kept under the hash of their prompt.
    """

    def __init__(self, encode: Callable[[Sequence[str | None]], list[Encoding]], place: Path) -> None:
        self._encode = encode
        self._place = place
        self._prompts: list[str | None] = [None]
        self._numbers: dict[str, int] = {}
        self._kept: dict[int, Encoding] = {}
        self._last: tuple[Any, Encoding] = ((), {})

    def number(self, prompt: str) -> int:
        """Return the number of a prompt, which is new if it has not been asked for before."""
        if prompt not in self._numbers:
            self._numbers[prompt] = len(self._prompts)
            self._prompts.append(prompt)
        return self._numbers[prompt]

    def prompts(self, numbers: Tensor) -> list[str]:
        """Return the prompts with these numbers [batch], the empty one for none."""
        return [self._prompts[number] or "" for number in numbers.tolist()]

    def batch(self, numbers: Tensor, device: torch.device, dtype: torch.dtype) -> Encoding:
        """Return the encodings [batch, ...] of these numbers [batch]; those of floating point in ``dtype``."""
        asked = (tuple(numbers.tolist()), device, dtype)
        if self._last[0] != asked:
            self._last = asked, self._stacked(*asked)
        return self._last[1]

    def _stacked(self, numbers: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Encoding:
        # The unconditional encoding fills half of a guided batch, and is moved to the device once.
        rows = self._rows(sorted(set(numbers)))
        place = {number: row for row, number in enumerate(rows)}
        index = torch.tensor([place[number] for number in numbers], device=device)
        names = next(iter(rows.values()))
        # Encodings of another length are filled up with zeros, which their masks leave out.
        stacked = {name: pad_sequence([row[name] for row in rows.values()], batch_first=True).to(device) for name in names}
        return {name: (part.to(dtype) if part.is_floating_point() else part)[index] for name, part in stacked.items()}

    def _rows(self, numbers: Sequence[int]) -> dict[int, Encoding]:
        """Return encodings from memory, from the disk or from the encoders, by number in the given order."""
        found = {number: self._kept.get(number) or self._read(number) for number in numbers}
        missing = [number for number, encoding in found.items() if not encoding]
        if missing:
            for number, made in zip(missing, self._encode([self._prompts[number] for number in missing]), strict=True):
                found[number] = made
                with replacing(self._file(number)) as temporary:
                    save_file(made, temporary)
        self._kept = dict(list({**self._kept, **found}.items())[-KEPT:])
        return found

    def _read(self, number: int) -> Encoding:
        """Return an encoding from the disk, nothing if it is absent or damaged."""
        try:
            return load_file(self._file(number))
        except (OSError, SafetensorError):
            return {}

    def _file(self, number: int) -> Path:
        return self._place / f"{digest_of(['prompt', self._prompts[number]])}.safetensors"


class TextConditional(PipelineModel):
    """A latent model that is told prompts; conditions are their numbers in a table of encodings, int64 [batch].

    Sample i has the prompt i modulo their number. A prompt is encoded by itself, by the pipeline's own ``encode_prompt``.
    """

    data_range = LATENT_RANGE

    def __init__(self, pipeline: Any, options: Options, shape: tuple[int, ...], folder: Path | None = None) -> None:
        super().__init__(pipeline, shape, folder)
        self.prompts = options.prompts
        self.negative = options.negative or None
        encoder = self.encoder_digest(folder)
        self.table = EncodingTable(self._encode, cache_folder() / "diffusers" / "texts" / encoder[:40])
        # Numbers do not depend on what is asked for first, so they mean the same to another instance.
        self._numbers = torch.tensor([self.table.number(prompt) for prompt in self.prompts])
        self._facts += [encoder, list(self.prompts)]

    @abstractmethod
    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        """Return what the pipeline's encoders make of a prompt, or for None of the negative one: tensors [1, ...]."""

    def told(self, x: Tensor, condition: Tensor | None) -> Encoding:
        """Return the encodings of conditions [batch] on the device and in the precision of the states x."""
        if condition is None:
            condition = torch.full((len(x),), NOTHING)
        return self.table.batch(condition, x.device, x.dtype)

    def conditions(self, indices: Tensor) -> Tensor:
        if not self.prompts:
            raise UsageError("This pipeline reads text: name a file with one prompt per line by prompts=FILE.")
        return self._numbers[indices.to("cpu", torch.int64) % len(self._numbers)]

    def null_condition(self, condition: Tensor) -> Tensor:
        return torch.full_like(condition, NOTHING)

    def describe(self, text: str, **details: int) -> Tensor:
        check_details(details)
        return torch.tensor(self.table.number(text))

    def texts(self, condition: Tensor) -> list[str]:
        return self.table.prompts(condition)

    def decode(self, x: Tensor) -> Tensor:
        return decode_latents(self.pipeline.vae, x)

    def encoders(self) -> dict[str, Any]:
        """Return the networks that encode for the pipeline by name, those that it has."""
        return {name: part for name, part in self.pipeline.components.items() if _is_encoder(name) and part is not None}

    def encoder_digest(self, folder: Path | None) -> str:
        """Return a hash of all that determines encodings but the prompt; families add to it what else they encode."""
        parts = self.pipeline.components
        tokenizers = [
            tokenizer_digest(part) for name, part in parts.items() if name.startswith("tokenizer") and part is not None
        ]
        encoders = [
            [str(part.dtype), network_digest(part, None if folder is None else folder / name)]
            for name, part in self.encoders().items()
        ]
        plain = {key: value for key, value in self.pipeline.config.items() if isinstance(value, bool | int | float)}
        return digest_of([type(self).__name__, tokenizers, encoders, plain, self.negative])

    def _encode(self, prompts: Sequence[str | None]) -> list[Encoding]:
        """Encode prompts one by one where the network computes; the encoders then make room again."""
        encoders, device = self.encoders().values(), self.network.device
        for encoder in encoders:
            encoder.to(device)
        with torch.no_grad():
            found = [
                {name: part[0].cpu().clone() for name, part in self.encode(prompt, device).items()} for prompt in prompts
            ]
        for encoder in encoders:
            encoder.to("cpu")
        return found


def _is_encoder(name: str) -> bool:
    return name.startswith("text_encoder") or name in ("language_model", "projection_model")


def sequence_length(pipeline: Any) -> int:
    """Return how many tokens of a prompt a pipeline's call encodes by default."""
    return int(call_default(pipeline, "max_sequence_length"))


def call_default(pipeline: Any, name: str) -> Any:
    """Return what a pipeline's call takes for that argument by default."""
    return inspect.signature(pipeline.__call__).parameters[name].default
