"""A plugin whose observer raises at every cell."""

from bnsbench.plugin import hookimpl


@hookimpl
def bnsbench_cell_finished(record):
    """Raise."""
    raise RuntimeError("this observer never works")
