"""Named choices that do not come from plugins: paths, time grids, objectives, families of trained solvers.

Each room lists its own in a file that imports nothing heavy, so that they can be listed without it; tests hold these lists
to the code.
"""

from __future__ import annotations

from dataclasses import dataclass

from bnsbench.contract.specs import Scalar


@dataclass(frozen=True)
class Option:
    """An option of a choice.

    default: its value if it is not given; None if it must be given, or if it follows from something else that ``allowed``
        tells.
    allowed: its values, such as "above 0".
    meaning: what it does, where its name does not say it.
    """

    name: str
    default: Scalar | None
    allowed: str
    meaning: str = ""


@dataclass(frozen=True)
class Choice:
    """Something that is chosen by its name.

    name: as users and records write it.
    written: all that may be written, with the options in their places.
    summary: one sentence for listings.
    options: in the order in which they are written.
    known_as: other names that mean the same here.
    """

    name: str
    written: str
    summary: str
    options: tuple[Option, ...] = ()
    known_as: tuple[str, ...] = ()
