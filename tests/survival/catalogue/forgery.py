"""What a forgery is, and the list of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.survival.forging import Forger

Forge = Callable[[Forger], None]


@dataclass(frozen=True)
class Forgery:
    """A forgery.

    trained: whether only training again can find it. beyond: why `verify` cannot find it, "" if it can. finished: whether
    it has made the tables and hashes itself, so that they are left as they are.
    """

    name: str
    forge: Forge
    trained: bool = False
    beyond: str = ""
    finished: bool = False


CATALOGUE: list[Forgery] = []

TIME = "times depend on the machine, and are only checked to be possible"
TRUST = "what machine and versions made the results is told by them alone"
NOTHING = "nothing follows from it"
SUITE = "the suite itself says what is compared, and this is another suite; a seal tells it from the one that was sealed"


def forgery(*, trained: bool = False, beyond: str = "", finished: bool = False) -> Callable[[Forge], Forge]:
    """Add a function to the catalogue."""

    def add(function: Forge) -> Forge:
        CATALOGUE.append(Forgery(function.__name__, function, trained, beyond, finished))
        return function

    return add
