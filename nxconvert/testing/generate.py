"""Records and trees made up by hypothesis, within what a format says it holds.

They are small and odd on purpose: names with slashes, spaces, ``#`` and commas, names that differ in case only, empty
and short columns, masked rows, NaN and infinities, both byte orders, text with quotes and newlines, empty arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nxconvert import grid
from nxconvert.array import TEXT, Lazy, Values, as_array
from nxconvert.format import Holds
from nxconvert.record import Field, Record, Role
from nxconvert.tree import Link, NewDataset, NewGroup

HIGHEST = 4
"""The highest rank of a generated item: of a format that holds any, more would take gigabytes and show nothing new."""

Draw = Callable[[st.SearchStrategy[Any]], Any]
Array = np.ndarray[Any, Any]

# fmt: off
ODD_NAMES = (
    "motor/th", "a/b/c", "two words", "#h", "x,y", 'say "x"', "it's", "E [keV]", "a=b", "k: v", "100%", "-1", "1e3",
    "Sig", "sig", "SIG", "nan", "data", "time", "title", "(x)", "a;b", "@x", "x@y", "{x}", "\\n", "a  b", "$F",
    "\u00b5", "\u03b4\u2082", "\u00c5\u207b\u00b9", "\u00e9", "e\u0301",
)
# fmt: on
"""Names that formats were seen to trip over; the last two are the same letter, composed and not."""

UNITS = ("mm", "1/Å", "", "°", "counts/s", "m^2", 'in"', "a,b", "µm", "# 1")

_PLAIN = st.text("abcdefghijklmnopqrstuvwxyzABC_0123456789", min_size=1, max_size=8)
names = st.one_of(_PLAIN, st.sampled_from(ODD_NAMES))
"""Names of fields, datasets and groups (for trees, those with a slash are left out)."""

texts = st.one_of(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12),
    st.sampled_from(["", " ", "a\nb", "a\r\nb", "tab\there", '"', "a,b", "#", "# x", "nan", "null", "1.5", "true"]),
    st.sampled_from(["=1+1", "  x ", "\u00e9", "\\", "-", "*", "0", "None"]),
)
"""Texts as cells, header values and attributes have them; never a NUL, which HDF5 cannot hold."""

_DTYPES = {
    "b": ("?",),
    "i": ("i1", "<i2", ">i2", "<i4", ">i4", "<i8", ">i8"),
    "u": ("u1", "<u2", ">u2", "<u4", ">u4", "<u8", ">u8"),
    "f": ("<f2", "<f4", ">f4", "<f8", ">f8"),
    "c": ("<c8", "<c16", ">c16"),
}


def dtypes(kinds: str) -> st.SearchStrategy[np.dtype[Any]]:
    """Draw dtypes of some kinds, in both byte orders; ``S`` gives text of any and of fixed length."""
    known: list[np.dtype[Any]] = [np.dtype(d) for kind in kinds for d in _DTYPES.get(kind, ())]
    if "S" in kinds:
        known += [TEXT, np.dtype("S6")]
    if "i" in kinds:
        known.append(np.dtype("i1", metadata={"enum": {"closed": 0, "open": 1, "fault": -1}}))
    return st.sampled_from(known)


def values(dtype: np.dtype[Any], shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    """Draw an array of a dtype and shape."""
    if dtype == TEXT:
        return hnp.arrays(object, shape, elements=texts, fill=st.nothing()).map(lambda a: as_array(a, dtype))
    if dtype.kind == "S":
        short = texts.map(lambda t: _cut(t, dtype.itemsize))
        return hnp.arrays(object, shape, elements=short, fill=st.nothing()).map(lambda a: _typed(a, dtype))
    if dtype.metadata and "enum" in dtype.metadata:
        chosen = st.sampled_from(list(dtype.metadata["enum"].values()))
        return hnp.arrays(np.dtype(dtype.str), shape, elements=chosen).map(lambda a: _typed(a, dtype))
    return hnp.arrays(dtype, shape)


def _cut(text: str, n: int) -> bytes:
    return text.encode()[:n].decode(errors="ignore").encode()


def _typed(a: Array, dtype: np.dtype[Any]) -> Array:
    out = np.empty(a.shape, dtype)
    out[...] = a
    return out


def attribute_values() -> st.SearchStrategy[Any]:
    """Draw values of attributes: text, numbers, arrays of either."""
    kinds = dtypes("biuf").filter(lambda d: not d.metadata and d.isnative)
    shapes = st.sampled_from([(), (), (1,), (3,), (0,), (2, 2)])
    numbers = st.tuples(kinds, shapes).flatmap(lambda t: values(*t)).map(lambda a: a[()])
    lists = st.sampled_from([(1,), (2,)]).flatmap(lambda shape: values(TEXT, shape))
    return st.one_of(texts, numbers, lists)


def attributes(holds: Holds) -> st.SearchStrategy[dict[str, Any]]:
    """Draw units and other attributes of a field, or none when the format has no place for them."""
    if not holds.attrs:
        return st.just({})
    others = st.dictionaries(
        st.sampled_from(("long_name", "offset", "scale", "odd name", "µ")), attribute_values(), max_size=2
    )
    units: st.SearchStrategy[dict[str, Any]] = st.one_of(
        st.just({}), st.sampled_from(UNITS).map(lambda text: {"units": text})
    )
    return st.tuples(units, others).map(lambda pair: {**pair[0], **pair[1]})


@st.composite
def records(draw: Draw, holds: Holds, kinds: str | None = None) -> Record:
    """Draw a record within what a format holds.

    Parameters
    ----------
    draw
        Given by hypothesis.
    holds
        What the format holds.
    kinds
        Kinds of dtype of the columns; those that the format holds when None.

    Returns
    -------
    Record
        With columns of scalars, for an image format also one stack of frames; header values, key, roles and axes
        where the format has a place for them.
    """
    kinds = holds.kinds if kinds is None else kinds
    image = holds.min_item_rank >= 2
    rows = draw(st.integers(1, 4) if image else st.integers(0, 7))
    fields: list[Field] = []
    taken = draw(st.lists(names, unique=True, min_size=1 + 2 * image, max_size=7))
    if image:
        fields += _frames(draw, holds, kinds, rows, taken)
    for name in taken[: draw(st.integers(0 if image else 1, len(taken)))]:
        fields.append(_column(draw, holds, kinds, rows, name))
    fields = _with_roles(draw, fields, holds)
    if holds.header:
        fields += draw(_header(holds, {f.name for f in fields}))
    if not holds.header:
        return Record({}, {f.name: f for f in fields}, source="generated")
    key = draw(st.sampled_from([{}, {"scan": "1.1"}, {"scan": "12.1"}, {"entry": "a b", "data": "µ,#"}]))
    mapping = draw(st.sampled_from(["", "bliss", "nxdata"]))
    return Record(key, {f.name: f for f in fields}, source="generated", mapping=mapping)


def _column(draw: Draw, holds: Holds, kinds: str, rows: int, name: str) -> Field:
    length = rows if draw(st.integers(0, 3)) else draw(st.integers(0, rows))
    rank = draw(st.integers(0, min(holds.item_rank, HIGHEST))) if holds.min_item_rank == 0 else 0
    item = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    array = draw(dtypes(kinds).flatmap(lambda d: values(d, (length, *item))))
    mask = None
    if length and not draw(st.integers(0, 3)):
        mask = Values(np.array(draw(st.lists(st.booleans(), min_size=length, max_size=length)), dtype=bool))
    return Field(
        name, _lazily(draw, array), True, attrs=draw(attributes(holds)), mask=mask, source=f"generated::{name}"
    )


def _lazily(draw: Draw, array: Array) -> Any:
    if draw(st.booleans()):
        return Values(array)
    return Lazy(array.shape, array.dtype, lambda box: array[box] if box else array)


def _frames(draw: Draw, holds: Holds, kinds: str, rows: int, taken: list[str]) -> list[Field]:
    """Give an image format its stack, with labels of the pixels in the header."""
    dtype = draw(dtypes("".join(k for k in kinds if k in "iuf")).filter(lambda d: not d.metadata and d.itemsize > 0))
    shape = (rows, draw(st.integers(1, 5)), draw(st.integers(1, 6)))
    attrs = draw(attributes(holds))
    name = taken.pop()
    array = draw(values(dtype, shape))
    labels: list[Field] = []
    if holds.header and holds.attrs and draw(st.booleans()):
        for label, n in (("y", shape[1]), ("x", shape[2])):
            if label not in taken and label != name:
                about = {"units": "mm"}
                labels.append(Field(label, Values(np.arange(n) * 0.5), False, (label,), Role.AXIS, attrs=about))
    axes = (None, "y", "x") if len(labels) == 2 else ()
    role = Role.SIGNAL if holds.attrs else None
    return [Field(name, _lazily(draw, array), True, axes, role, attrs=attrs, source=f"generated::{name}"), *labels]


def _with_roles(draw: Draw, fields: list[Field], holds: Holds) -> list[Field]:
    """Make of some columns an axis, signals and errors."""
    from dataclasses import replace

    if not holds.attrs or not draw(st.booleans()):
        return fields
    scalar = [f for f in fields if f.per_row and not f.item_shape and f.role is None]
    roles: dict[str, dict[str, Any]] = {}
    signal = next((f.name for f in fields if f.role == Role.SIGNAL), None)
    for f, role in zip(scalar, (Role.AXIS, Role.SIGNAL, Role.ERRORS, Role.AUXILIARY), strict=False):
        if role == Role.SIGNAL and signal is not None:
            role = Role.AUXILIARY
        axes = () if role == Role.ERRORS else (scalar[0].name,)
        roles[f.name] = {"role": role, "axes": axes}
        if role == Role.SIGNAL:
            signal = f.name
        if role == Role.ERRORS:
            roles[f.name]["of"] = signal
    if scalar and not draw(st.integers(0, 5)):
        roles[scalar[0].name]["guessed"] = True
    return [replace(f, **roles.get(f.name, {})) for f in fields]


@st.composite
def _header(draw: Draw, holds: Holds, taken: set[str]) -> list[Field]:
    chosen = draw(
        st.lists(
            st.one_of(st.sampled_from(("title", "start_time", "comment", "sample")), names), unique=True, max_size=4
        )
    )
    out = []
    shapes = st.sampled_from([(), (), (), (2,), (0,), (1,), (2, 2), (0, 3)])
    for name in chosen:
        if name not in taken:
            array = draw(st.tuples(dtypes("biufcS"), shapes).flatmap(lambda t: values(*t)))
            out.append(Field(name, Values(array), attrs=draw(attributes(holds)), source=f"generated::{name}"))
    return out


@st.composite
def grid_records(draw: Draw, holds: Holds) -> Record:
    """Draw a grid scan that was laid out as a table, for formats of columns; ``grid.fold`` gives it its shape back."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    numeric = dtypes("".join(k for k in holds.kinds if k in "iuf")).filter(lambda d: not d.metadata)
    signal = draw(numeric.flatmap(lambda d: values(d, shape)))
    y, x = draw(values(np.dtype("f8"), shape[:1])), draw(values(np.dtype("f4"), shape[1:]))
    fields = [
        Field("y", Values(y), True, ("y",), Role.AXIS, attrs={"units": "mm"}),
        Field("x", Values(x), False, ("x",), Role.AXIS, attrs={"units": "mm"}),
        Field("counts", Values(signal), True, ("y", "x"), Role.SIGNAL),
        Field("monitor", Values(draw(numeric.flatmap(lambda d: values(d, shape)))), True),
    ]
    record = Record({"scan": "3.1"}, {f.name: f for f in fields}, source="generated")
    return grid.unfold(record, fields[2], 2)


