"""Restoring: the files that were packed, each with the bytes that it had."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nxconvert import registry
from nxconvert.compressed import bare, inside
from nxconvert.dataclass import dataclass
from nxconvert.dissection import Content, FileContent
from nxconvert.engine.publish import Publisher
from nxconvert.engine.transfer import record_to_sink
from nxconvert.errors import InputError, OutputError, UsageError
from nxconvert.format import Format, Location, Policy, RecordSink, Report
from nxconvert.image import ImageRecords
from nxconvert.location import is_reserved
from nxconvert.packed.origin import Made
from nxconvert.packed.rebuild import LARGE, Rebuilder
from nxconvert.series import Recogniser


@dataclass(frozen=True)
class Selection:
    """Which files to restore.

    Attributes
    ----------
    names
        Patterns of their names; all when there are none.
    rows
        First and last (excluded) row of the main record whose files are wanted; None for an open end.
    """

    names: Sequence[str] = ()
    rows: tuple[int | None, int | None] | None = None

    def wants(self, made: Made, main: int, length: int) -> bool:
        """Tell whether a file is wanted."""
        if self.names and not any(fnmatchcase(made.name, p) or fnmatchcase(_base(made.name), p) for p in self.names):
            return False
        if self.rows is None:
            return True
        chosen = range(length)[slice(*self.rows)]
        return any(record == main and row in chosen for record, row in made.frames)


EVERYTHING = Selection()
"""All files."""


def restore(
    source: Path,
    folder: Path,
    report: Report,
    selection: Selection = EVERYTHING,
    to_format: str = "",
    *,
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Restore the files of a packed file.

    Parameters
    ----------
    source
        The packed file.
    folder
        Where they go; it is made when it is not there.
    report
        Told what was restored, and in ``failed`` what could not be.
    selection
        Which files.
    to_format
        A format to convert the images to; empty for the files as they were.
    overwrite
        Whether files that exist are replaced.

    Raises
    ------
    InputError
        When the file was not packed, or holds no such file.
    OutputError
        When a name would lead out of the folder, or the disk is full.
    UsageError
        When a file exists.
    """
    with Rebuilder(source) as packed:
        records = packed.origin.records
        main = next((i for i, r in enumerate(records) if r["entry"] == "entry"), 0)
        length = packed.rows(main) if records else 0
        files = list(packed.files(lambda made: selection.wants(made, main, length)))
        if not files:
            raise InputError(f"{source} holds no such file", "'nxconvert restore FILE --dry-run' lists them")
        format = registry.by_name(to_format) if to_format else None
        if format is not None:
            files = [made for made in files if made.frames]
        names = {made.number: named(made.name, format) for made in files}
        paths = checked(folder, names)
        for path in paths.values():
            if os.path.lexists(path) and not overwrite:
                raise UsageError(f"{path} exists already", "restore into another folder, or add --overwrite")
            if dry_run:
                report.outputs.append(str(path))
        if dry_run:
            return
        for parent in {path.parent for path in paths.values()}:
            _folder(parent, folder)
            _tidy(parent)
        use = _writer(paths) if format is None else _converter(paths, format, overwrite=overwrite)
        for made, outcome in packed.each(files, use):
            if isinstance(outcome, InputError):
                report.failed.append((made.name, outcome))
            else:
                report.outputs.append(str(paths[made.number]))
                report.moved(made.name, made.size)
        _sync_folders({path.parent for path in paths.values()})


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def named(name: str, format: Format | None) -> str:
    """Return the name that a file gets in another format: its extension is replaced, a number is none."""
    if format is None:
        return name
    folder, slash, base = bare(name).rpartition("/")
    stem, _, extension = base.rpartition(".")
    known = stem and any(f".{extension}".lower() in f.extensions for f in registry.formats().values())
    return f"{folder}{slash}{stem if known else base}{format.extensions[0]}"


def checked(folder: Path, names: dict[int, str]) -> dict[int, Path]:
    """Return where files of some names go, all of them inside a folder and different from each other.

    Raises
    ------
    OutputError
        When a name leads out of the folder, or two names are one on this file system.
    """
    seen: dict[str, int] = {}
    blind = not _tells_case(folder)
    paths = {}
    for number, name in names.items():
        parts = name.split("/")
        odd = os.name == "nt" and any(is_reserved(part) for part in parts)
        if not name or name.startswith("/") or ".." in parts or "" in parts or "." in parts or "\0" in name or odd:
            raise OutputError(f"the name {name!r} in the packed file is none that can be written here")
        if os.name == "nt" and any(c in name for c in ':\\*?"<>|'):
            raise OutputError(f"the name {name!r} in the packed file is none that Windows has")
        folded = unicodedata.normalize("NFC", name).casefold() if blind else name
        if (first := seen.setdefault(folded, number)) != number:
            both = f"two files would be {name}" if names[first] == name else f"{name} and {names[first]} are one name"
            raise OutputError(f"{both} in {folder}", "restore them apart, by name")
        paths[number] = folder.joinpath(*parts)
    return paths


