"""Where a path comes from: what a pipeline says beside its path, for solvers that ask how its own scheduler would do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bnsbench.paths import Path

_PLACE = "_origin_in_diffusers"

DEFAULTS = "_use_default_values"
"""Where diffusers keeps the names of the options that nobody has set."""

BASE_TOKENS, MAX_TOKENS, BASE_SHIFT, MAX_SHIFT = 256, 4096, 0.5, 1.15
"""The line of the shift in the number of tokens, where a configuration does not say it (Esser et al. 2024)."""


@dataclass(frozen=True)
class Origin:
    """A pipeline's scheduler and what the pipeline passes to it.

    scheduler: its class. configuration: its options as JSON. prediction_type: what the network predicts, in the terms of
    diffusers. tokens: into how many tokens the pipeline cuts a sample to find the shift of flows, 0 if it passes none.
    sigmas: those of flows that it passes by default, "own" if it leaves them to the scheduler.
    """

    scheduler: type[Any]
    configuration: str
    prediction_type: str
    tokens: int = 0
    sigmas: Literal["own", "linear"] = "own"

    @classmethod
    def of(cls, scheduler: Any, prediction_type: str) -> Origin:
        """Return what a scheduler says."""
        options = {key: value for key, value in scheduler.config.items() if key == DEFAULTS or not key.startswith("_")}
        return cls(type(scheduler), json.dumps(options, sort_keys=True, default=_plain), prediction_type)

    @property
    def options(self) -> dict[str, Any]:
        """All options of the scheduler, those included that nobody has set."""
        return {key: value for key, value in self._all.items() if key != DEFAULTS}

    @property
    def set_options(self) -> dict[str, Any]:
        """The options that its configuration sets, which other schedulers of the pipeline inherit."""
        return {key: value for key, value in self.options.items() if key not in self._all.get(DEFAULTS, ())}

    def shift(self, options: Mapping[str, Any]) -> float | None:
        """Return mu, the shift of a scheduler with these options for the pipeline's samples; None if it passes none."""
        if not self.tokens:
            return None
        least, most = options.get("base_image_seq_len", BASE_TOKENS), options.get("max_image_seq_len", MAX_TOKENS)
        low, high = options.get("base_shift", BASE_SHIFT), options.get("max_shift", MAX_SHIFT)
        return float(low + (high - low) * (self.tokens - least) / (most - least))

    @property
    def _all(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.configuration)
        return found


def attach(path: Path, origin: Origin) -> None:
    """Let a path remember where it comes from; it stays equal to other paths of the same levels."""
    vars(path)[_PLACE] = origin


def origin_of(path: Path) -> Origin | None:
    """Return where a path comes from, if it is a pipeline's."""
    found: Origin | None = vars(path).get(_PLACE)
    return found


def _plain(value: Any) -> Any:
    """Return what JSON can hold of an option: lists of arrays, and the text of anything else."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
