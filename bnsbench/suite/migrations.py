"""Records of earlier schemas, brought to the present one by steps that are tested each for itself.

A change of what a record's entries mean raises `bnsbench.suite.record.SCHEMA` and adds the step from the schema before it to
STEPS. A step is a pure function from the content of a record, without its checksum, to that of the next schema; it neither
reads files nor changes what it is given, and leaves the record's key as it is, which names its file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bnsbench.errors import CorruptFileError

Content = Mapping[str, Any]
Step = Callable[[Content], Content]

STEPS: Mapping[int, Step] = {}
"""By schema: what makes the content of the next one from it. There has been only one schema so far."""


def migrated(content: Content, schema: int, steps: Mapping[int, Step] = STEPS) -> dict[str, Any]:
    """Return the content of a record as it would have been written with a schema.

    Args:
        content: Of this schema or an earlier one.
        schema: The one that is wanted.
        steps: By the schema that each begins at.

    Raises:
        CorruptFileError: With the reason alone, if no step leads on from the record's schema.
    """
    made = dict(content)
    for number in range(int(made["schema"]), schema):
        if number not in steps:
            raise CorruptFileError(f"it has schema {number}, from which no step leads to {schema}")
        made = {**steps[number](made), "schema": number + 1}
    return made
