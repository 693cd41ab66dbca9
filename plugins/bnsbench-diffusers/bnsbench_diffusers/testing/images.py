"""Networks of images and latents for tiny pipelines, and their schedulers; all made from configuration."""

from __future__ import annotations

from typing import Any

import diffusers

from bnsbench_diffusers.testing.texts import WIDTH

LATENT_NOISE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
"""The noise levels of latent diffusion (Rombach et al. 2022)."""

TINY_UNET: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}
"""Of every U-Net: the side of what it sees, and its few channels."""

TOLD_TEXT: dict[str, Any] = {
    **TINY_UNET,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
"""Of U-Nets that attend to text encodings."""


def ddim_scheduler(**options: Any) -> Any:
    """Return a scheduler whose last step ends at timestep 0 and whose first begins at the last timestep."""
    shared = {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "trailing"}
    return diffusers.DDIMScheduler(**shared, **options)


def unet2d(**options: Any) -> Any:
    """Return a U-Net of images [3, 8, 8]."""
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    return diffusers.UNet2DModel(**TINY_UNET, **blocks, **options)


def unet(cross_attention_dim: int = WIDTH, **options: Any) -> Any:
    """Return a U-Net of latents [4, 8, 8] that is told a text."""
    return diffusers.UNet2DConditionModel(**TOLD_TEXT, cross_attention_dim=cross_attention_dim, **options)


def vae(channels: int = 4, **options: Any) -> Any:
    """Return an autoencoder whose latents have half the side of its images."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=16,
        **options,
    )


def deep_autoencoder() -> Any:
    """Return one whose latents have a quarter of the side of its images."""
    ends: dict[str, Any] = {}
    for end in ("encoder", "decoder"):
        shape = {"block_out_channels": (8, 8, 16), "layers_per_block": (1, 1, 1), "qkv_multiscales": ((), (), ())}
        ends |= {f"{end}_{name}": value for name, value in shape.items()}
    return diffusers.AutoencoderDC(latent_channels=4, scaling_factor=0.41407, **ends)
