"""Which schedulers of the installed diffusers have tables, and why the others have none: prints a table in Markdown.

python -m bnsbench_diffusers.schedulers.survey
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from diffusers.utils.logging import set_verbosity_error

from bnsbench.paths import CondOT, DiscreteVP, Path
from bnsbench.plugin import BnsbenchError
from bnsbench_diffusers.schedulers.classes import names_in_diffusers
from bnsbench_diffusers.schedulers.traced import table

BUDGETS = (8, 9)

_WITHOUT = "This sampler has no table of coefficients. It is "


def verdict(path: Path, name: str) -> str:
    """Return which of the budgets a scheduler spends on the path, or the reason why it has no table at all."""
    spent, reason = [], ""
    for nfe in BUDGETS:
        try:
            table(path, (0.0, 1.0), nfe, name)
        except BnsbenchError as error:
            reason = str(error)
        else:
            spent.append(nfe)
    if spent:
        return "yes" if len(spent) == len(BUDGETS) else f"yes, at {spent[0]} NFE but not at {sum(BUDGETS) - spent[0]}"
    shorter = reason.partition(", so it cannot serve")[0].removeprefix(f"{name}Scheduler").removeprefix(":")
    return shorter.replace(_WITHOUT, "").strip().rstrip(".")


def rows(names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each scheduler with its verdicts on a DDPM schedule and on a flow."""
    diffusion, flow = DiscreteVP.linear(), CondOT()
    for name in names:
        yield name, verdict(diffusion, name), verdict(flow, name)


def main() -> None:
    """Print the table: what works first, then the reasons."""
    set_verbosity_error()
    found = list(rows(names_in_diffusers()))
    works = [row for row in found if any(cell.startswith("yes") for cell in row[1:])]
    lines = ["| scheduler | diffusion | flow |", "|---|---|---|"]
    lines += [f"| `{name}` | {diffusion} | {flow} |" for name, diffusion, flow in works]
    lines += ["", "| refused | why not on a diffusion | why not on a flow |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {diffusion} | {flow} |" for name, diffusion, flow in found if (name, diffusion, flow) not in works
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
