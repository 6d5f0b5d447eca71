"""Text files in UTF-8, or in UTF-16, as instruments under Windows write them."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TYPE_CHECKING

from nxconvert import numerals
from nxconvert.errors import InputError

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

SAMPLE = 64 << 10
"""Bytes from which a file's kind is told."""


class TextFile:
    """A text file as UTF-8: the file itself, or a copy of one in UTF-16.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        When it is no text.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self._folder: TemporaryDirectory[str] | None = None
        with path.open("rb") as file:
            start = file.read(SAMPLE)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            from tempfile import TemporaryDirectory

            self._folder = TemporaryDirectory(prefix="nxconvert-")
            self.path = Path(self._folder.name) / path.name
            self._copy(path)
        elif b"\0" in start:
            raise InputError(f"{path} is no text")

    def _copy(self, path: Path) -> None:
        try:
            with (
                path.open(encoding="utf-16", newline="") as read,
                self.path.open("w", encoding="utf-8", newline="") as write,
            ):
                while text := read.read(1 << 20):
                    write.write(text)
        except UnicodeError as error:
            self.close()
            raise InputError(f"{path} begins like UTF-16, but is not: {error}") from None

    def close(self) -> None:
        """Remove the copy."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def text_of(raw: bytes) -> str | None:
    """Decode the beginning of a text; None when it is none."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw[: len(raw) // 2 * 2].decode("utf-16", "replace")
    if b"\0" in raw or not raw:
        return None
    whole = raw[: raw.rfind(b"\n") + 1] or raw
    return numerals.decoded(whole.removeprefix(codecs.BOM_UTF8))
