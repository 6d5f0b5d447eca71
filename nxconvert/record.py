"""Records: what a person sees as tables and stacks.

A record has a key (which scan it is) and ordered, named fields. A field is a header value, or has one item for each
row: a number (a column), a spectrum, a frame. Values stay lazy; ``blocks`` is how they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nxconvert.array import Array, decode, is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


class Role(StrEnum):
    """What a field is in a plot."""

    AXIS = "axis"
    SIGNAL = "signal"
    AUXILIARY = "auxiliary"
    ERRORS = "errors"


@dataclass(frozen=True)
class Field:
    """One named quantity of a record.

    Attributes
    ----------
    name
        The field's name, unique in its record. Common ones: ``title``, ``start_time``, ``end_time``, ``comment``,
        ``sample``, ``motor/NAME``.
    values
        A lazy array. With ``per_row`` its first dimension is the row; it may end before the record does, and the
        rest is then missing.
    per_row
        Whether there is one item for each row, or one value for the record.
    axes
        The name of the field that labels each dimension, row included; None where nothing does. It may be shorter
        than the rank.
    role
        Axis, signal, auxiliary signal or errors; None for none of them.
    guessed
        Whether the role, or that it has none, was only guessed by a reader.
    of
        The field whose errors these are.
    attrs
        Attributes, ``units`` first.
    mask
        Booleans of the rows that are missing, as an array of the length of ``values``; None when none is.
    source
        File and path, for messages and the way back.
    """

    name: str
    values: Array
    per_row: bool = False
    axes: tuple[str | None, ...] = ()
    role: Role | None = None
    guessed: bool = False
    of: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    mask: Array | None = None
    source: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of one row's item; the whole shape of a header value."""
        return self.values.shape[1:] if self.per_row else self.values.shape

    @property
    def units(self) -> str:
        value = self.attrs.get("units", "")
        return value if isinstance(value, str) else str(value)

    @property
    def is_image(self) -> bool:
        """Whether a row's item is an image: rank 2 or more, or said so by ``interpretation``."""
        said = str(self.attrs.get("interpretation", ""))
        if not self.per_row or said in ("scalar", "scaler", "spectrum"):
            return False
        return len(self.item_shape) >= 2 or (said.endswith("image") and len(self.item_shape) >= 1)


