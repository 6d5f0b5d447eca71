"""Which files are images, by their content."""

from __future__ import annotations

from pathlib import Path

from nxconvert import registry
from nxconvert.errors import InputError
from nxconvert.format import Content, Format, Head

HEAD = 4096
"""Bytes by which a file's format is recognised."""


class _Start(Head):
    """The beginning of a file that is open already; it may be inside of a compressed one."""

    def __init__(self, content: Content, name: str) -> None:
        super().__init__(Path(name), bytes(content.view(0, HEAD)))
        self._content = content

    def at(self, offset: int, n: int) -> bytes:
        return bytes(self._content.view(offset, n))


class Recogniser:
    """Finds the formats of files that are images, by content; a file's extension says where to look first."""

    def __init__(self) -> None:
        self._formats = [f for f in registry.formats().values() if f.dissect is not None]
        self._last: dict[str, Format] = {}

    def __call__(self, content: Content, name: str) -> Format | None:
        """Return the format of a file, or None when it is no image.

        Raises
        ------
        InputError
            When its name says that it is one, but its content does not.
        """
        head = _Start(content, name)
        extension = head.extension
        last = self._last.get(extension)
        if last is not None and last.sniff(head) == 2:
            return last
        levels = [(f.sniff(head), f) for f in self._formats]
        best = max((level for level, _ in levels), default=0)
        claims = [f for level, f in levels if level == best and level]
        named = [f for f in claims if extension in f.extensions] or claims
        if named:
            self._last[extension] = named[0]
            return named[0]
        meant = [f for f in self._formats if extension in f.extensions]
        if meant:
            what = "is empty" if not content.size else f"is no {meant[0].title.split(' (')[0]}"
            raise InputError(f"{what}, as its name says")
        return None
