"""Runs of bnsbench on Slurm, by submitit."""

__version__ = "0.1.0"
