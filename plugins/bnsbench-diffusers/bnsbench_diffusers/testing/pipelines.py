"""Tiny pipelines of every supported kind, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.transformers.transformer_z_image import TimestepEmbedder

from bnsbench.plugin import UsageError
from bnsbench_diffusers.models.loading import quiet
from bnsbench_diffusers.testing.images import LATENT_NOISE, ddim_scheduler, deep_autoencoder, unet, unet2d, vae
from bnsbench_diffusers.testing.language import qwen_image, z_image
from bnsbench_diffusers.testing.sounds import (
    audioldm2_unet,
    clap,
    clap_features,
    gpt2,
    oobleck,
    stable_audio_transformer,
    vocoder,
)
from bnsbench_diffusers.testing.texts import (
    WIDTH,
    clip,
    clip_tokenizer,
    gemma,
    gemma_tokenizer,
    roberta_tokenizer,
    t5,
    t5_tokenizer,
)
from bnsbench_diffusers.testing.videos import ltx, wan, wan_2, wan_tokens

SEED = 0

SLOW = 0.01
"""Radians per timestep of the fastest change in time that counts in full."""


def make_tiny_pipeline(kind: str, folder: Path | str, seed: int = SEED) -> Path:
    """Write a pipeline of that kind, made from configuration with seeded random weights, into a folder and return it.

    kind: one of `KINDS`. Takes about a second; its images are noise. The caller's random state is left as it was. Raises
    UsageError for an unknown kind.
    """
    if kind not in KINDS:
        raise UsageError(f"There is no kind of pipeline {kind!r}; choose from {', '.join(KINDS)}.")
    with torch.random.fork_rng(devices=()), quiet():
        torch.manual_seed(seed)
        settle(KINDS[kind]()).save_pretrained(str(folder))
    return Path(folder)


def settle(pipeline: Any) -> Any:
    """Return a pipeline of random weights whose networks have been made to do something, and to change slowly with time."""
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            _enliven(component)
            _calm(component)
    return pipeline


def _enliven(network: torch.nn.Module) -> None:
    """Give parameters that start at zero, such as the last layers of transformers, values that make a difference."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not bool(parameter.any()):
                parameter.normal_(std=0.05)


def _calm(network: torch.nn.Module) -> None:
    """Let a network change slowly with time, as trained ones do: random ones swing as fast as their embedding of time."""
    for module in network.modules():
        if isinstance(module, TimestepEmbedding | TimestepEmbedder):
            first: Any = module.linear_1 if isinstance(module, TimestepEmbedding) else module.mlp[0]
            weight = first.weight
            frequencies = torch.logspace(0, -4, weight.shape[1] // 2).repeat(2)
            with torch.no_grad():
                weight *= (SLOW / frequencies).clamp(max=1.0)


def _ddpm() -> Any:
    """Return one that predicts v: unlike with epsilon, samples of random weights stay of the size of images."""
    return diffusers.DDPMPipeline(unet2d(), diffusers.DDPMScheduler(clip_sample=False, prediction_type="v_prediction"))


def _ddim() -> Any:
    return diffusers.DDIMPipeline(unet2d(), ddim_scheduler())


def _ddpm_class() -> Any:
    """Return one with six classes and learned variance, as the networks of Dhariwal & Nichol have it."""
    unet = unet2d(num_class_embeds=6, out_channels=6)
    return diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(variance_type="learned_range"))


def _dit() -> Any:
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        norm_num_groups=4,
    )
    return diffusers.DiTPipeline(transformer, vae(), ddim_scheduler())


def _sd(**scheduling: Any) -> Any:
    scheduler = ddim_scheduler(**LATENT_NOISE, **scheduling)
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        unet=unet(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sd_v() -> Any:
    """Return one as version 2 with v-prediction has it."""
    return _sd(prediction_type="v_prediction")


def _sdxl() -> Any:
    sizes = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    network = unet(2 * WIDTH, projection_class_embeddings_input_dim=6 * 8 + WIDTH, **sizes)
    scheduler = ddim_scheduler(**LATENT_NOISE)
    tokenizers = {"tokenizer": clip_tokenizer(), "tokenizer_2": clip_tokenizer()}
    encoders = {"text_encoder": clip(), "text_encoder_2": clip(projected=True)}
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025), unet=network, scheduler=scheduler, add_watermarker=False, **tokenizers, **encoders
    )


