"""Reading SPEC files: which scans there are, and what they are called."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import BinaryIO

from nxconvert import numerals
from nxconvert.errors import InputError
from nxconvert.format import Location, Records, Report
from nxconvert.formats.spec import index, lines
from nxconvert.formats.spec.scan import ScanReader
from nxconvert.record import Record

HEAD = 64 << 10
_NUMBER = re.compile(r"\s*(\d{1,18})(?:\.(\d{1,18}))?(?:\s|$)")
_KEY = '{"nxconvert":1,"key":'


class SpecRecords(Records):
    """The scans of a SPEC file, each looked through when it is reached.

    Attributes
    ----------
    scans
        Where the scans are, each with the header of the file that holds for it.
    counts
        How many scans there are of each number.
    """

    def __init__(self, location: Location, report: Report) -> None:
        self.path, self.report, self.inner = location.path, report, location.inner.strip("/")
        self.scans: list[tuple[index.Part, lines.Controls]] = []
        self.counts: Counter[int] = Counter()
        self._known_keys: list[Mapping[str, str]] | None = None
        try:
            self.file: BinaryIO = self.path.open("rb")
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None
        try:
            self._look()
        except BaseException:
            self.file.close()
            raise

    def close(self) -> None:
        self.file.close()

    def _look(self) -> None:
        size = self.file.seek(0, 2)
        if not size:
            raise InputError(f"{self.path} is empty")
        self.file.seek(size - 1)
        self.ended = self.file.read(1) in (b"\n", b"\r")
        header: lines.Controls = {}
        for part in index.parts(self.file):
            if part.is_scan:
                self.scans.append((part, header))
            elif part.start < part.stop:
                header = self._header(part)
        if not self.ended and self.scans and self._unfinished_line(size).startswith(b"#"):
            self.report.notice(f"{self.path} ends in the middle of a line of a header, which is left out")
            if b"\n" not in self._text(self.scans[-1][0], HEAD):
                self.scans.pop()

    def _unfinished_line(self, size: int) -> bytes:
        self.file.seek(max(0, size - HEAD))
        return self.file.read().rpartition(b"\n")[2]

    def _header(self, part: index.Part) -> lines.Controls:
        found: list[str] = []
        strays = 0
        for _, line in index.text_lines(self.file, part.start, part.stop):
            if line.startswith(b"#"):
                found.append(numerals.decoded(line))
            elif line.strip():
                strays += 1
        if strays:
            why = "these lines belong to no scan"
            self.report.lose(f"{strays} lines from byte {part.start}", str(self.path), why)
        return lines.collect(found)

    def _text(self, part: index.Part, n: int) -> bytes:
        self.file.seek(part.start)
        return self.file.read(min(n, part.stop - part.start))

    def keys(self) -> list[Mapping[str, str]]:
        return [key for _, key in self._chosen()]

    def __iter__(self) -> Iterator[Record]:
        return self.some(range(len(self.scans)))

    def some(self, numbers: Collection[int]) -> Iterator[Record]:
        for n, (i, key) in enumerate(self._chosen()):
            if n in numbers:
                part, header = self.scans[i]
                ended = self.ended or i < len(self.scans) - 1
                yield ScanReader(self.file, self.path, self.report, part, header, key, ended=ended).record()

    def _chosen(self) -> list[tuple[int, Mapping[str, str]]]:
        """Return the numbers and keys of the scans that the location asks for.

        Raises
        ------
        InputError
            When the file has no such scan.
        """
        if self._known_keys is None:
            self._known_keys = self._keys()
        found = [(i, k) for i, k in enumerate(self._known_keys) if self.inner in ("", "_".join(k.values()))]
        if self.inner and not found:
            raise InputError(f"{self.path} has no scan {self.inner}", "'nxconvert ls FILE' shows what it has")
        return found

    def _keys(self) -> list[Mapping[str, str]]:
        """Give each scan its key: the one it was written with, else N.M for the M-th scan of number N."""
        starts = [self._text(part, HEAD).decode("utf-8", "replace") for part, _ in self.scans]
        said = [_said_key(text) for text in starts]
        alone = len(said) == 1
        taken = {tuple(k.items()) for k in said if k}
        out: list[Mapping[str, str]] = []
        used: set[tuple[tuple[str, str], ...]] = set()
        for text, key in zip(starts, said, strict=True):
            number, sub = _numbers(text)
            self.counts[number] += 1
            if key is not None and (alone or key) and tuple(key.items()) not in used:
                out.append(key)
            else:
                if key:
                    self.report.notice(
                        f"{self.path} has scan {'_'.join(key.values())} twice; the second has another key"
                    )
                out.append(self._numbered(number, sub or self.counts[number], used | taken))
            used.add(tuple(out[-1].items()))
        return out

    @staticmethod
    def _numbered(number: int, sub: int, used: Collection[tuple[tuple[str, str], ...]]) -> Mapping[str, str]:
        while (("scan", f"{number}.{sub}"),) in used:
            sub += 1
        return {"scan": f"{number}.{sub}"}


def _numbers(text: str) -> tuple[int, int]:
    found = _NUMBER.match(text[2:].partition("\n")[0])
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _said_key(text: str) -> dict[str, str] | None:
    """Return the key that a memo in these lines gives, an empty one when it gives none; None without a memo."""
    text = text.replace("\r\n", "\n").replace(f"\n#C {lines.MORE}", "")
    at = text.find(f"\n#C {lines.MEMO}")
    if at < 0:
        return None
    start = at + len("\n#C nxconvert ")
    if not text.startswith(_KEY, start):
        return {}
    try:
        key, _ = json.JSONDecoder().raw_decode(text, start + len(_KEY))
    except (ValueError, RecursionError):
        return {}
    good = isinstance(key, dict) and all(isinstance(v, str) for v in key.values())
    return key if good else {}
