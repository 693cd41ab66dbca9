"""Class-conditional pictures of clothes: one U-Net, trained with two paths and two prediction types."""

from __future__ import annotations

from bnsbench.flows.paths import VP, CondOT
from bnsbench.models.variants import Variant

VARIANTS = {
    "ot": Variant(CondOT(), "velocity"),
    "vp": Variant(VP(), "epsilon", end=1.0 - 1e-3, reads_log_snr=True),
}
