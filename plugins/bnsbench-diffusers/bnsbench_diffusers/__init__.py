"""Pipelines, schedulers and trained solvers of diffusers for bnsbench."""

__version__ = "0.1.0"
