"""A command that torchrun has started in several processes: one of them speaks, and each has a device of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO

from bnsbench._text import quoted, whole_number
from bnsbench.errors import BnsbenchError, UsageError

RENDEZVOUS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables of the environment by which torchrun, and whoever else starts processes for torch.distributed, tells of them."""
INTERRUPTED = 130


@contextmanager
def working_together(device: str) -> Iterator[str]:
    """Let the command in the block be done by all the processes that were started for it; by itself if there are no others.

    Args:
        device: As the user says it: "auto" and "cuda" are a GPU for each process of a machine.

    Yields:
        The device of this process.

    Raises:
        UsageError: For variables that tell of no team, a GPU that all would share, or fewer GPUs than processes.
        BnsbenchError: Whatever has been raised in one of the processes; the first one raises it, the others end in silence.
    """
    if any(variable not in os.environ for variable in RENDEZVOUS) or _number("WORLD_SIZE") == 1:
        yield device
        return
    rank, size = _number("RANK"), _number("WORLD_SIZE")
    with _speaking(rank == 0):
        from bnsbench.process.ranks import joined

        on_cuda = _takes_cuda(device)
        with joined(rank, size, "cpu:gloo,cuda:nccl" if on_cuda else "gloo"):
            yield _own_device(device) if on_cuda else device


def _number(variable: str) -> int:
    number = whole_number(os.environ.get(variable, ""))
    if number is None:
        raise UsageError(
            f"The environment variable {variable} is {quoted(os.environ.get(variable, ''))} and no whole number: start"
            " the processes with torchrun."
        )
    return number


def _takes_cuda(device: str) -> bool:
    import torch

    return device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())


def _own_device(device: str) -> str:
    """Return the GPU of this process, of those that work on one machine."""
    import torch

    if ":" in device:
        raise UsageError(f"Each process has a GPU of its own: --device takes auto, cpu or cuda, not {quoted(device)}.")
    count, local = torch.cuda.device_count(), _number("LOCAL_RANK" if "LOCAL_RANK" in os.environ else "RANK")
    if local >= count:
        raise UsageError(f"This machine has {count} CUDA devices: start as many processes, or choose --device cpu.")
    torch.cuda.set_device(local)
    return f"cuda:{local}"


@contextmanager
def _speaking(aloud: bool) -> Iterator[None]:
    """Let this process print if it is the one that does; its faults reach the first process, which tells them."""
    if aloud:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, _printing_to(nowhere):
        try:
            yield
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except Exception as error:
            raise SystemExit(error.exit_code if isinstance(error, BnsbenchError) else 1) from error


@contextmanager
def _printing_to(stream: IO[str]) -> Iterator[None]:
    with redirect_stdout(stream), redirect_stderr(stream):
        yield
