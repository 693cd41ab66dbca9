"""The plugin host: every model, solver, metric, suite, executor, report and exporter there is, found by name."""

from bnsbench.contract.host import LoadedPlugin, PluginHost
from bnsbench.contract.selectors import Selection, did_you_mean, parse_selector, split_selectors
from bnsbench.contract.sources import PluginProblem, local_file, told_local

__all__ = [
    "LoadedPlugin",
    "PluginHost",
    "PluginProblem",
    "Selection",
    "did_you_mean",
    "local_file",
    "parse_selector",
    "split_selectors",
    "told_local",
]
