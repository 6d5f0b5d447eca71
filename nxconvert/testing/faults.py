"""Damaged files, and a child process that reads them, so that a crash or a hang is seen and not suffered."""

from __future__ import annotations

import multiprocessing
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from nxconvert.array import Array, Values
from nxconvert.dataclass import dataclass
from nxconvert.errors import NxconvertError
from nxconvert.format import Location, Policy, Records, Report, Tree
from nxconvert.record import Record
from nxconvert.testing.differences import missing_rows, same_values
from nxconvert.tree import Dataset, walk

PATIENCE = 10.0
"""Seconds that reading one small file may take."""

LARGE = 64 << 20
"""Bytes of an array that is read by box."""

MEMORY = 4 << 30
"""Bytes that a reader may allocate: a damaged size must not take the machine down."""


@dataclass(frozen=True)
class Outcome:
    """How reading a file ended.

    Attributes
    ----------
    kind
        ``read``; ``refused`` by an ``NxconvertError``; ``raised`` something else; ``crashed`` or ``hung``.
    detail
        What was raised.
    content
        For ``read``: the records, or the values of the tree by path.
    """

    kind: str
    detail: str = ""
    content: Any = None


def contents(source: Records | Tree) -> list[Record] | dict[str, Any]:
    """Read all there is: the records with their values in memory, or the values of a tree by path."""
    if isinstance(source, Tree):
        out: dict[str, Any] = {}
        for node in walk(source.root):
            dict(node.attrs)
            out[node.path] = _part(node) if isinstance(node, Dataset) else None
        return out
    return [in_memory(record) for record in source]


def _part(array: Array) -> Any:
    """Read an array, or the corner of one whose shape, damaged, is larger than anybody would read at once."""
    if array.size * max(1, array.dtype.itemsize) <= LARGE:
        return array.read()
    return array.read(tuple(slice(0, min(n, 8)) for n in array.shape))


def in_memory(record: Record) -> Record:
    """Return a record whose values have been read, and whose blocks were read too."""
    for _ in record.blocks():
        pass
    fields = [
        replace(
            f,
            values=Values(f.values.read(), f.dtype),
            mask=None if f.mask is None else Values(f.mask.read()),
            attrs=dict(f.attrs),
        )
        for f in record.fields.values()
    ]
    key, grid = dict(record.key), dict(record.grid) if record.grid else None
    return Record(key, {f.name: f for f in fields}, record.source, record.mapping, grid, record.finished)


def _serve(pipe: Connection, open: Callable[..., Records | Tree]) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while (path := pipe.recv()) is not None:
        pipe.send(_outcome(open, path))


def _outcome(open: Callable[..., Records | Tree], path: str) -> Outcome:
    try:
        with open(Location(path), Policy(), Report()) as source:
            return Outcome("read", content=contents(source))
    except NxconvertError as error:
        return Outcome("refused", f"{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        import traceback

        last = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome("raised", f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})")


class Reader:
    """Reads files by a format's ``open`` in a child process; a context manager.

    Parameters
    ----------
    open
        ``Format.open``: a function or class of an importable module.
    """

    def __init__(self, open: Callable[..., Records | Tree]) -> None:
        self.open = open
        self._child: Any = None
        self._pipe: Connection | None = None
        self._warm = False

    def read(self, path: Path) -> Outcome:
        """Read a file; a child that crashed or hung is replaced by another."""
        pipe = self._pipe or self._start()
        pipe.send(str(path))
        try:
            if pipe.poll(PATIENCE + (0 if self._warm else 30)):
                self._warm = True
                outcome: Outcome = pipe.recv()
                return outcome
            outcome = Outcome("hung", f"more than {PATIENCE:.0f} s")
        except (EOFError, ConnectionResetError):
            self._child.join()
            outcome = Outcome("crashed", f"exit code {self._child.exitcode}")
        self._stop()
        return outcome

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_serve, args=(theirs, self.open), daemon=True)
        self._child.start()
        theirs.close()
        self._warm = False
        return self._pipe

    def _stop(self) -> None:
        if self._pipe is None:
            return
        self._child.kill()
        self._child.join()
        self._child.close()
        self._pipe.close()
        self._pipe = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()


