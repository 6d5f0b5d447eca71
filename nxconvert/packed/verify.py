"""Verifying: that a packed file is as it was written, and that the originals come back from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from nxconvert.dataclass import dataclass
from nxconvert.engine.codecs import pool
from nxconvert.errors import InputError, OutputError
from nxconvert.packed import seal, trusted
from nxconvert.packed.origin import Made
from nxconvert.packed.rebuild import Rebuilder, unreadable
from nxconvert.packed.store import read_at
from nxconvert.series import listed

_BATCH = 16 << 20


@dataclass
class Verdict:
    """What a verification found, to be kept.

    Attributes
    ----------
    file
        The packed file.
    sha256
        Its own digest, so that it is known later which file was verified.
    files, frames, chunks, bytes
        How many were looked at; bytes are those of the original files.
    against
        The folders of the originals.
    problems
        All that is wrong; nothing when the file is good.
    deleted
        Originals that were deleted.
    """

    file: str
    sha256: str = ""
    files: int = 0
    frames: int = 0
    chunks: int = 0
    bytes: int = 0
    against: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    deleted: int = 0

    @property
    def good(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"good": self.good, **asdict(self)}


def verify(path: Path, against: Sequence[Path] = ()) -> Verdict:
    """Verify a packed file.

    Parameters
    ----------
    path
        The file.
    against
        The folders of the originals, as they were given to ``pack``: each of them must come back from the packed file,
        byte for byte, and no file may be there that is not packed.

    Returns
    -------
    Verdict
        Damage is told there.

    Raises
    ------
    InputError
        When the file is not there, or was not packed.
    """
    verdict = Verdict(str(path), against=[str(folder) for folder in against])
    if path.is_dir():
        raise InputError(
            f"{path} is a folder", "name the packed file; the folder of the originals goes after --against"
        )
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    digest: Future[bytes] | None = None
    try:
        _inside(path, verdict)
        digest = pool().submit(_sha256, path)
        with Rebuilder(path) as packed:
            verdict.files, verdict.frames = len(packed.origin.names), len(packed.origin.frame_row)
            verdict.bytes = sum(packed.origin.size)
            if against:
                _against(packed, verdict)
    except InputError as error:
        if "was not packed" in error.message:
            raise
        verdict.problems.append(error.message)
    verdict.sha256 = (_sha256(path) if digest is None else digest.result()).hex()
    return verdict


def delete_verified(path: Path, verdict: Verdict) -> None:
    """Delete the originals that a verification against them found to be safe in a packed file.

    Raises
    ------
    InputError
        When it found anything wrong, or a file was changed since.
    """
    if not verdict.good or not verdict.against:
        raise InputError(f"{path}: nothing is deleted, since the verification found problems")
    if _sha256(path).hex() != verdict.sha256:
        raise InputError(f"{path} was changed since it was verified; nothing is deleted")
    with Rebuilder(path) as packed:
        wanted = {made.name: made for made in packed.files()}
        for file in listed(verdict.against, without=[path]):
            made = wanted.get(file.name)
            if made is None or (file.size, _sha256(Path(file.path))) != (made.size, made.sha256):
                raise InputError(f"{file.path} was changed since it was verified; nothing more is deleted")
            try:
                status = Path(file.path).stat()
                if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime):
                    raise InputError(f"{file.path} was changed since it was verified; nothing more is deleted")
                Path(file.path).unlink()
            except OSError as error:
                raise OutputError(f"{file.path} cannot be deleted: {error.strerror}") from None
            verdict.deleted += 1


def _inside(path: Path, verdict: Verdict) -> None:
    """Check the digests that the file carries: of each chunk, and the seal."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if seal.SEAL not in file or seal.DIGESTS not in file:
                raise InputError(f"{path} was not packed: it has no group /origin", "'nxconvert pack' makes such files")
            place = seal.place_of(file)
            stated = file[seal.SEAL][()].tobytes()
            ranges = []
            for name in trusted.group(file, seal.DIGESTS):
                ranges += _chunks(file, f"{seal.DIGESTS}/{name}", path, verdict)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except Exception as error:  # noqa: BLE001 - HDF5 says in many ways that a file is damaged
        raise unreadable(path, error) from None
    if seal.rest(path, ranges, place) != stated:
        verdict.problems.append(f"{path} was changed or damaged outside of its frames: the seal is broken")