@dataclass(frozen=True)
class Block:
    """Some successive rows of some fields.

    Attributes
    ----------
    start
        Number of the first row.
    rows
        How many rows.
    columns
        Items by field name; an array that ends early has its last rows missing, one that is a masked array has
        missing rows between.
    """

    start: int
    rows: int
    columns: Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Record:
    """A scan, a table, a stack: fields that share a row.

    Attributes
    ----------
    key
        Which record of its source it is, e.g. ``{"scan": "1.1"}``.
    fields
        Fields by name, in the order that people expect them.
    source
        File and path, for messages.
    mapping
        The mapping that made the record, or an empty string.
    grid
        Shape and spans of a grid scan whose rows were laid out as a table; see ``nxconvert.grid``.
    finished
        Whether the scan is known to have ended.
    """

    key: Mapping[str, str]
    fields: Mapping[str, Field]
    source: str = ""
    mapping: str = ""
    grid: Mapping[str, Any] | None = None
    finished: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.fields, Mapping):
            object.__setattr__(self, "fields", by_name(self.fields))

    @property
    def name(self) -> str:
        """The key in one word, for file names and messages."""
        return "_".join(self.key.values())

    @property
    def rows(self) -> int:
        """Number of rows: the length of the longest per-row field."""
        return max((f.shape[0] for f in self.fields.values() if f.per_row), default=0)

    @property
    def columns(self) -> list[Field]:
        """The fields that have an item for each row."""
        return [f for f in self.fields.values() if f.per_row]

    @property
    def header(self) -> list[Field]:
        """The fields that have one value for the whole record."""
        return [f for f in self.fields.values() if not f.per_row]

    def role(self, role: Role) -> list[Field]:
        """Return the fields of a role, in order."""
        return [f for f in self.fields.values() if f.role == role]

    def with_fields(self, fields: Mapping[str, Field] | Sequence[Field]) -> Self:
        """Return the same record with other fields."""
        return replace(self, fields=fields if isinstance(fields, Mapping) else by_name(fields))

    def blocks(self, names: Sequence[str] | None = None, budget: int = 64 << 20) -> Iterator[Block]:
        """Read rows in one pass.

        Parameters
        ----------
        names
            The per-row fields to read; all when None.
        budget
            Bytes that the values of one block may take.

        Yields
        ------
        Block
            Blocks of successive rows, until the last row.

        Raises
        ------
        InputError
            When a single row is larger than the budget.
        """
        chosen = self.columns if names is None else [self.fields[n] for n in names]
        total = max((f.shape[0] for f in chosen), default=0)
        step = rows_within(chosen, budget)
        if step < total:
            step = _whole_chunks(chosen, step)
        for start in range(0, total, step):
            stop = min(start + step, total)
            columns: dict[str, np.ndarray[Any, Any]] = {}
            for f in chosen:
                box = (slice(min(start, f.shape[0]), min(stop, f.shape[0])),)
                values = f.values.read(box)
                if f.mask is not None:
                    mask = f.mask.read(box)
                    if mask.any():
                        wide = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
                        values = np.ma.MaskedArray(values, np.broadcast_to(wide, values.shape))
                columns[f.name] = values
            yield Block(start, stop - start, columns)

    def to_pandas(self) -> pd.DataFrame:
        """Return the scalar columns as a DataFrame, and everything else that fits in its ``attrs``.

        Returns
        -------
        pandas.DataFrame
            One row for each row, one column for each per-row field of numbers or text. The dtypes are numpy's; text is
            ``object``. A column with missing values has a nullable dtype (``Int32``, ``Float64``, ``boolean``): NaN
            stays a number there, and ``pandas.NA`` is what is missing. ``attrs["key"]`` is the record's key,
            ``attrs["units"]`` maps names to units, ``attrs["header"]`` names to header values. Spectra and images
            are left out, and listed in ``attrs["left_out"]``.

        Raises
        ------
        InputError
            When values cannot be read.
        """
        from nxconvert.frame import to_pandas

        return to_pandas(self)

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame) -> Record:
        """Make a record of a DataFrame; ``attrs`` are read as ``to_pandas`` writes them.

        Parameters
        ----------
        frame
            Columns become per-row fields of the same dtype; None, NA and, in text, NaN become missing values. The
            index is dropped unless it has a name. ``attrs`` may have ``key``, ``units`` and ``header``.

        Raises
        ------
        InputError
            When a column is neither numbers nor text, or two things have one name.
        """
        from nxconvert.frame import from_pandas

        return from_pandas(frame)


def plain(values: Array) -> Any:
    """Return a header value as a Python or numpy object: a ``str``, a scalar or an array."""
    array = values.read()
    if is_text(values.dtype):
        array = decode(array)
    return array[()]


def by_name(fields: Sequence[Field] | Iterator[Field]) -> dict[str, Field]:
    """Index fields by name.

    Raises
    ------
    InputError
        When two fields have one name.
    """
    out: dict[str, Field] = {}
    for f in fields:
        if f.name in out:
            raise InputError(f"two fields are named {f.name!r}: {out[f.name].source} and {f.source}")
        out[f.name] = f
    return out


def _whole_chunks(fields: Sequence[Field], step: int) -> int:
    """Make a step of rows end where stored chunks do, as far as it spans them, so that none is decoded twice."""
    storages = [f.values.storage for f in fields]
    chunk = max((s.chunks[0] for s in storages if s is not None and s.chunks), default=1)
    return step // chunk * chunk or step


def rows_within(fields: Sequence[Field], budget: int) -> int:
    """Return how many rows of these fields fit a budget of bytes.

    Raises
    ------
    InputError
        When one row is larger than the budget.
    """
    row = 0
    for f in fields:
        item = f.dtype.itemsize
        for n in f.item_shape:
            item *= n
        row += item
    if row > budget:
        raise InputError(
            f"one row of {', '.join(f.name for f in fields)} takes {row:,} bytes, more than the budget of {budget:,}",
            "give more with --memory",
        )
    return max(1, budget // max(row, 1))
