"""Work in parts that fit: how many samples a network or an extractor takes at once is found by trying, and remembered.

A part that does not fit into memory is halved until it does. Samples do not depend on each other, so that parts change no
result beyond rounding.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Literal, TypeVar

import torch

from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.process.ranks import team

_T = TypeVar("_T")

Work = Literal["values", "tangents", "gradients", "runs"]
"""What is done to a network: it is evaluated, evaluated with dual numbers, backpropagated through once, or through a whole
run of a table."""

_DOING: dict[Work, str] = {
    "values": "evaluated",
    "tangents": "evaluated with dual numbers",
    "gradients": "differentiated by backpropagation",
    "runs": "differentiated through all evaluations of a table",
}
_SMALLER = "compute in bfloat16, or take a smaller network or a device with more memory"
_INSTEAD: dict[Work, str] = {
    "values": _SMALLER,
    "tangents": f"choose derivative=difference, which only evaluates it, {_SMALLER}",
    "gradients": f"choose derivative=forward or derivative=difference, or checkpointed=true, {_SMALLER}",
    "runs": f"choose checkpointed=true or another objective and optimiser, {_SMALLER}",
}
NETWORK, EXTRACTOR = "the network", "the feature extractor"
_WITHOUT = "choose objective=log-mse, which needs none, or take a device with more memory"

STORED_SHARE = 0.25
"""Of a device's free memory that what is kept between evaluations may take; the rest is for the network's activations."""

SIGNS = (
    "out of memory",  # of CUDA, HIP, MPS and XPU
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What texts of torch's RuntimeErrors say of memory."""


class DoesNotFitError(BnsbenchError):
    """A network of which not even one sample fits into memory."""


class Parts:
    """How many samples of each kind of work are taken at once, as found so far.

    Args:
        most: At once, whatever fits; None for as many as fit.
        notice: Hears that samples are taken in parts because of memory; once, unless other work needs smaller ones.
        what: Who gets them, for sentences: NETWORK or EXTRACTOR.

    Raises:
        UsageError: If ``most`` is below 1.
    """

    def __init__(self, most: int | None = None, notice: Callable[[str], None] | None = None, what: str = NETWORK) -> None:
        if most is not None and most < 1:
            raise UsageError(f"A network gets at least one sample at once, not {most}.")
        self._most, self._notice, self._what = most, notice, what
        self._fitting: dict[Work, int] = {}
        self._told: set[int] = set()

    def most(self, work: Work, count: int) -> int:
        """Return how many of ``count`` samples are taken at once, as far as is known."""
        # Whatever else is done to a network, it is evaluated.
        limits = (self._most, self._fitting.get(work), self._fitting.get("values"))
        return min([count, *(limit for limit in limits if limit is not None)])

    def each(self, work: Work, count: int, do: Callable[[slice], _T]) -> list[_T]:
        """Return what ``do`` gives for the samples of each part, in order; of all samples at once where they fit.

        Of processes that work together, each takes its share in parts, and all get what all have found.

        Args:
            work: What is done.
            count: The number of samples.
            do: Takes the samples of a part; it is asked again for fewer where these do not fit.

        Raises:
            DoesNotFitError: If not even one sample fits.
        """
        shares = team().each_share(count, lambda share: self._each(work, share, do))
        return [found for share in shares for found in share]

    def _each(self, work: Work, samples: slice, do: Callable[[slice], _T]) -> list[_T]:
        found: list[_T] = []
        first, count, asked = samples.start, samples.stop - samples.start, 0
        while first < samples.stop or not found:
            size = min(self.most(work, count), samples.stop - first)
            if _fits(do, slice(first, first + size), found):
                first += size
            else:
                asked = asked or size
                self._halve(work, size)
        if asked:
            self._tell(work, asked)
        return found

    def _halve(self, work: Work, size: int) -> None:
        if size <= 1:
            instead = _INSTEAD[work] if self._what == NETWORK else _WITHOUT
            raise DoesNotFitError(f"Not even one sample fits into memory when {self._what} is {_DOING[work]}: {instead}.")
        self._fitting[work] = size // 2

    def _tell(self, work: Work, asked: int) -> None:
        """Say that samples are taken in parts, unless it has been said of parts as small."""
        size = self._fitting[work]
        if self._notice is not None and all(size < told for told in self._told):
            self._notice(
                f"{asked} samples at once do not fit into memory when {self._what} is {_DOING[work]}: from here on it gets"
                f" {size} at a time, which changes no result beyond rounding."
            )
        self._told.add(size)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def free_memory() -> None:
    """Give back what is no longer used, also what torch keeps for later on CUDA devices."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _fits(do: Callable[[slice], _T], part: slice, found: list[_T]) -> bool:
    """Append what ``do`` gives for a part to what has been found; return whether there was memory for it."""
    try:
        found.append(do(part))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    # Here, since the error holds all that the failed attempt has allocated.
    free_memory()
    return False


def storage_device(device: str, numbers: int) -> str:
    """Return where tensors of so many float32 numbers lie: on the device if they take a part of its free memory, else "cpu".

    The network takes what it needs for itself first, so that it has to be on the device when this is asked.
    """
    if not device.startswith("cuda"):
        return device
    free, _ = torch.cuda.mem_get_info(device)
    return device if 4 * numbers <= STORED_SHARE * free else "cpu"