def files_of(path: Path) -> list[Path]:
    """Return a file, or the files of a folder in a steady order, as paths relative to it."""
    if path.is_dir():
        return sorted(p.relative_to(path) for p in path.rglob("*") if p.is_file())
    return [Path()]


def truncated(path: Path, seed: int, count: int) -> Iterator[tuple[str, Path]]:
    """Yield copies of a file that end early, each with a description; of a folder, one of its files does."""
    yield from _damaged(path, seed, count, _cut)


def mutated(path: Path, seed: int, count: int) -> Iterator[tuple[str, Path]]:
    """Yield copies of a file in which a few bytes were changed, inserted or removed, each with a description."""
    yield from _damaged(path, seed, count, _mutate)


def _damaged(
    path: Path, seed: int, count: int, damage: Callable[[bytes, random.Random], tuple[str, bytes]]
) -> Iterator[tuple[str, Path]]:
    copy = path.with_name(f"damaged{path.suffix}")
    for number in range(count):
        chance = random.Random(seed * 1_000_003 + number)  # noqa: S311 - not for secrets
        part = chance.choice(files_of(path))
        done, raw = damage((path / part).read_bytes(), chance)
        _remove(copy)
        if path.is_dir():
            shutil.copytree(path, copy)
        (copy / part).write_bytes(raw)
        yield f"{part}: {done}" if path.is_dir() else done, copy
    _remove(copy)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _cut(raw: bytes, chance: random.Random) -> tuple[str, bytes]:
    kept = chance.randrange(len(raw)) if raw else 0
    return f"cut after {kept:,} of {len(raw):,} bytes", raw[:kept]


def _mutate(raw: bytes, chance: random.Random) -> tuple[str, bytes]:
    out, done = bytearray(raw), []
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if not out:
            break
        # The first bytes of a file say how to read the rest: half of the damage goes there.
        at = chance.randrange(min(len(out), 512) if chance.random() < 0.5 else len(out))
        kind = chance.choice(("flip", "flip", "set", "insert", "remove"))
        if kind == "flip":
            out[at] ^= 1 << chance.randrange(8)
        elif kind == "set":
            out[at] = chance.choice((0, 255, 45, 48, 57, chance.randrange(256)))
        elif kind == "insert":
            out[at:at] = bytes([chance.randrange(256)])
        else:
            del out[at]
        done.append(f"{kind} {at}")
    return ", ".join(done), bytes(out)


def beginning(found: Any, whole: Any) -> str:
    """Say what was read from a cut file that is not in the whole one; empty when it is its beginning.

    A format that is read line by line may end early unseen; a value that was never written is wrong.

    Parameters
    ----------
    found, whole
        ``contents`` of either.
    """
    if isinstance(whole, dict):
        wrong = [p for p, v in found.items() if p not in whole or not _same(v, whole[p])]
        return f"{wrong[0]} has values that were never written" if wrong else ""
    if len(found) > len(whole):
        return "more records than were written"
    reasons = (_other_rows(a, b) for a, b in zip(found, whole, strict=False))
    return next((r for r in reasons if r), "")


def _same(a: Any, b: Any) -> bool:
    return (a is None) == (b is None) and (a is None or same_values(np.asarray(a), np.asarray(b)))


def _other_rows(found: Record, whole: Record) -> str:
    written = {f.name: f for f in whole.columns}
    for f in found.columns:
        if f.name not in written:
            return f"a column {f.name!r} that was never written"
        full = written[f.name].values.read()
        there = np.flatnonzero(~missing_rows(f, f.shape[0]))
        if len(there) and there[-1] >= len(full):
            return f"{f.name} has more rows than were written"
        if not same_values(f.values.read()[there], full[there]):
            return f"{f.name} has a value that was never written"
    return ""
