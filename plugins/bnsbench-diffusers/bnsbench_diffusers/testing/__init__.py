"""Tiny pipelines and networks with random weights: for tests, and to try commands without a download.

``python -m bnsbench_diffusers.testing KIND FOLDER`` writes one.
"""

from bnsbench_diffusers.testing.checkpoints import CHECKPOINTS, make_tiny_checkpoint
from bnsbench_diffusers.testing.pipelines import KINDS, SMALLEST, make_tiny_pipeline

__all__ = ["CHECKPOINTS", "KINDS", "SMALLEST", "make_tiny_checkpoint", "make_tiny_pipeline"]
