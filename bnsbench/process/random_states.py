"""The global random states of torch, NumPy and Python, which no component may use or move."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded_random_states(seed: int) -> Iterator[None]:
    """Seed the global random states of torch (on the CPU), NumPy and Python, and restore them in the end."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def random_states() -> dict[str, bytes]:
    """Return the global random states by module, to be compared."""
    _, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy.random": np.asarray(keys).tobytes() + repr(rest).encode(),
        "random": repr(random.getstate()).encode(),
    }
