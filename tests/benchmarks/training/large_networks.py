"""Networks of published sizes with random weights, as a plugin file: what is measured on them does not depend on weights.

`dit` is DiT-XL/2 on latents of 4x32x32 (Peebles & Xie 2023; 675 M parameters, 750 M as diffusers has it), `pixart` is
PixArt-alpha XL/2 on latents of 4x64x64 for images of 512 pixels (Chen et al. 2023; 611 M), `sd3` Stable Diffusion 3 medium
on latents of 16x64x64 (Esser et al. 2024; 2.0 B), each with as many blocks as asked for.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bnsbench.paths import CondOT
from bnsbench.plugin import Model, ModelSpec, hookimpl

TOKENS = 77
"""Of a prompt: a short one, since random encodings stand for it."""
HEAD = 72
"""Numbers of an attention head of DiT-XL/2, and of PixArt-alpha XL/2, which has grown from it."""


class Large(Model):
    """A network with random weights on the CondOT path; calls with its inputs and gives back its output."""

    path = CondOT()
    interval = (0.0, 1.0)

    def __init__(self, network: nn.Module, shape: tuple[int, ...], name: str, call: Callable[..., Tensor]) -> None:
        self.network: Any = network.eval().requires_grad_(False)
        self.shape, self.name, self._call = shape, name, call

    def conditions(self, indices: Tensor) -> Tensor:
        return indices % 1000

    def null_condition(self, condition: Tensor) -> Tensor:
        return torch.full_like(condition, 1000)

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        timestep = (1000 * (1 - t)).to(x.device, torch.float32).expand(len(x))
        return self._call(self.network, x, timestep, condition.to(x.device))[:, : self.shape[0]]

    def recompute(self, on: bool) -> bool:
        switch = "enable" if on else "disable"
        getattr(self.network, f"{switch}_gradient_checkpointing")()
        return True

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Large:
        for part in (*self.network.parameters(), *self.network.buffers()):  # without diffusers' word on float32
            part.data = part.data.to(device, dtype) if part.is_floating_point() else part.data.to(device)
        gc.collect()
        return super().to(device, dtype)

    def fingerprint(self) -> str:
        return self.name.encode().hex()


def _xl_2(made: Any, blocks: int, heads: int, size: int) -> Callable[..., nn.Module]:
    """Return what DiT-XL/2 and PixArt-alpha XL/2 have in common, for latents of 4 x size x size."""
    return partial(
        made,
        num_attention_heads=heads,
        attention_head_dim=HEAD,
        in_channels=4,
        out_channels=8,
        num_layers=blocks,
        sample_size=size,
        patch_size=2,
    )


def dit(blocks: int = 28, heads: int = 16) -> Large:
    """Return DiT-XL/2 for 256 pixels, of so many blocks and attention heads of 72 numbers."""
    from diffusers import DiTTransformer2DModel

    network = seeded(
        partial(
            _xl_2(DiTTransformer2DModel, blocks, heads, 32),
            norm_num_groups=32,
            attention_bias=True,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_elementwise_affine=False,
            norm_eps=1e-5,
        )
    )

    def call(network: Any, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        output: Tensor = network(x, timestep=timestep, class_labels=condition, return_dict=False)[0]
        return output

    return Large(network, (4, 32, 32), f"dit-{blocks}-{heads}", call)


def pixart(blocks: int = 28, heads: int = 16) -> Large:
    """Return PixArt-alpha XL/2 for 512 pixels, of so many blocks and attention heads of 72 numbers."""
    from diffusers import PixArtTransformer2DModel

    network = seeded(
        partial(
            _xl_2(PixArtTransformer2DModel, blocks, heads, 64),
            cross_attention_dim=HEAD * heads,
            caption_channels=4096,
            use_additional_conditions=False,
        )
    )

    def call(network: Any, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        sizes = {"resolution": None, "aspect_ratio": None}
        output: Tensor = network(
            x, prompts(condition, 4096, x), timestep=timestep, added_cond_kwargs=sizes, return_dict=False
        )[0]
        return output

    return Large(network, (4, 64, 64), f"pixart-{blocks}-{heads}", call)


def sd3(blocks: int = 24, heads: int = 24) -> Large:
    """Return Stable Diffusion 3 medium for 512 pixels, of so many blocks and attention heads of 64 numbers."""
    from diffusers import SD3Transformer2DModel

    made: Any = SD3Transformer2DModel
    network = seeded(
        partial(
            made,
            sample_size=64,
            patch_size=2,
            in_channels=16,
            num_layers=blocks,
            attention_head_dim=64,
            num_attention_heads=heads,
            joint_attention_dim=4096,
            caption_projection_dim=64 * heads,
            pooled_projection_dim=2048,
            out_channels=16,
            pos_embed_max_size=192,
        )
    )

    def call(network: Any, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        output: Tensor = network(
            x,
            encoder_hidden_states=prompts(condition, 4096, x),
            pooled_projections=prompts(condition, 2048, x)[:, 0],
            timestep=timestep,
            return_dict=False,
        )[0]
        return output

    return Large(network, (16, 64, 64), f"sd3-{blocks}-{heads}", call)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a network whose weights are drawn with a seed, the last layer's not zero as it begins in a training."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = make()
        for name, part in network.named_parameters():
            if name.endswith(("proj_out.weight", "proj_out_2.weight")):
                nn.init.normal_(part, std=0.02)
    return network


def prompts(condition: Tensor, width: int, x: Tensor) -> Tensor:
    """Return what stands for the encodings of prompts [batch, TOKENS, width]: waves of a length by their number."""
    place = torch.arange(TOKENS * width, device=x.device, dtype=torch.float32).view(TOKENS, width)
    return torch.sin(place[None] * (1.0 + condition.view(-1, 1, 1) / 1000)).to(x.dtype)


MODELS: dict[str, Callable[..., Large]] = {"dit": dit, "pixart": pixart, "sd3": sd3}


@hookimpl
def bnsbench_models() -> Iterator[ModelSpec]:
    """Yield the networks."""
    for name, blocks, heads in (("dit", 28, 16), ("pixart", 28, 16), ("sd3", 24, 24)):
        yield ModelSpec(
            name=f"large-{name}",
            target=f"tests.benchmarks.training.large_networks:{name}",
            summary="A network of a published size with random weights.",
            parameters={"blocks": blocks, "heads": heads},
            guidable=True,
        )
