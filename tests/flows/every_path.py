"""Every path that there is, and where an interval on it ends."""

from __future__ import annotations

from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP, Path, Preconditioned

PATHS: dict[str, tuple[Path, float]] = {
    "condot": (CondOT(), 1.0),
    "cosine": (Cosine(), 1.0),
    "vp": (VP(), 0.999),
    "discrete": (DiscreteVP.linear(), 1.0),
    "edm": (EDM(), 1.0),
    "ve": (VE(), 1.0),
    "preconditioned": (Preconditioned(CondOT(), 3.0), 1.0),
}
"""Intervals begin at 0."""

OTHERS = {name: found for name, found in PATHS.items() if name != "condot"}
"""Those that are not canonical."""
