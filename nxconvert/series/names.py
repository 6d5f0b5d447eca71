"""Which names belong together: those that differ by a number."""

from __future__ import annotations

import re
from collections.abc import Sequence

HIGHEST = 2**63 - 1
"""The highest number in a name that is an index."""

_NUMBERS = re.compile(r"(\d+)")


def grouped(names: Sequence[str]) -> list[tuple[str, int]]:
    """Say for each name which series it is of and which index it has there; -1 when it has none.

    Parameters
    ----------
    names
        Paths with slashes.
    """
    out: list[tuple[str, int]] = [(name, -1) for name in names]
    alike: dict[tuple[str, ...], list[int]] = {}
    parts: list[list[str]] = []
    for i, name in enumerate(names):
        folder, _, base = name.rpartition("/")
        words = _NUMBERS.split(base)
        parts.append(words)
        alike.setdefault((folder, *words[::2]), []).append(i)
    for (folder, *texts), members in alike.items():
        slot = _index_slot([parts[i] for i in members], texts)
        if slot is None:
            continue
        for i in members:
            words = [*parts[i]]
            number, words[slot] = int(words[slot]), "{index}"
            number = number if number <= HIGHEST else -1
            out[i] = ("/".join(filter(None, (folder, "".join(words)))), number)
    return out


def _index_slot(members: Sequence[Sequence[str]], texts: Sequence[str]) -> int | None:
    """Return which part of the names is the index: the last number that varies and is no word's beginning (8bit)."""
    for slot in range(len(members[0]) - 2, 0, -2):
        if texts[slot // 2 + 1][:1].isalpha():
            continue
        if len(members) > 1 and len({words[slot] for words in members}) > 1:
            return slot
    return None
