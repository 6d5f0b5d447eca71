"""The group ``origin``: how each file that was packed is put together again. It needs no mapping and no other software.

``/origin`` has, compressed:

- ``names``: the files' paths in UTF-8, each ended by a zero byte; ``size``, ``mtime`` (ns since 1970), ``sha256``, and
  ``frames``, how many frames it has, one for each file;
- ``recipes``: a JSON list of recipes; ``recipe``: which one each file has. A recipe is a list of parts:
  ``["literal"]`` and ``["kept"]`` take bytes from the streams of these names, ``["piece", frame, box, encoder,
  parameters]`` encodes a frame or a box of it, ``["chunk", frame, number]`` is a chunk of the frame as it is stored.
  ``part_size`` has the bytes of each part, file after file;
- ``frame_record``, ``frame_row``: where each frame is, file after file: the number of the record (in ``records``, a
  JSON list) and the row; -1 for a frame that is in no record;
- ``literals``, ``kept``: streams of bytes, in the files' order;
- ``digests``: XXH3 (64 bits) of each chunk of each record and stream, as stored; ``seal``: SHA-256 of all bytes of the
  file that are in no such chunk, but for those of the seal.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

import h5py
import numpy as np

from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError
from nxconvert.packed import trusted
from nxconvert.packed.take import Part

VERSION = 1
PATH = "/origin"

_ARRAYS = {
    "size": np.int64,
    "mtime": np.int64,
    "frames": np.int32,
    "recipe": np.int32,
    "part_size": np.int64,
    "frame_record": np.int32,
    "frame_row": np.int64,
}


@dataclass
class Origin:
    """What the group says, in compact form.

    Attributes
    ----------
    names
        Paths below the folder.
    records
        For each record: ``entry``, ``path`` of its frames, ``series`` and ``role``.
    """

    names: list[str] = field(default_factory=list)
    size: array[int] = field(default_factory=lambda: array("q"))
    mtime: array[int] = field(default_factory=lambda: array("q"))
    sha256: bytearray = field(default_factory=bytearray)
    frames: array[int] = field(default_factory=lambda: array("i"))
    recipe: array[int] = field(default_factory=lambda: array("i"))
    part_size: array[int] = field(default_factory=lambda: array("q"))
    frame_record: array[int] = field(default_factory=lambda: array("i"))
    frame_row: array[int] = field(default_factory=lambda: array("q"))
    recipes: list[str] = field(default_factory=list)
    records: list[dict[str, str]] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def number(self, recipe: str) -> int:
        """Return the number of a recipe, a new one if need be."""
        if recipe not in self._known:
            self._known[recipe] = len(self.recipes)
            self.recipes.append(recipe)
        return self._known[recipe]

    def add(self, name: str, size: int, mtime: int, sha256: bytes, recipe: str, part_sizes: Sequence[int]) -> None:
        """Add a file; its frames follow by ``frame_record`` and ``frame_row``."""
        self.names.append(name)
        self.size.append(size)
        self.mtime.append(max(-(2**63), min(mtime, 2**63 - 1)))  # until the year 2262
        self.sha256 += sha256
        self.recipe.append(self.number(recipe))
        self.part_size.extend(part_sizes)

    def write(self, file: h5py.File) -> None:
        """Write the group into a file that is being packed."""
        group = file.require_group(PATH)
        group.attrs["NX_class"] = "NXcollection"
        group.attrs["version"] = VERSION
        names = b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in self.names)
        _put(group, "names", np.frombuffer(names, np.uint8))
        _put(group, "sha256", np.frombuffer(bytes(self.sha256), np.uint8).reshape(-1, 32))
        for name, dtype in _ARRAYS.items():
            _put(
                group,
                name,
                np.frombuffer(getattr(self, name), dtype) if len(getattr(self, name)) else np.empty(0, dtype),
            )
        recipes = json.dumps([json.loads(r) for r in self.recipes], separators=(",", ":"))
        _put(group, "recipes", np.frombuffer(recipes.encode(), np.uint8))
        _put(group, "records", np.frombuffer(json.dumps(self.records).encode(), np.uint8))

    @classmethod
    def read(cls, file: h5py.File, name: str) -> Origin:
        """Read the group.

        Raises
        ------
        InputError
            When it is not there, damaged, or of a later version.
        """
        link = file.get(PATH, getlink=True) if PATH in file else None
        if not isinstance(link, h5py.HardLink) or not isinstance(file[PATH], h5py.Group) or "names" not in file[PATH]:
            raise InputError(f"{name} was not packed: it has no group {PATH}", "'nxconvert pack' makes such files")
        left = trusted.MOST + file.id.get_filesize()

        def held(key: str) -> np.ndarray[Any, Any]:
            nonlocal left
            values = trusted.values(file, f"{PATH}/{key}", left)
            left -= values.nbytes
            return values

        try:
            if int(file[PATH].attrs.get("version", 0)) > VERSION:
                raise InputError(f"{name} was packed by a later nxconvert", "update nxconvert")
            made = cls()
            names = held("names").tobytes()
            made.names = [n.decode("utf-8", "surrogateescape") for n in names.split(b"\0")[:-1]]
            made.sha256 = bytearray(held("sha256").tobytes())
            for key, dtype in _ARRAYS.items():
                values = np.ascontiguousarray(held(key), dtype)
                getattr(made, key).frombytes(values.tobytes())
            recipes = json.loads(held("recipes").tobytes())
            made.records = json.loads(held("records").tobytes())
            made._check(recipes)
            made.recipes = [json.dumps(r) for r in recipes]
        except (KeyError, ValueError, TypeError, OverflowError, OSError, RuntimeError) as error:
            raise InputError(f"{name}: the group {PATH} is damaged: {error}") from None
        return made

    def _check(self, recipes: Any) -> None:
        if not isinstance(recipes, list) or not all(_is_recipe(r) for r in recipes):
            raise ValueError("a recipe is none")
        if not isinstance(self.records, list) or not all(_is_record(r) for r in self.records):
            raise ValueError("a record is none")
        n = len(self.names)
        if not len(self.size) == len(self.mtime) == len(self.frames) == len(self.recipe) == n == len(self.sha256) / 32:
            raise ValueError("its arrays are not of one length")
        if sum(self.frames) != len(self.frame_record) or len(self.frame_record) != len(self.frame_row):
            raise ValueError("its frames are not all there")
        if n and not 0 <= min(self.recipe) <= max(self.recipe) < len(recipes):
            raise ValueError("a recipe is not there")
        if n and (min(self.size) < 0 or min(self.frames) < 0 or min(self.part_size, default=0) < 0):
            raise ValueError("a size is negative")
        if sum(len(recipes[r]) for r in self.recipe) != len(self.part_size):
            raise ValueError("its parts are not all there")

    def stream_lengths(self) -> dict[str, int]:
        """Return how many bytes of each stream the files are made of."""
        lengths = {"literals": 0, "kept": 0}
        recipes: list[list[Part]] = [json.loads(r) for r in self.recipes]
        part = 0
        for number in self.recipe:
            for kind, *_ in recipes[number]:
                if kind in ("literal", "kept"):
                    lengths["literals" if kind == "literal" else "kept"] += self.part_size[part]
                part += 1
        return lengths

    def files(self) -> Iterator[Made]:
        """Yield the files, in order, with the positions of their bytes in the streams."""
        recipes: list[list[Part]] = [json.loads(r) for r in self.recipes]
        part = frame = 0
        at = {"literal": 0, "kept": 0}
        for number, name in enumerate(self.names):
            parts = recipes[self.recipe[number]]
            sizes = self.part_size[part : part + len(parts)]
            part += len(parts)
            frames = [(self.frame_record[i], self.frame_row[i]) for i in range(frame, frame + self.frames[number])]
            frame += self.frames[number]
            yield Made(
                number,
                name,
                self.size[number],
                self.mtime[number],
                bytes(self.sha256[32 * number : 32 * number + 32]),
                parts,
                sizes,
                frames,
                dict(at),
            )
            for kind, size in zip(parts, sizes, strict=True):
                if kind[0] in at:
                    at[kind[0]] += size


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and all(isinstance(record.get(key), str) for key in ("entry", "path"))


def _is_recipe(recipe: Any) -> bool:
    return isinstance(recipe, list) and all(_is_part(part) for part in recipe)


def _is_part(part: Any) -> bool:
    match part:
        case ["literal"] | ["kept"]:
            return True
        case ["chunk", int(frame), int(number)]:
            return frame >= 0 and number >= 0
        case ["piece", int(frame), box, str(), [*parameters]]:
            plain = all(isinstance(p, str) or (isinstance(p, int) and 0 <= p < 1 << 31) for p in parameters)
            return frame >= 0 and plain and (box is None or _is_box(box))
    return False


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and all(
        isinstance(span, list) and len(span) == 2 and all(isinstance(n, int) for n in span) and 0 <= span[0] < span[1]
        for span in box
    )


@dataclass(frozen=True, slots=True)
class Made:
    """How one file is made.

    Attributes
    ----------
    parts, sizes
        Its recipe, and the bytes of each part.
    frames
        Record and row of each of its frames.
    at
        Where its first literal, or its bytes if it is kept whole, begin in the streams.
    """

    number: int
    name: str
    size: int
    mtime: int
    sha256: bytes
    parts: list[Part]
    sizes: Sequence[int]
    frames: list[tuple[int, int]]
    at: Mapping[str, int]


def _put(group: h5py.Group, name: str, values: np.ndarray[Any, Any]) -> None:
    """Write an array, compressed, in chunks whose checksum is a part of the stream."""
    if name in group:
        del group[name]
    if not len(values):
        group.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]), chunks=(1, *values.shape[1:]))
        return
    rows = min(len(values), max(1, (1 << 20) // (values.nbytes // len(values))))
    shuffle = values.dtype.itemsize > 1
    group.create_dataset(
        name, data=values, chunks=(rows, *values.shape[1:]), compression="gzip", compression_opts=6, shuffle=shuffle
    )
