"""Text-to-video by flow matching in strongly compressed latents: LTXPipeline (HaCohen et al. 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench_diffusers.models.base import Options, takes
from bnsbench_diffusers.models.latents import in_float32
from bnsbench_diffusers.models.texts import Encoding, call_default, sequence_length
from bnsbench_diffusers.models.video import Video, latent_sizes


class LTX(Video):
    """An LTXVideoTransformer3DModel of latents [channels, frames, height, width] on the CondOT path, each of them a token.

    It is told the frames a second that the pipeline's call assumes by default, and decodes at that call's
    ``decode_timestep``, without noise.
    """

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        takes(options, "prompts", "negative", "size", "frames")
        temporal, spatial = pipeline.vae_temporal_compression_ratio, pipeline.vae_spatial_compression_ratio
        sizes = latent_sizes(pipeline, options, temporal, spatial)
        super().__init__(pipeline, options, (pipeline.transformer.config.in_channels, *sizes), folder)
        self.passes(tokens=sizes[0] * sizes[1] * sizes[2], sigmas="linear")
        self.rate = float(call_default(pipeline, "frame_rate"))
        # Of one step along each axis of latents, in seconds and pixels.
        self.steps = (temporal / self.rate, spatial, spatial)
        self._facts.append(self.rate)

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        states, mask, no_states, no_mask = self.pipeline.encode_prompt(
            prompt or "", self.negative, prompt is None, max_sequence_length=sequence_length(self.pipeline), device=device
        )
        chosen = (no_states, no_mask) if prompt is None else (states, mask)
        return dict(zip(("encoder_hidden_states", "encoder_attention_mask"), chosen, strict=True))

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        frames, height, width = x.shape[2:]
        output: Tensor = self.network(
            x.flatten(2).transpose(1, 2),
            timestep=timestep,
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=self.steps,
            **self.told(x, condition),
            return_dict=False,
        )[0]
        return output.transpose(1, 2).reshape(len(x), -1, frames, height, width)

    def decode(self, x: Tensor) -> Tensor:
        vae = in_float32(self.pipeline.vae, x.device)
        mean, deviation = (part.to(x.device).view(1, -1, 1, 1, 1) for part in (vae.latents_mean, vae.latents_std))
        timestep = None
        if vae.config.timestep_conditioning:
            timestep = torch.full((len(x),), float(call_default(self.pipeline, "decode_timestep")), device=x.device)
        videos: Tensor = vae.decode(x.float() * deviation / vae.config.scaling_factor + mean, timestep, return_dict=False)[0]
        return videos.clamp(-1.0, 1.0)
