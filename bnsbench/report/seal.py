"""The seal of a results folder: one digest over all of its files, which a paper can quote and anybody can check.

SHA256SUMS holds the name and hash of every file. A seal holds the hash of SHA256SUMS, so that its own hash, the digest,
stands for the whole folder: ``sha256sum SEAL`` prints it, and ``sha256sum -c SHA256SUMS`` checks the files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.report.integrity import faults
from bnsbench.report.results import SEAL, SUMS, files, sums
from bnsbench.suite.store import ResultStore, write_text

VERSION = 1
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


@dataclass(frozen=True)
class Seal:
    """What is sealed: the number of files and bytes, the content of SHA256SUMS, and the digest over all of it."""

    files: int
    bytes: int
    sums: str

    @property
    def text(self) -> str:
        """The content of the file SEAL; it depends on nothing but the names and contents of the sealed files."""
        listed = hashlib.sha256(self.sums.encode()).hexdigest()
        facts = (("bnsbench seal", VERSION), ("files", self.files), ("bytes", self.bytes), (SUMS, listed))
        return "".join(f"{name} {fact}\n" for name, fact in facts)

    @property
    def digest(self) -> str:
        """The SHA-256 of the file SEAL, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def seal_of(store: ResultStore) -> Seal:
    """Return the seal of the files as they are now, all but previews; nothing is checked or written."""
    found = list(files(store.folder))
    return Seal(len(found), sum(file.stat().st_size for file in found), sums(store.folder))


def seal(store: ResultStore) -> Seal:
    """Write the file SEAL of a results folder and return what it holds; SHA256SUMS lists every file from then on.

    Args:
        store: A finished run, or published results.

    Raises:
        BnsbenchError: If the folder is damaged or unfinished, which no seal may hide.
    """
    found = list(faults(store))
    if found:
        more = f" (and {len(found) - 1} more faults)" if len(found) > 1 else ""
        raise BnsbenchError(f"{store.folder} cannot be sealed: {found[0]}{more}")
    made = seal_of(store)
    write_text(store.folder / SUMS, made.sums)
    write_text(store.folder / SEAL, made.text)
    return made


def digest_in(text: str) -> str:
    """Return the digest that a user has given, in small letters; UsageError if it is none."""
    match = _DIGEST.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"A seal's digest has 64 hexadecimal digits, as 'bnsbench seal' prints it, not {text[:80]!r}.")
    return match[1]


def seal_faults(store: ResultStore, expected: str | None = None) -> Iterator[str]:
    """Yield a sentence if the files are not those that were sealed.

    Args:
        store: The results folder.
        expected: The digest that somebody has quoted; None to check the folder's own SEAL alone, if it has one.
    """
    file = store.folder / SEAL
    if expected is None and not file.is_file():
        return
    now = seal_of(store)
    if expected is not None and now.digest != expected:
        yield (
            f"The seal does not fit: {store.folder} has the digest {now.digest}, not {expected}. Some file has been changed,"
            " added or removed since it was sealed, or other results are meant."
        )
    if file.is_file() and file.read_bytes() != now.text.encode():
        yield f"{file} is not the seal of the files as they are now: 'bnsbench seal' makes it anew."
    listing = store.folder / SUMS
    if expected is not None and (not listing.is_file() or listing.read_bytes() != now.sums.encode()):
        yield f"{listing} does not list the files as they are now."
