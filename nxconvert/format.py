"""The contract of a format: what a reader and a writer must offer, and nothing else.

A format is one file with ``FORMAT = Format(...)``. It never knows about NeXus layouts or about other formats.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nxconvert.array import Array, Values
from nxconvert.dataclass import dataclass
from nxconvert.dissection import Content, Dissection
from nxconvert.errors import OutputError, UsageError
from nxconvert.location import Location
from nxconvert.policy import Policy
from nxconvert.record import Block, Record
from nxconvert.report import Report
from nxconvert.tree import Dataset, Group, NewDataset


class Source(ABC):
    """An open input, a snapshot; a context manager."""

    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Tree(Source):
    """An open input that is a tree."""

    root: Group


class Records(Source):
    """An open input that is a sequence of records, each made when it is reached."""

    @abstractmethod
    def __iter__(self) -> Iterator[Record]: ...

    def keys(self) -> list[Mapping[str, str]]:
        """Return the keys of all records, as cheaply as the format can."""
        return [record.key for record in self]

    def some(self, numbers: Collection[int]) -> Iterator[Record]:
        """Yield the records of some numbers, counted as in ``keys``; as cheaply as the format can."""
        return (record for number, record in enumerate(self) if number in numbers)


class Sink(ABC):
    """An open output. It is made at a name of its own and published by ``engine.publish``, never by the format.

    For a record: ``begin(record)``, ``write(block)`` for its blocks, ``end()``; again for the next record when the
    format holds many; then ``close``. ``abort`` instead, when something failed.
    """

    @abstractmethod
    def close(self) -> None:
        """Complete the file and close it."""

    @abstractmethod
    def abort(self) -> None:
        """Close the file as it is; it will be removed."""


class RecordSink(Sink):
    """An output of records."""

    @abstractmethod
    def begin(self, record: Record) -> None:
        """Start a record, by its key and the specification of its fields.

        Raises
        ------
        OutputError
            When the format cannot hold it; ``holds`` says what it can.
        """

    def fetches(self) -> Collection[str]:
        """Return the per-row fields of the record whose items the sink takes from their places itself, by its end."""
        return ()

    @abstractmethod
    def write(self, block: Block) -> None:
        """Take the next rows of the record: of all fields that it does not fetch."""

    @abstractmethod
    def end(self) -> None:
        """Complete the record."""


class FileSink(RecordSink):
    """An output of records that is one file.

    Parameters
    ----------
    path
        The file.
    adding
        Whether what is there stays, and the rest is written behind it.

    Raises
    ------
    OutputError
        When it cannot be created or, later, written.
    """

    def __init__(self, path: Path, *, adding: bool = False) -> None:
        self.path = path
        try:
            self.file = path.open("ab" if adding else "wb")
        except OSError as error:
            raise OutputError(f"{path} cannot be created: {error.strerror}") from None

    def put(self, data: bytes | memoryview, at: int | None = None) -> None:
        """Write bytes: behind what there is, or over it ``at`` an offset, which only a format that ``seeks`` may do."""
        try:
            if at is None:
                self.file.write(data)
                return
            self.file.seek(at)
            self.file.write(data)
            self.file.seek(0, os.SEEK_END)
        except OSError as error:
            raise self._failed(error) from None

    def end(self) -> None:
        """Nothing is known late."""

    def close(self) -> None:
        try:
            self.file.close()
        except OSError as error:
            raise self._failed(error) from None

    def abort(self) -> None:
        with contextlib.suppress(OSError):  # what it could not write goes with it
            self.file.close()

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path} cannot be written: {error.strerror}")


class TreeSink(Sink):
    """An output that is a tree."""

    @abstractmethod
    def begin(self, root: Group) -> None:
        """Make the groups, links, attributes and datasets of a tree, merged with what is there.

        Datasets whose values are in memory (``NewDataset`` of ``Values``) are written at once; the others are made
        empty, to be filled by ``write`` until the next ``begin``.

        A ``Virtual`` dataset is a view of what is in the output already: a format that has no such thing makes it empty
        too, and leaves it among what ``unfilled`` yields. A link whose kind is ``hard`` is a second name.

        Raises
        ------
        OutputError
            When a name is taken, or a value has no place in the format.
        """

    @abstractmethod
    def write(self, path: str, start: tuple[int, ...], values: Any) -> None:
        """Put values into the dataset at ``path``, from the index ``start``."""

    def fetch(self, path: str, values: Array, source: str, moved: Callable[[str, int], None]) -> bool:
        """Fill the dataset at ``path`` with an array whose items are taken from their places.

        Parameters
        ----------
        path
            The dataset.
        values
            The array.
        source
            What it is called in messages.
        moved
            Told that name and how many bytes went, again and again.

        Returns
        -------
        bool
            False, and nothing done, when it has to be written.
        """
        return False

    def sign(self) -> None:
        """Say in the format's own way who made the file, and when."""

    @abstractmethod
    def annotate(self, path: str, attrs: Mapping[str, Any]) -> None:
        """Add attributes that were known only after the values had been read."""

    def unfilled(self, root: Group) -> Iterator[tuple[str, Dataset]]:
        """Yield the datasets, with their paths, of the tree that ``begin`` was given whose values are still to come."""
        pending: list[tuple[str, Group]] = [("", root)]
        while pending:
            above, here = pending.pop()
            below: list[tuple[str, Group]] = []
            for name in here:
                if here.link(name) is not None:
                    continue
                node, path = here.child(name), f"{above}/{name}"
                if isinstance(node, Group):
                    below.append((path, node))
                elif isinstance(node, NewDataset) and isinstance(node.array, Values):
                    continue
                elif isinstance(node, Dataset):
                    yield path, node
            pending.extend(reversed(below))

    def fills_gaps(self, path: str) -> bool:
        """Tell whether the dataset at ``path`` reads as its source does where nothing is written: one fill value."""
        return False

    def takes_chunks(self, path: str, storage: Any) -> bool:
        """Tell whether raw chunks of that storage can be put into the dataset at ``path``."""
        return False

    def write_chunk(self, path: str, offset: tuple[int, ...], raw: bytes, mask: int) -> None:
        """Put one stored chunk, byte for byte."""
        raise AssertionError("takes_chunks said no")