def plain_record(holds: Holds, rows: int = 12, scan: str = "1.1") -> Record:
    """Return a record that any format with these ``holds`` carries without a loss: numbers with simple names.

    Parameters
    ----------
    holds
        What the format holds.
    rows
        Number of rows.
    scan
        Its key.
    """
    x = np.linspace(0, 1, rows) ** 3
    names_ = ("th", "counts", "monitor")
    columns: Mapping[str, Array] = {"th": x, "counts": np.sin(x * 40) * 1e5, "monitor": x * x + 0.1}
    fields: list[Field] = []
    if holds.min_item_rank >= 2:
        frames = (np.arange(rows * 5 * 7) % 4093).reshape(rows, 5, 7).astype(np.uint16)
        fields.append(Field("frame", Values(frames), True, role=Role.SIGNAL if holds.attrs else None))
    elif holds.min_item_rank == 1:
        fields.append(Field("spectrum", Values(np.outer(x, x)), True))
    else:
        fields += [Field(n, Values(columns[n]), True) for n in names_]
    return Record({"scan": scan} if holds.header else {}, {f.name: f for f in fields}, source="generated")


@st.composite
def trees(draw: Draw, holds: Holds, kinds: str | None = None) -> NewGroup:
    """Draw a tree within what a format holds: groups, datasets of all types, attributes, soft and hard links.

    Parameters
    ----------
    draw
        Given by hypothesis.
    holds
        What the format holds.
    kinds
        Kinds of dtype of the datasets; those that the format holds when None.
    """
    root = NewGroup(draw(st.sampled_from(["NXroot", ""])), draw(attributes(holds)))
    groups, datasets = [root], []
    own = names.filter(lambda n: "/" not in n and n not in (".", ".."))
    for _ in range(draw(st.integers(0, 7))):
        parent = draw(st.sampled_from(groups))
        name = draw(own)
        if name in parent.children:
            continue
        kind = draw(st.sampled_from(["group", "dataset", "dataset", "dataset", "soft", "hard"]))
        if kind == "group":
            made = NewGroup(draw(st.sampled_from(["NXentry", "NXdata", ""])), draw(attributes(holds)))
            parent.add(name, made)
            groups.append(made)
        elif kind == "dataset":
            dataset = NewDataset(_lazily(draw, _tree_values(draw, holds, kinds)), draw(attributes(holds)))
            parent.add(name, dataset)
            datasets.append(dataset)
        elif kind == "soft":
            target = draw(st.sampled_from([d.path for d in datasets] or ["/nowhere"]))
            parent.add(name, Link(target))
        elif datasets:
            parent.children[name] = draw(st.sampled_from(datasets))
    return root


