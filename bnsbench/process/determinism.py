"""Deterministic algorithms: the same bits again on the same device, where torch has an algorithm that gives them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

WORKSPACE, SIZE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""The variable by which cuBLAS keeps workspaces of its own for every stream, as torch asks for; it is read once."""


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Let torch use deterministic algorithms alone inside the block, and as before after it; what has none raises there.

    On CUDA devices it has to be on before anything else in the process multiplies matrices.

    Args:
        on: Whether anything is changed.
    """
    if not on:
        yield
        return
    import torch  # noqa: PLC0415 (a listing does without)

    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace, search = os.environ.get(WORKSPACE), torch.backends.cudnn.benchmark
    os.environ[WORKSPACE] = workspace or SIZE
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        torch.backends.cudnn.benchmark = search
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
