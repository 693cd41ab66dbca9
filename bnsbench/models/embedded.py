"""What all embedded models that are networks have in common."""

from __future__ import annotations

from copy import copy
from typing import Self

import torch
from torch import nn

from bnsbench.flows.model import Model


class EmbeddedNetwork(Model):
    """A model of one network with its weights.

    Args:
        network: Which is frozen.
        fingerprint: A hash of the weights and of all else that decides what the model says.
    """

    def __init__(self, network: nn.Module, fingerprint: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self._fingerprint = fingerprint

    def with_network(self, network: nn.Module, fingerprint: str) -> Self:
        """Return this model with another network in its place, and the hash of that one's weights."""
        found = copy(self)
        EmbeddedNetwork.__init__(found, network, fingerprint)
        return found

    def networks(self) -> tuple[nn.Module, ...]:
        return (self.network,)

    def fingerprint(self) -> str:
        return self._fingerprint

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        self.network.to(device=device, dtype=dtype)
        return super().to(device, dtype)