@dataclass(frozen=True)
class Holds:
    """What a format can carry.

    Attributes
    ----------
    tree
        Whether it holds a tree; otherwise records.
    item_rank
        The highest rank of a row's item: 0 for a table of columns, 2 for frames, 30 for any array.
    min_item_rank
        2 for an image format, which is given one stack of frames, and columns of numbers beside it; else 0.
    records
        How many records fit one file: 1, or None for any number.
    kinds
        Kinds of numpy dtype of the items; ``S`` is text.
    header
        Whether header values have a place (if need be in the format's comment).
    attrs
        Whether units and other attributes have one.
    note
        What people should know besides, in a few words.
    """

    tree: bool = False
    item_rank: int = 0
    min_item_rank: int = 0
    records: int | None = None
    kinds: str = "biufS"
    header: bool = True
    attrs: bool = True
    note: str = ""


@dataclass(frozen=True)
class Option:
    """One option of a writer or reader: ``name=value`` in Python, ``--set name=value`` on the command line.

    Attributes
    ----------
    name
        The argument of ``create`` or ``open``.
    default
        Its value when nothing is said. A text on the command line becomes a value of its type: a bool, an int, a float;
        numbers with commas between them for a tuple of int; text otherwise.
    help
        What it is for, in one line.
    choices
        The values that are allowed; any, when empty.
    """

    name: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()

    def parse(self, text: str) -> Any:
        """Read a value that was written as text.

        Raises
        ------
        UsageError
            When it is of another type than the default.
        """
        wanted, read = _READS.get(type(self.default), ("", str))
        try:
            return read(text)
        except (ValueError, KeyError):
            raise UsageError(f"{self.name}={text} is no {wanted}", self.help) from None


_READS: dict[type, tuple[str, Callable[[str], Any]]] = {
    bool: ("true or false", lambda text: {"true": True, "yes": True, "false": False, "no": False}[text.lower()]),
    int: ("integer", int),
    float: ("number", float),
    tuple: ("list of integers", lambda text: tuple(int(part) for part in text.split(","))),
}
"""What a text is read as, by the type of an option's default."""


class Head:
    """The beginning of an input, for recognising it.

    Attributes
    ----------
    path
        The file; or the folder, for formats that are one; None for standard input.
    start
        Its first 64 KiB; nothing of a folder.
    """

    def __init__(self, path: Path | None, start: bytes) -> None:
        self.path, self.start = path, start

    @property
    def extension(self) -> str:
        return self.path.suffix.lower() if self.path else ""

    def at(self, offset: int, n: int) -> bytes:
        """Return ``n`` bytes from an offset, fewer at the end of the file."""
        if offset + n <= len(self.start) or self.path is None or not self.start:
            return self.start[offset : offset + n]
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(n)

    def lines(self, n: int = 50) -> list[str]:
        """Return the first lines when the input is text, else nothing."""
        if b"\0" in self.start:
            return []
        return self.start.decode("utf-8", "replace").splitlines()[:n]


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes
    ----------
    name
        What ``--from`` and ``--to`` call it.
    title
        One line for people.
    extensions
        With the dot, lower case, the usual one first.
    sniff
        Tells from its content whether an input is of this format: 0 no, 1 perhaps (a text that looks like it), 2
        certainly (a magic number).
    open
        ``open(location, policy, report, **options)`` gives a Tree or Records; None when it is not read.
    create
        ``create(path, report, **options)`` gives a Sink; None when it is not written.
    holds
        What it can carry.
    options
        Options of the writer (``write``) and reader (``read``).
    refused
        Why a recognised format is not read, with the way out.
    seeks
        Whether the writer goes back in its file; else it can write to a pipe too, as the conformance kit tries. To
        standard output goes either: a conversion writes a temporary file, and copies it when it is complete.
    dissect
        Says how a file of images is made, from its headers alone; None when the format has no such files.
    spreads
        Tells whether the writer, with these options, makes a folder of files of one record, and no file.
    """

    name: str
    title: str
    extensions: tuple[str, ...]
    sniff: Callable[[Head], int] = lambda head: 0
    open: Callable[..., Tree | Records] | None = None
    create: Callable[..., Sink] | None = None
    holds: Holds = Holds()
    write_options: tuple[Option, ...] = ()
    read_options: tuple[Option, ...] = ()
    refused: str = ""
    seeks: bool = True
    dissect: Callable[[Content], Dissection] | None = None
    spreads: Callable[[Mapping[str, Any]], bool] = lambda options: False

    def chosen(self, options: Mapping[str, Any], *, reading: bool) -> dict[str, Any]:
        """Return those of ``options`` that the reader or writer knows, defaults left out."""
        known = {o.name for o in (self.read_options if reading else self.write_options)}
        return {k: v for k, v in options.items() if k in known and v is not None}


__all__ = [
    "Block",
    "Content",
    "Dissection",
    "FileSink",
    "Format",
    "Head",
    "Holds",
    "Location",
    "Option",
    "Policy",
    "RecordSink",
    "Records",
    "Report",
    "Sink",
    "Source",
    "Tree",
    "TreeSink",
]
