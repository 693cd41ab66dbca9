"""Processes that work together in tests: a function of a module runs in each of them, and what it returns comes back."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch

from bnsbench.process.ranks import joined
from tests.spawning import spawned

SIZE = 2
PATIENCE = 300.0
"""Seconds in which the processes have to be done, on a crowded machine too."""


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def together(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return what a function gives in each of two processes that have joined a team; of one that fails, its error.

    Of one that ends without a word, None.
    """
    port, pipes = free_port(), [multiprocessing.get_context("spawn").Pipe(duplex=False) for _ in range(SIZE)]
    processes = [spawned(_work, rank, port, sender, function, arguments) for rank, (_, sender) in enumerate(pipes)]
    for _, sender in pipes:
        sender.close()
    try:
        return [_received(receiver) for receiver, _ in pipes]
    finally:
        for process in processes:
            process.join(PATIENCE)
            process.kill()


def _received(receiver: Any) -> Any:
    if not receiver.poll(PATIENCE):
        raise TimeoutError("the processes of a team are not done in time")
    try:
        return pickle.loads(receiver.recv_bytes())  # noqa: S301 (from a process of the test's own)
    except EOFError:
        return None


def _work(rank: int, port: int, sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        with joined(rank, SIZE, "gloo"):
            found = function(*arguments)
    except Exception as error:  # noqa: BLE001 (it is what the test looks at)
        found = error
    # As plain bytes: tensors in shared memory would go with the process.
    sender.send_bytes(pickle.dumps(found))
