"""The command line; ``main`` is the console script."""

from bnsbench.cli.app import main

__all__ = ["main"]
