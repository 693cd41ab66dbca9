"""Text-to-audio by latent U-Nets of mel spectra: AudioLDM2Pipeline (Liu et al. 2023)."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.base import Options, takes
from bnsbench_diffusers.models.latents import decode_unclamped, in_float32, scale_factor
from bnsbench_diffusers.models.texts import Encoding, TextConditional


class AudioLDM2(TextConditional):
    """An AudioLDM2UNet2DConditionModel of latents [channels, frames, bands] that is told a text twice.

    It attends to the states of T5 and to those that GPT-2 continues them and CLAP's with. The pipeline fills its negative
    text up to the length of the prompt, on which what GPT-2 makes of it depends: the condition -k stands for no prompt
    beside the prompt k, and encodings [tokens, 2, width] hold both, first without the prompt. Decoded are waveforms
    [batch, samples].
    """

    component = "unet"

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options, "prompts", "negative", "seconds")
        if pipeline.text_encoder_2.config.model_type == "vits":
            raise UsageError("This AudioLDM2 speaks transcriptions, which are no prompts; those with T5 are supported.")
        vocoder, factor = pipeline.vocoder.config, scale_factor(pipeline.vae)
        self.sample_rate = int(vocoder.sampling_rate)
        # As the pipeline has it, whose rounding counts: frames are whole, and sound is cut to the length asked for.
        frame = math.prod(vocoder.upsample_rates) / self.sample_rate
        seconds = options.seconds or pipeline.unet.config.sample_size * factor * frame
        if seconds < factor * frame:
            raise UsageError(f"Sounds of this pipeline last at least {factor * frame:g} seconds, not {seconds:g}.")
        self.length = int(seconds * self.sample_rate)
        frames, bands = math.ceil(int(seconds / frame) / factor), vocoder.model_in_dim // factor
        super().__init__(pipeline, options, (pipeline.unet.config.in_channels, frames, bands), folder)

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`past_key_values`", FutureWarning)  # renamed since in transformers
            states, mask, generated = self.pipeline.encode_prompt(
                prompt or "", device, 1, True, negative_prompt=self.negative
            )
        both = {
            "encoder_hidden_states": generated,
            "encoder_hidden_states_1": states,
            "encoder_attention_mask_1": mask,
        }
        return {name: part.transpose(0, 1)[None].contiguous() for name, part in both.items()}

    def told(self, x: Tensor, condition: Tensor | None) -> Encoding:
        numbers = torch.zeros(len(x), dtype=torch.int64) if condition is None else condition
        rows, given = torch.arange(len(x), device=x.device), (numbers > 0).long().to(x.device)
        return {name: part[rows, :, given] for name, part in super().told(x, numbers.abs()).items()}

    def null_condition(self, condition: Tensor) -> Tensor:
        return -condition.abs()

    def texts(self, condition: Tensor) -> list[str]:
        return super().texts(condition.clamp_min(0))

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        output: Tensor = self.network(x, timestep, **self.told(x, condition), return_dict=False)[0]
        return output

    def decode(self, x: Tensor) -> Tensor:
        spectra = decode_unclamped(self.pipeline.vae, x).squeeze(1)
        sounds: Tensor = in_float32(self.pipeline.vocoder, x.device)(spectra)
        return sounds[:, : self.length]
