"""Mutations of valid inputs: of any bytes, and of the values of JSON."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

TOKENS: tuple[bytes, ...] = (
    *(b"NaN", b"-Infinity", b"inf", b"nan", b"1e999", b"-1e-999", b"1" + b"0" * 400, b"9" * 5000, b"18446744073709551616"),
    *(b"-0", b"0x10", b"1_0", b"1e5", b"-", b".", b"null", b"true", b"\xff\xfe", b"\x00", b"\\ud800", b"\xed\xa0\x80"),
    *(b"\xe2\x80\xa8", b"\xc2\x85", b"\r", b"\r\n", b"\x1b[31m", b"\xef\xbb\xbf", b"[" * 2000, b"{" * 50, b"[[[", b"[]"),
    *(b"]", b"{}", b"}", b'"', b"'", b'"""', b",", b"=", b"\\", b"/../", b"../../x", b"#", b"a" * 300, b" " * 200),
    *("\N{SUPERSCRIPT TWO}".encode(), "\N{MATHEMATICAL DOUBLE-STRUCK DIGIT FOUR}".encode(), "é".encode()),
)  # fmt: skip

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 3, 2**63, 10**30, 10**400, -0.0, 1e308, 1e-320, float("nan"), float("inf")),
    *("", "x", "3.5", "\N{SUPERSCRIPT TWO}", "\x1b", "../x", "a" * 300, "\ud800"),
    *([], {}, [1, 2], [None], ["x"], [[1.0]], {"a": 1}, [[]] * 50, list(range(3000)), {"": {}}),
)  # fmt: skip


def mutated(seeds: list[bytes], draw: random.Random) -> bytes:
    """Return one of the inputs after one to four mutations of its bytes."""
    content = draw.choice(seeds)
    for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4))):
        content = _mutated_once(content, seeds, draw)
    return content


def _mutated_once(content: bytes, seeds: list[bytes], draw: random.Random) -> bytes:
    i, j = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    before, after, token = content[:i], content[i:], draw.choice(TOKENS)
    other = draw.choice(seeds)
    ways: tuple[tuple[int, Callable[[], bytes]], ...] = (
        (25, lambda: before + token + after),
        (15, lambda: before + token + after[draw.randint(1, 12) :]),
        (15, lambda: before + draw.randbytes(draw.randint(1, 4)) + after[1:]),
        (10, lambda: before + after[draw.randint(1, 40) :]),
        (8, lambda: before),
        (10, lambda: content[:j] + content[i:]),
        (10, lambda: before + other[draw.randrange(len(other) + 1) :]),
        (6, lambda: before + token[:20] * draw.choice((30, 300, 3000)) + after),
        (1, lambda: draw.choice((b"", b"\x00" * 1000, draw.randbytes(500), after[:8] * 20_000))),
    )
    return draw.choices([way for _, way in ways], [weight for weight, _ in ways])[0]()


def mutated_data(value: Any, draw: random.Random) -> Any:
    """Return a copy of JSON-like data in which one to three entries are others, absent, or in another place."""
    data = json.loads(json.dumps(value))
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = list(_places(data))
        if not places:
            return _value(draw)
        holder, key = draw.choice(places)
        kind = draw.randrange(10)
        if kind < 6:
            holder[key] = _value(draw)
        elif kind < 8:
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw.choice(("new", "", "schema", "x" * 300))] = _value(draw)
        else:
            holder.insert(0, _value(draw))
    return data


def _value(draw: random.Random) -> Any:
    """Return an odd value of its own, since the next mutation may change what it holds."""
    return copy.deepcopy(draw.choice(VALUES))


def _places(data: Any) -> Any:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, item in list(items)[:50]:
        yield data, key
        yield from _places(item)
