"""Text-to-video by flow matching: WanPipeline, with one network (2.1) or two that take turns (2.2; Wan team 2025)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.base import Options, takes
from bnsbench_diffusers.models.fingerprint import network_digest
from bnsbench_diffusers.models.texts import Encoding, sequence_length
from bnsbench_diffusers.models.video import Video, latent_sizes

ROUNDED = 1e-7
"""So far from the boundary a time counts as the boundary itself: schedulers keep sigmas and timesteps in float32."""


class Wan(Video):
    """A WanTransformer3DModel of latents [channels, frames, height, width] on the CondOT path.

    With a ``boundary_ratio``, timesteps from that part of all on belong to the first network, and the lower ones to the
    second, ``transformer_2``, so that the velocity jumps where it takes over. Guidance of the second has a scale of its own
    if ``guidance_scale_2`` is set; as in the pipeline, without guidance of the first it has none either.
    """

    def __init__(self, pipeline: Any, options: Options, folder: Path | None = None) -> None:
        ratio = pipeline.config.boundary_ratio
        takes(options, "prompts", "negative", "size", "frames", *(() if ratio is None else ("guidance_scale_2",)))
        if pipeline.transformer is None or (ratio is not None and pipeline.transformer_2 is None):
            raise UsageError("This pipeline lacks one of its networks, and text to video needs all noise levels.")
        config, temporal = pipeline.transformer.config, pipeline.vae_scale_factor_temporal
        sizes = latent_sizes(pipeline, options, temporal, pipeline.vae_scale_factor_spatial, config.patch_size[1])
        super().__init__(pipeline, options, (config.in_channels, *sizes), folder)
        self.second = None if ratio is None else pipeline.transformer_2.eval().requires_grad_(False)
        self.second_scale = options.guidance_scale_2 - 1.0 if options.guidance_scale_2 else None
        if self.second is not None:
            self.jumps = (1.0 - ratio + ROUNDED,)
            self.linear_guidance = self.second_scale is None
            weights = network_digest(self.second, None if folder is None else folder / "transformer_2")
            self._facts += [weights, ratio, self.second_scale]

    def networks(self) -> tuple[Any, ...]:
        return (self.network,) if self.second is None else (self.network, self.second)

    def encode(self, prompt: str | None, device: torch.device) -> Encoding:
        states, no_states = self.pipeline.encode_prompt(
            prompt or "", self.negative, prompt is None, max_sequence_length=sequence_length(self.pipeline), device=device
        )
        return {"encoder_hidden_states": no_states if prompt is None else states}

    def late(self, t: Tensor) -> Tensor:
        """Return whether times are the second network's, shaped like t."""
        return t > self.jumps[0] if self.jumps else torch.zeros_like(t, dtype=torch.bool)

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        late = self.late(t).expand(len(x))
        if bool(late.all()) or not bool(late.any()):
            return self._by(self.networks()[int(late[0])], t, x, condition)
        parts = [torch.nonzero(part)[:, 0] for part in (~late, late)]
        found = [self.predict(t[part], x[part], None if condition is None else condition[part.cpu()]) for part in parts]
        return torch.cat(found)[torch.argsort(torch.cat(parts))]

    def guided(self, t: Tensor, x: Tensor, condition: Tensor | None, guidance: float | Tensor) -> Tensor:
        return super().guided(t, x, condition, self._scale(t, x, guidance))

    def evaluate(self, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        return self._output(self.network, timestep, x, condition)

    def _by(self, network: Any, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        return self.schedule.prediction_from(self._output(network, self.timestep(t, x), x, condition))

    def _output(self, network: Any, timestep: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        if self.pipeline.config.expand_timesteps:
            # A timestep for each token, all the same: nothing of a video from a text alone is known beforehand.
            tokens = x[0, 0].numel() // int(torch.tensor(network.config.patch_size).prod())
            timestep = timestep[:, None].expand(-1, tokens)
        output: Tensor = network(x, timestep=timestep, **self.told(x, condition), return_dict=False)[0]
        return output

    def _scale(self, t: Tensor, x: Tensor, guidance: float | Tensor) -> float | Tensor:
        """Return the guidance scales at time t, one for all samples or [batch]."""
        if self.second_scale is None:
            return guidance
        first = guidance if isinstance(guidance, Tensor) else torch.tensor(float(guidance), dtype=torch.float64)
        mine = self.late(t).to(first.device) & (first != 0)
        scales = torch.where(mine, self.second_scale, first)
        return scales.expand(len(x)) if scales.ndim else float(scales)
