"""The command line inside the test's process, as for the tests of commands."""

from tests.cli.conftest import bnsbench

__all__ = ["bnsbench"]
