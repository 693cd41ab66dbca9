"""float32 is computed in full, whatever was set before, and settings come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bnsbench.process.float32 import full_float32, use_full_float32


def settings() -> tuple[str, bool]:
    """Return the precision of products, and whether convolutions may be in TF32."""
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def coarse() -> Iterator[None]:
    before = settings()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def test_a_process_computes_in_full() -> None:
    use_full_float32()
    assert settings() == ("highest", False)


def test_inside_a_block_alone() -> None:
    with full_float32():
        assert settings() == ("highest", False)
    assert settings() == ("high", True)


def test_settings_come_back_after_a_fault() -> None:
    with pytest.raises(ZeroDivisionError), full_float32():
        _ = 1 // 0
    assert settings() == ("high", True)
