"""The precision of float32: products and convolutions on CUDA devices are computed in full, not in TF32.

torch computes convolutions in TF32 by default, with 10 bits in place of 23: an adaptive solver would take rounding
for error, and a GPU would disagree with the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def use_full_float32() -> None:
    """Compute float32 in full in this process, whatever was set before."""
    import torch  # noqa: PLC0415 (a command that is only asked for help does without)

    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 in full inside the block, and as before after it."""
    import torch  # noqa: PLC0415

    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    use_full_float32()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
