"""The nodes: a table in JSON, as ``bnsbench solver export FILE DIR --to json`` writes it, as a sampler with its sigmas.

They need torch alone, and of ComfyUI only that it has ``comfy.samplers.KSAMPLER``.
"""

import json
import math
from pathlib import Path

import torch

START = 0.05
"""Relative difference of two sigmas that still are the same start."""
LARGEST = 1_000_000
"""Letters of a table; one of 64 evaluations has less than 200,000."""


class Table:
    """The numbers of a table in terms of denoised states.

    sigmas: n + 1 noise levels. rows: row i has i + 2 numbers, of the initial state and i + 1 denoised ones. flow: whether
    states are (1 - sigma) data + sigma noise, else data + sigma noise. about: what the table is for.

    Raises:
        ValueError: If the text is no table.
    """

    def __init__(self, text):
        content = _parsed(text)
        found = content.get("denoised") if isinstance(content, dict) else None
        if not isinstance(found, dict):
            reason = content.get("denoised_reason", "") if isinstance(content, dict) else ""
            raise ValueError(
                f"This is no table for a denoiser{': ' + str(reason) if reason else ''}. Write one by: bnsbench solver"
                " export FILE DIR --to json"
            )
        self.sigmas, self.rows, self.flow = found.get("sigmas"), found.get("rows"), found.get("flow") is True
        self.about, self.guidance = str(content.get("about", "")), content.get("guidance")
        if not _numbers(self.sigmas) or not isinstance(self.rows, list) or len(self.sigmas) != len(self.rows) + 1:
            raise ValueError("The table is damaged: it needs one sigma more than it has rows.")
        if any(not _numbers(row) or len(row) != i + 2 for i, row in enumerate(self.rows)):
            raise ValueError("The table is damaged: row i needs i + 2 finite numbers.")

    @property
    def nfe(self):
        """The number of evaluations."""
        return len(self.rows)

    def sample(self, model, x, sigmas, extra_args=None, callback=None, disable=None, **options):
        """Return the end states, as the sampler functions of ComfyUI do; ValueError for what the table cannot do."""
        del disable, options
        self.check(sigmas, extra_args or {})
        seen = [x]
        for i, row in enumerate(self.rows):
            denoised = model(x, x.new_full([len(x)], self.sigmas[i]), **(extra_args or {}))
            seen.append(denoised)
            if callback is not None:
                callback({"x": x, "i": i, "sigma": self.sigmas[i], "sigma_hat": self.sigmas[i], "denoised": denoised})
            x = sum(coefficient * each for coefficient, each in zip(row, seen))
        return x

    def check(self, sigmas, extra_args):
        """Raise ValueError for another schedule, a start at another picture, or a mask."""
        if len(sigmas) != self.nfe + 1:
            raise ValueError(
                f"This table takes exactly {self.nfe} steps, not {len(sigmas) - 1}: connect the SIGMAS that come with it."
            )
        if abs(float(sigmas[0]) / self.sigmas[0] - 1) > START:
            raise ValueError(
                f"This table begins at pure noise, sigma = {self.sigmas[0]:.6g}, not at {float(sigmas[0]):.6g}: it makes no"
                " picture from another one."
            )
        if extra_args.get("denoise_mask") is not None:
            raise ValueError("This table fills no gaps in a picture: take another sampler for inpainting.")


class BNSTable:
    """A table as SAMPLER and SIGMAS, for the node SamplerCustomAdvanced or SamplerCustom."""

    CATEGORY = "sampling/custom_sampling/samplers"
    RETURN_TYPES = ("SAMPLER", "SIGMAS")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        """Return what the node asks for: the JSON itself, or the name of its file."""
        return {"required": {"table": ("STRING", {"multiline": True, "default": ""})}}

    def load(self, table):
        """Return the sampler and its sigmas."""
        from comfy.samplers import KSAMPLER

        found = Table(table)
        return KSAMPLER(found.sample), torch.tensor(found.sigmas, dtype=torch.float32)


class BNSInfo:
    """What a table is for, as text."""

    CATEGORY = "sampling/custom_sampling/samplers"
    RETURN_TYPES = ("STRING", "INT", "FLOAT")
    RETURN_NAMES = ("about", "steps", "cfg")
    FUNCTION = "tell"

    @classmethod
    def INPUT_TYPES(cls):
        """Return what the node asks for."""
        return BNSTable.INPUT_TYPES()

    def tell(self, table):
        """Return the text, the number of steps, and the cfg that the table was trained for: w + 1."""
        found = Table(table)
        scale = found.guidance if isinstance(found.guidance, (int, float)) else max(found.guidance or [0.0])
        return found.about, found.nfe, float(scale) + 1.0


def _parsed(text):
    """Return the JSON of a text, or of the file that it names."""
    text = text.strip()
    if not text:
        raise ValueError("Paste a table, or the name of its file: bnsbench solver export FILE DIR --to json writes one.")
    if not text.startswith("{"):
        try:
            file = Path(text)
            if file.stat().st_size > LARGEST:
                raise ValueError(f"The file {text!r} is too large for a table.")
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"The file {text[:200]!r} cannot be read: {error}.") from error
    if len(text) > LARGEST:
        raise ValueError("This text is too long for a table.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"This is no JSON: {str(error)[:200]}.") from error


def _numbers(values):
    """Return whether values are a list of finite numbers."""
    return (
        isinstance(values, list)
        and len(values) > 1
        and all(isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) for value in values)
    )
