"""Which clip names have occurred, in a few bytes for each: a million names stay small.

A Python set of names costs 150 bytes and more for each, all of them small objects. Here each name
is a digest of 16 bytes in one block of memory, searched as a hash table with open addressing.
"""

from __future__ import annotations

import hashlib

DIGEST_BYTES = 16  # two different names in a million agree with a probability of 1e-27
EMPTY = bytes(DIGEST_BYTES)
FIRST_SLOTS = 1 << 10  # a power of two, as always
FULLEST = 0.7  # share of the slots in use beyond which the table doubles


class NameSet:
    """Names that have been added, at 23 to 46 bytes for each."""

    def __init__(self) -> None:
        self._table = bytearray(FIRST_SLOTS * DIGEST_BYTES)
        self._mask = FIRST_SLOTS - 1
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: str) -> bool:
        return self._slot(_digest(name))[1]

    def add(self, name: str) -> bool:
        """Add a name and return whether it is new."""
        digest = _digest(name)
        begin, found = self._slot(digest)
        if found:
            return False
        self._table[begin : begin + DIGEST_BYTES] = digest
        self._count += 1
        if self._count > FULLEST * (self._mask + 1):
            self._double()
        return True

    def _slot(self, digest: bytes) -> tuple[int, bool]:
        """Return where a digest stands, or would, and whether it does."""
        slot = int.from_bytes(digest[:8], "little") & self._mask
        while True:
            begin = slot * DIGEST_BYTES
            stored = self._table[begin : begin + DIGEST_BYTES]
            if stored == digest:
                return begin, True
            if stored == EMPTY:
                return begin, False
            slot = (slot + 1) & self._mask

    def _double(self) -> None:
        old = self._table
        self._mask = 2 * self._mask + 1
        self._table = bytearray(2 * len(old))
        for begin in range(0, len(old), DIGEST_BYTES):
            digest = bytes(old[begin : begin + DIGEST_BYTES])
            if digest != EMPTY:
                place = self._slot(digest)[0]
                self._table[place : place + DIGEST_BYTES] = digest


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