def _pixart(pipeline: str, **options: Any) -> Any:
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=8,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=24,
        caption_channels=WIDTH,
        norm_num_groups=4,
        **options,
    )
    parts = {"tokenizer": t5_tokenizer(), "text_encoder": t5(), "vae": vae(), "scheduler": ddim_scheduler()}
    return getattr(diffusers, pipeline)(transformer=transformer, **parts)


def _pixart_alpha() -> Any:
    """Return one of the size whose network is told the image's size, with large patches."""
    return _pixart("PixArtAlphaPipeline", sample_size=128, patch_size=32)


def _pixart_sigma() -> Any:
    return _pixart("PixArtSigmaPipeline", sample_size=8)


def _sd3() -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
    )
    tokenizers = {"tokenizer": clip_tokenizer(), "tokenizer_2": clip_tokenizer(), "tokenizer_3": t5_tokenizer()}
    encoders = {
        "text_encoder": clip(projected=True),
        "text_encoder_2": clip(projected=True),
        "text_encoder_3": t5(2 * WIDTH),
    }
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(8, scaling_factor=1.5305, shift_factor=0.0609),
        **tokenizers,
        **encoders,
    )


def _flux() -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
    tokenizers = {"tokenizer": clip_tokenizer(), "tokenizer_2": t5_tokenizer()}
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae(4, scaling_factor=0.3611, shift_factor=0.1159),
        transformer=transformer,
        text_encoder=clip(),
        text_encoder_2=t5(),
        **tokenizers,
    )


def _sana() -> Any:
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        sample_size=8,
    )
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    scheduler = diffusers.DPMSolverMultistepScheduler(**flow)
    return diffusers.SanaPipeline(
        tokenizer=gemma_tokenizer(),
        text_encoder=gemma(),
        vae=deep_autoencoder(),
        transformer=transformer,
        scheduler=scheduler,
    )


def _audioldm2() -> Any:
    projection = diffusers.AudioLDM2ProjectionModel(
        text_encoder_dim=WIDTH, text_encoder_1_dim=WIDTH, langauge_model_dim=WIDTH
    )
    return diffusers.AudioLDM2Pipeline(
        vae=vae(scaling_factor=0.41407, in_channels=1, out_channels=1),
        text_encoder=clap(),
        text_encoder_2=t5(),
        projection_model=projection,
        language_model=gpt2(),
        tokenizer=roberta_tokenizer(),
        tokenizer_2=t5_tokenizer(),
        feature_extractor=clap_features(),
        unet=audioldm2_unet(),
        scheduler=ddim_scheduler(**LATENT_NOISE),
        vocoder=vocoder(),
    )


def _stable_audio() -> Any:
    """Return one whose scheduler needs torchsde."""
    from diffusers.pipelines.stable_audio import StableAudioProjectionModel  # noqa: PLC0415 - needs transformers

    return diffusers.StableAudioPipeline(
        vae=oobleck(),
        text_encoder=t5(),
        projection_model=StableAudioProjectionModel(
            text_encoder_dim=WIDTH, conditioning_dim=WIDTH, min_value=0, max_value=512
        ),
        tokenizer=t5_tokenizer(),
        transformer=stable_audio_transformer(),
        scheduler=diffusers.CosineDPMSolverMultistepScheduler(),
    )


KINDS: Mapping[str, Callable[[], Any]] = {
    "ddpm": _ddpm,
    "ddim": _ddim,
    "ddpm-class": _ddpm_class,
    "dit": _dit,
    "sd": _sd,
    "sd-v": _sd_v,
    "sdxl": _sdxl,
    "pixart-alpha": _pixart_alpha,
    "pixart-sigma": _pixart_sigma,
    "sd3": _sd3,
    "flux": _flux,
    "sana": _sana,
    "audioldm2": _audioldm2,
    "stable-audio": _stable_audio,
    "qwen-image": qwen_image,
    "z-image": z_image,
    "wan": wan,
    "wan-2": wan_2,
    "wan-tokens": wan_tokens,
    "ltx": ltx,
}
"""Kinds of pipelines, by what makes one in memory."""

_CLIP = {"size": 16, "frames": 3}

SMALLEST: Mapping[str, Mapping[str, int]] = {
    "flux": {"size": 16},
    "qwen-image": {"size": 16},
    "z-image": {"size": 16},
    "wan": _CLIP,
    "wan-2": _CLIP,
    "wan-tokens": _CLIP,
    "ltx": {"size": 32, "frames": 5},
}
"""Parameters of the model for kinds that by themselves would make samples as large as the published ones do."""
