"""Pipelines, schedulers and trained solvers of diffusers for bnsbench."""
