"""Tiny pipelines of videos; all made from configuration."""

from __future__ import annotations

from typing import Any

import diffusers

from bnsbench_diffusers.testing.texts import WIDTH, t5, t5_tokenizer, umt5

BOUNDARY = 0.6
"""Part of the timesteps from which on the first of two networks is asked."""


def wan_transformer() -> Any:
    """Return a network of latents [4, frames, height, width] that is told a text."""
    return diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=WIDTH,
        freq_dim=WIDTH,
        ffn_dim=WIDTH,
        num_layers=2,
        rope_max_seq_len=32,
    )


def wan_vae() -> Any:
    """Return an autoencoder of videos that halves the sides and all frames but the first."""
    return diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[-0.7, 0.2, -0.4, 0.9],
        latents_std=[2.8, 1.5, 2.1, 1.2],
        scale_factor_temporal=2,
        scale_factor_spatial=2,
    )


def wan(**options: Any) -> Any:
    """Return a pipeline with one network; ``boundary_ratio`` and a second one may be given."""
    return diffusers.WanPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=umt5(),
        vae=wan_vae(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
        ),
        transformer=wan_transformer(),
        **options,
    )


def wan_2() -> Any:
    """Return one of two networks, as version 2.2 has them."""
    return wan(transformer_2=wan_transformer(), boundary_ratio=BOUNDARY)


def wan_tokens() -> Any:
    """Return one whose network is told a timestep for each token, as the small one of version 2.2 is."""
    return wan(expand_timesteps=True)


def ltx(layers: int = 2) -> Any:
    """Return one of latents [8, frames, height, width] with an eighth of the sides and a quarter of the frames."""
    blocks: dict[str, Any] = {}
    for end in ("", "decoder_"):
        blocks |= {f"{end}block_out_channels": (8,) * 4, f"{end}layers_per_block": (1,) * 5}
        blocks |= {f"{end}spatio_temporal_scaling": (True, True, False, False)}
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        num_layers=layers,
        caption_channels=WIDTH,
    )
    return diffusers.LTXPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.1),
        vae=diffusers.AutoencoderKLLTXVideo(latent_channels=8, patch_size=2, timestep_conditioning=True, **blocks),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        transformer=transformer,
    )
