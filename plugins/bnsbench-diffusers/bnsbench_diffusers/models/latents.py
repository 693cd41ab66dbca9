"""Latents as pipelines scale them, and the images and spectra that they mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnsbench.plugin import UsageError


def decode_latents(vae: Any, latents: Tensor) -> Tensor:
    """Return images [batch, 3, H, W] in [-1, 1] for a pipeline's latents [batch, C, h, w], or videos, in float32."""
    return decode_unclamped(vae, latents).clamp(-1.0, 1.0)


def decode_unclamped(vae: Any, latents: Tensor) -> Tensor:
    """Return what a VAE makes of a pipeline's latents [batch, C, ...], such as log-mel spectra, in float32.

    Latents are shifted and scaled back by what the VAE's configuration says: ``scaling_factor`` and ``shift_factor``, or
    mean and deviation of each channel.
    """
    config = vae.config
    mean, deviation = (_per_channel(config.get(name), latents) for name in ("latents_mean", "latents_std"))
    scaled = latents.float() / config.get("scaling_factor", 1.0)
    if mean is not None and deviation is not None:
        scaled = scaled * deviation + mean
    else:
        scaled = scaled + (config.get("shift_factor") or 0.0)
    decoded: Tensor = in_float32(vae, latents.device).decode(scaled, return_dict=False)[0]
    return decoded


def in_float32(network: Any, device: torch.device) -> Any:
    """Return a network that decodes, moved to a device, in float32, since some overflow in float16."""
    network.to(device)
    if network.dtype != torch.float32:
        network.to(torch.float32)
    return network


def scale_factor(vae: Any) -> int:
    """Return how many pixels of an image's side one latent stands for."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def latent_side(size: int, factor: int, multiple: int = 1) -> int:
    """Return the side of latents for images of ``size`` pixels; UsageError unless a multiple of ``factor * multiple``."""
    if size < 1 or size % (factor * multiple):
        raise UsageError(f"The size of images must be a multiple of {factor * multiple} pixels, not {size}.")
    return size // factor


def _per_channel(values: list[float] | None, latents: Tensor) -> Tensor | None:
    if values is None:
        return None
    return torch.tensor(values, dtype=torch.float32, device=latents.device).view(1, -1, *(1,) * (latents.ndim - 2))
