"""Text-to-audio by latent transformers: StableAudioPipeline (Evans et al. 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch import Tensor

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.base import Options, takes
from bnsbench_diffusers.models.fingerprint import digest_of
from bnsbench_diffusers.models.latents import in_float32
from bnsbench_diffusers.models.texts import Encoding, TextConditional


class StableAudio(TextConditional):
    """A StableAudioDiTModel of latents [channels, length] on the cosine path that is told a text and a duration.

    Latents are always of the network's own length, and the sound is cut to the duration. Without a negative text, what
    stands for no prompt is zeros where text and duration are attended to, as in the pipeline; the duration by which blocks
    are conditioned stays. Decoded are waveforms [batch, channels, samples].
    """

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options, "prompts", "negative", "seconds")
        config = pipeline.transformer.config
        self.sample_rate = int(pipeline.vae.config.sampling_rate)
        longest = config.sample_size * pipeline.vae.hop_length / self.sample_rate
        self.seconds = options.seconds or longest
        if not 0.0 < self.seconds <= longest:
            raise UsageError(f"Sounds of this pipeline last at most {longest:g} seconds, not {self.seconds:g}.")
        self.length = int(self.seconds * self.sample_rate)
        super().__init__(pipeline, options, (config.in_channels, config.sample_size), folder)
        # One position more for time and duration, which the network puts before the latents.
        self.rotary = get_1d_rotary_pos_embed(
            pipeline.rotary_embed_dim, config.sample_size + 1, use_real=True, repeat_interleave_real=False
        )

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        both = self.pipeline.encode_prompt(prompt or "", device, prompt is None, self.negative)
        begin, end = self.pipeline.encode_duration(0.0, self.seconds, device, False, 1)
        states = torch.cat([both[:1], begin, end], dim=1)
        if prompt is None and self.negative is None:
            states = torch.zeros_like(states)
        return {"encoder_hidden_states": states, "global_hidden_states": torch.cat([begin, end], dim=2)}

    def encoder_digest(self, folder: Path | None) -> str:
        return digest_of([super().encoder_digest(folder), self.seconds])

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        rotary = tuple(part.to(x.device) for part in self.rotary)
        output: Tensor = self.network(x, timestep, rotary_embedding=rotary, **self.told(x, condition), return_dict=False)[0]
        return output

    def decode(self, x: Tensor) -> Tensor:
        sounds: Tensor = in_float32(self.pipeline.vae, x.device).decode(x.float()).sample
        return sounds[:, :, : self.length]