def _tree_values(draw: Draw, holds: Holds, kinds: str | None) -> Array:
    shapes = st.sampled_from([(), (1,), (3,), (0,), (2, 3), (0, 2), (2, 1, 4)])
    kinds = holds.kinds if kinds is None else kinds
    if "V" in kinds and not draw(st.integers(0, 7)):
        compound = np.dtype([("n", "<i4"), ("x", ">f8"), ("s", "S4")])
        out = np.zeros(draw(shapes), compound)
        for name in ("n", "x", "s"):
            out[name] = draw(values(compound[name], out.shape))
        return out
    array: Array = draw(st.tuples(dtypes(kinds), shapes).flatmap(lambda t: values(*t)))
    return array


def plain_tree(rows: int = 12) -> NewGroup:
    """Return a small NeXus tree that any tree format carries without a loss."""
    root = NewGroup("NXroot", {"default": "1.1"})
    data = root.require("1.1", "NXentry").require("data", "NXdata")
    root.require("1.1").add("title", NewDataset("ascan th 0 1 11"))
    data.attrs["signal"] = "counts"
    data.add("th", NewDataset(np.linspace(0, 1, rows), {"units": "deg"}))
    data.add("counts", NewDataset(np.arange(rows, dtype=np.int32) * 1000, {"units": "counts"}))
    data.add("frames", NewDataset((np.arange(rows * 35) % 4093).reshape(rows, 5, 7).astype(np.uint16)))
    return root
