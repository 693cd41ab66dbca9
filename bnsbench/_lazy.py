"""Modules whose names are imported when they are first used, so that importing the module itself costs nothing.

Not even `typing` is imported here: it is most of the cost of importing a small module.
"""

from __future__ import annotations

from importlib import import_module

from bnsbench.errors import needed_for

TYPE_CHECKING = False  # type checkers take a variable of this name to be true
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def lazily(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the function ``__getattr__`` of a module that offers what other modules define.

    Args:
        module: The module's own name, its ``__name__``.
        homes: For each name what it is imported from, such as ``{"Model": "bnsbench.flows.model"}`` for
            ``from bnsbench.flows.model import Model``. What a package offers from itself are its submodules.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        with needed_for(f"{module}.{name}"):
            if homes[name] == module:
                return import_module(f"{module}.{name}")
            return getattr(import_module(homes[name]), name)

    return get