def _chunks(file: h5py.File, digests: str, path: Path, verdict: Verdict) -> list[tuple[int, int]]:
    """Check the chunks of one dataset; return where they are."""
    expected = trusted.values(file, digests, trusted.MOST + file.id.get_filesize())
    dataset = trusted.dataset(file, str(file[digests].attrs["of"]))
    found: list[tuple[int, int, int]] = []
    counts = [-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]

    def note(info: Any) -> None:
        index = [o // c for o, c in zip(info.chunk_offset, dataset.chunks, strict=True)]
        found.append((int(np.ravel_multi_index(index, counts)), int(info.byte_offset), int(info.size)))

    if all(counts):
        dataset.id.chunk_iter(note)
    verdict.chunks += len(found)
    there = {number for number, _, _ in found}
    for number in np.flatnonzero(expected).tolist():
        if number not in there:
            verdict.problems.append(f"{dataset.name}: chunk {number} is missing")
    for number, good in _digests(path, found, expected):
        if not good:
            row = number // max(1, int(np.prod(counts[1:])))
            verdict.problems.append(f"{dataset.name}: the chunk of row {row} is damaged")
    return [(at, size) for _, at, size in found]


def _digests(path: Path, found: list[tuple[int, int, int]], expected: Any) -> Iterator[tuple[int, bool]]:
    """Yield for each chunk whether it has the digest that is stated; read in threads."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def check(batch: list[tuple[int, int, int]]) -> list[tuple[int, bool]]:
        out = []
        for number, at, size in batch:
            raw = read_at(handle, at, size)
            good = number < len(expected) and xxhash.xxh3_64_intdigest(raw) == int(expected[number])
            out.append((number, good and len(raw) == size))
        return out

    try:
        pending: list[Future[list[tuple[int, bool]]]] = []
        batch: list[tuple[int, int, int]] = []
        size = 0
        for chunk in sorted(found, key=lambda c: c[1]):
            batch.append(chunk)
            size += chunk[2]
            if size >= _BATCH:
                pending.append(pool().submit(check, batch) if hasattr(os, "pread") else _now(check, batch))
                batch, size = [], 0
        for work in pending:
            yield from work.result()
        yield from check(batch)
    finally:
        os.close(handle)


def _now(function: Any, *arguments: Any) -> Future[Any]:
    done: Future[Any] = Future()
    done.set_result(function(*arguments))
    return done


def _against(packed: Rebuilder, verdict: Verdict) -> None:
    """Put all files together, and compare each with the original."""
    folder = " or ".join(verdict.against)
    there = {file.name: file for file in listed(verdict.against, without=[packed.path])}
    known = set(packed.origin.names)
    verdict.problems += [f"{name} is in {folder}, but not in {packed.path}" for name in there if name not in known]

    def compare(made: Made, windows: Iterator[Any]) -> str:
        for _ in windows:
            pass  # the last one says whether its SHA-256 is right
        if made.name not in there:
            return f"{made.name} is not in {folder}"
        if there[made.name].size != made.size or _sha256(Path(there[made.name].path)) != made.sha256:
            return f"{made.name} is another file in {folder} than in {packed.path}"
        return ""

    for made, outcome in packed.each(packed.files(), compare):
        if isinstance(outcome, InputError):
            verdict.problems.append(outcome.message)
        elif outcome:
            verdict.problems.append(f"{made.name}: {outcome}" if made.name not in outcome else outcome)


def _sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
