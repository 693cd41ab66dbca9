"""A plugin that needs a package which is not installed."""

import bnsbench_broken_needs_this  # noqa: F401
