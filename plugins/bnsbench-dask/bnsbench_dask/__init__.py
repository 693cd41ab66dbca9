"""Runs of bnsbench on a Dask cluster."""

__version__ = "0.1.0"