def _tells_case(folder: Path) -> bool:
    """Tell whether a folder's file system tells upper from lower case."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    other = Path(str(there.resolve()).swapcase())
    return not (other.exists() and other.samefile(there)) or str(other) == str(there.resolve())


def _folder(path: Path, root: Path) -> None:
    """Make a folder below a root, and make sure that no link leads out of it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {path} cannot be made: {error.strerror}") from None
    home = os.path.realpath(root)
    if os.path.commonpath([home, os.path.realpath(path)]) != home:
        raise OutputError(f"{path} leads out of {root}", "a link in the folder points elsewhere")


_PART = re.compile(r"\.nxconvert-(\d+)-\d+\.part")


def _part(path: Path, made: Made) -> Path:
    """Return the name of a file that is not whole; it is short, however long the file's own name."""
    return path.with_name(f".nxconvert-{os.getpid()}-{made.number}.part")


def _tidy(folder: Path) -> None:
    """Remove what runs that were killed left in a folder."""
    for path in folder.iterdir():
        found = _PART.fullmatch(path.name)
        if found and not _runs(int(found[1])):
            with suppress(OSError):  # it is in use, or somebody else's
                path.unlink()


def _runs(process: int) -> bool:
    """Tell whether a process of this machine runs; Windows itself keeps files that are open from being removed."""
    if os.name == "nt":
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _written(path: Path, windows: Iterator[Any]) -> None:
    """Write a file, and wait until it is on the disk."""
    with path.open("wb", buffering=0) as file:
        for content in windows:
            view = memoryview(content)
            at = 0
            while at < len(view):
                at += file.write(view[at:])
        os.fsync(file.fileno())


def _writer(paths: dict[int, Path]) -> Callable[[Made, Iterator[Any]], None]:
    """Return what writes one file under a name of its own, flushes it and gives it its name."""

    def write(made: Made, windows: Iterator[Any]) -> None:
        path = paths[made.number]
        part = _part(path, made)
        try:
            _written(part, windows)
            os.utime(part, ns=(made.mtime, made.mtime))
            part.replace(path)
        except (OSError, OverflowError) as error:
            part.unlink(missing_ok=True)
            raise OutputError(f"{path} cannot be written: {getattr(error, 'strerror', error)}") from None
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    return write


def _converter(paths: dict[int, Path], format: Format, *, overwrite: bool) -> Callable[[Made, Iterator[Any]], None]:
    """Return what writes the images of one file in another format."""
    if format.create is None or not format.holds.min_item_rank:
        raise UsageError(f"{format.title} holds no images that are written", "choose tiff, edf or cbf")

    def write(made: Made, windows: Iterator[Any]) -> None:
        part = _part(paths[made.number], made)
        try:
            if made.size <= LARGE:
                convert(made, Content(made.name, memoryview(b"".join(windows))))
                return
            _written(part, windows)
            with FileContent(part) as content:
                convert(made, content)
        except OSError as error:
            raise OutputError(f"{paths[made.number]} cannot be written: {error.strerror}") from None
        finally:
            part.unlink(missing_ok=True)

    def convert(made: Made, content: Content) -> None:
        held = inside(content) or content
        found = Recogniser()(held, bare(made.name))
        if found is None or found.dissect is None:
            raise InputError(f"{made.name} is no image that can be converted")
        records = ImageRecords(Location(made.name), Policy(), Report(), found.dissect, held)
        _make_sure(made, records, format)
        path = paths[made.number]
        with Publisher(overwrite=overwrite) as publisher:
            publisher.reserve(path, made.name)
            assert format.create is not None
            sink = format.create(publisher.part(path), Report())
            assert isinstance(sink, RecordSink)
            try:
                for record in records:
                    record_to_sink(record, sink, 64 << 20)
                sink.close()
            except BaseException:
                sink.abort()
                raise
            publisher.publish(path)

    return write


def _make_sure(made: Made, records: ImageRecords, format: Format) -> None:
    """Refuse a file whose frames another format does not hold."""
    kinds = len(records.groups)
    if kinds > (format.holds.records or kinds):
        what = f"{made.name} has frames of {kinds} shapes or types, and a {format.name} file holds one"
        raise InputError(what, "restore it as it was")
    for frame in records.found.frames:
        if len(frame.shape) > max(2, format.holds.item_rank) or frame.dtype.kind not in format.holds.kinds:
            shape = " x ".join(map(str, frame.shape))
            what = f"{made.name} has a frame of {shape} {frame.dtype.name}, which no {format.name} file holds"
            raise InputError(what, "restore it as it was, or --to tiff")


def _sync_folders(folders: set[Path]) -> None:
    """Make the new names last."""
    from nxconvert.engine.publish import sync

    for folder in folders if os.name != "nt" else ():
        sync(folder)
