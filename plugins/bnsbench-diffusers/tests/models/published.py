"""The denoisers of public checkpoints, built from their configurations without weights, to count what a forward takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import diffusers
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Built = tuple[nn.Module, dict[str, Any]]
"""A network and the arguments of one forward of one sample, all on the device "meta"."""


def numbers(*shape: int) -> Tensor:
    return torch.zeros(shape)


def index() -> Tensor:
    return torch.zeros(1, dtype=torch.int64)


def imagenet64() -> Built:
    """The network of Dhariwal & Nichol 2021 for 64x64 pixels."""
    network = diffusers.UNet2DModel(
        sample_size=64,
        out_channels=6,
        block_out_channels=(192, 384, 576, 768),
        layers_per_block=3,
        down_block_types=("ResnetDownsampleBlock2D", *("AttnDownBlock2D",) * 3),
        up_block_types=(*("AttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
        attention_head_dim=64,
        num_class_embeds=1000,
        resnet_time_scale_shift="scale_shift",
        downsample_type="resnet",
        upsample_type="resnet",
    )
    return network, {"sample": numbers(1, 3, 64, 64), "timestep": index(), "class_labels": index()}


def dit() -> Built:
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=16, attention_head_dim=72, in_channels=4, out_channels=8, num_layers=28, sample_size=32
    )
    return network, {"hidden_states": numbers(1, 4, 32, 32), "timestep": index(), "class_labels": index()}


def stable_diffusion() -> Built:
    network = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    return network, {"sample": numbers(1, 4, 64, 64), "timestep": index(), "encoder_hidden_states": numbers(1, 77, 768)}


def stable_diffusion_3() -> Built:
    """For 512x512 pixels, told 77 tokens of CLIP and 256 of T5."""
    network = diffusers.SD3Transformer2DModel(
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=1536,
        pos_embed_max_size=192,
    )
    told = {"encoder_hidden_states": numbers(1, 333, 4096), "pooled_projections": numbers(1, 2048)}
    return network, {"hidden_states": numbers(1, 16, 64, 64), "timestep": numbers(1), **told}


def audioldm2() -> Built:
    """For ten seconds, told 8 tokens of GPT-2 and 64 of T5."""
    network = diffusers.AudioLDM2UNet2DConditionModel(
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
        up_block_types=(*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
        block_out_channels=(128, 256, 384, 640),
        cross_attention_dim=((None, 768, 1024),) * 4,
        attention_head_dim=(4, 8, 12, 20),
    )
    told = {"encoder_hidden_states": numbers(1, 8, 768), "encoder_hidden_states_1": numbers(1, 64, 1024)}
    return network, {"sample": numbers(1, 8, 250, 16), "timestep": index(), **told}


def stable_audio() -> Built:
    """For 47 seconds, told 128 tokens of T5 and two times."""
    told = {"encoder_hidden_states": numbers(1, 130, 768), "global_hidden_states": numbers(1, 1, 1536)}
    return diffusers.StableAudioDiTModel(), {"hidden_states": numbers(1, 64, 1024), "timestep": numbers(1), **told}


PUBLISHED: Mapping[str, tuple[Callable[[], Built], float]] = {
    "imagenet64": (imagenet64, 296),
    "facebook/DiT-XL-2-256": (dit, 750),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": (stable_diffusion, 860),
    "stabilityai/stable-diffusion-3-medium-diffusers": (stable_diffusion_3, 2028),
    "cvssp/audioldm2": (audioldm2, 347),
    "stabilityai/stable-audio-open-1.0": (stable_audio, 1057),
}
"""By what suites call them: the networks, and their parameters in millions.

Authors state 296, 860, 2 billion, 346 and 1.06 billion for all but DiT, whose 675 diffusers makes 750: it repeats the
embeddings of time and class in every block.
"""


def measured(name: str) -> tuple[float, float]:
    """Return a network's parameters in millions and the 10^9 operations of a forward of one sample."""
    with torch.device("meta"):
        network, given = PUBLISHED[name][0]()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.eval()(**given)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return parameters / 1e6, counter.get_total_flops() / 1e9
