"""Components that further packages of this project offer, so that who lacks a package is told its name."""

from __future__ import annotations

from bnsbench.process.machine import installed_version

OFFERED: dict[str, dict[str, tuple[str, ...]]] = {
    "bnsbench-diffusers": {
        "model": ("diffusers",),
        "solver": ("diffusers",),
        "metric": ("clap-score", "clip-score", "fad-clap", "fad-clap-gt", "lpips", "pick-score"),
        "exporter": ("diffusers", "diffusers-folder"),
        "suite": ("imagenet64", "imagenet256-dit", "text-to-audio", "text-to-image"),
    }
}
"""Names by package and kind of component."""


def package_hint(kind: str, name: str) -> str | None:
    """Return the end of an error message, if a package that is not installed offers what was asked for.

    Args:
        kind: Such as "model" or "exporter".
        name: Of the component.
    """
    for package, offered in OFFERED.items():
        if name in offered.get(kind, ()) and installed_version(package) is None:
            return (
                f"the package {package}, which is not installed, offers one: plugins/{package} in the project's repository."
            )
    return None
