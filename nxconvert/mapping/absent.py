"""What a mapping writes where a record lacks a field: a text, a number, or numbers that are evenly spaced."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nxconvert.array import TEXT, Values, is_text
from nxconvert.errors import InputError
from nxconvert.mapping.model import MappingFile, Rule, RuleFile
from nxconvert.mapping.stated import EXACT_DTYPES, literal, literal_problems
from nxconvert.record import Field, Record, Role

RANGE = ("from", "to", "steps", "endpoint")
"""Keys of a range."""

OF_FIELD = ("field", "shape", "origin")
"""Keys that name a field of which the value, or the shape of an item and the indices of its first pixel, are taken."""

WRITE = "write e.g. {from: 0, to: 180, endpoint: false}"


def problems(rule: RuleFile, spec: MappingFile) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with what a rule says of absent fields, and how to mend it."""
    absent = rule.absent
    if absent is None:
        return
    if not rule.field:
        yield "absent: the rule has no field that a record may lack", "add field: NAME, or leave absent out"
    if is_whole(absent):
        yield from _whole(rule, absent)
        return
    if rule.each == "stack" and isinstance(absent, dict) and not set(absent) & set(RANGE):
        roles = list(spec.stack.order) if spec.stack is not None else []
        for role, one in absent.items():
            if role not in roles:
                near = difflib.get_close_matches(role, roles, 1)
                tip = f"did you mean {near[0]!r}?" if near else f"roles are {', '.join(roles)}"
                yield f"absent: there is no {role!r} in the order of the stack", tip
            yield from _one(rule, one)
        return
    yield from _one(rule, absent)


def _one(rule: RuleFile, absent: Any) -> Iterator[tuple[str, str]]:
    numbers = bool(rule.units) or rule.scale != 1 or rule.offset != 0 or rule.dtype in (*EXACT_DTYPES, "number")
    if isinstance(absent, dict):
        if rule.values or rule.dtype in ("text", "bool"):
            yield "absent: a range has numbers, and the rule states values: or text", "write a text"
        yield from _range(absent)
    elif isinstance(absent, str):
        if rule.values and absent not in rule.values:
            near = difflib.get_close_matches(absent, rule.values, 1)
            yield f"absent: {absent!r} is none of values:", _near(near, rule.values)
        if numbers and not rule.values:
            yield f"absent: {absent!r} is no number, as the rule states", "write a number"
    elif isinstance(absent, bool):
        if rule.dtype != "bool":
            yield f"absent: must be a text, a number or a range, found {absent}", f"{WRITE}; with dtype: bool it may be"
    elif not isinstance(absent, int | float):
        yield f"absent: must be a text, a number or a range, found {absent!r}", WRITE
    elif rule.values:
        yield f"absent: {absent} is no name of values:", _near([], rule.values)


def is_whole(absent: Any) -> bool:
    """Tell whether what is absent is said as a whole: by a list, or by another field."""
    return isinstance(absent, list) or (isinstance(absent, dict) and bool(set(absent) & set(OF_FIELD)))


def _whole(rule: RuleFile, absent: Any) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with what is one header value: a list, or what another field says."""
    what = "a list" if isinstance(absent, list) else "what a field says"
    if rule.each != "record":
        yield f"absent: {what} is one value for the record", "say each: record"
    if rule.values:
        yield f"absent: {what} is none of values:", _near([], rule.values)
    if isinstance(absent, list):
        dtype = rule.dtype if rule.dtype in EXACT_DTYPES else ""
        yield from (("absent: " + message, tip) for message, tip in literal_problems(absent, dtype))
        return
    for key, name in absent.items():
        if key not in OF_FIELD or len(absent) > 1 or not isinstance(name, str):
            yield f"absent: must name one field, found {absent}", "write {field: NAME}, {shape: NAME} or {origin: NAME}"
        elif name == rule.field:
            yield f"absent: {name} is the field that is absent", "name another"


def _near(near: list[str], known: Mapping[str, Any]) -> str:
    return f"did you mean {near[0]!r}?" if near else f"named are {', '.join(known)}"


def _range(given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in given:
        if key not in RANGE:
            near = difflib.get_close_matches(key, RANGE, 1)
            yield f"absent: a range has no {key!r}", f"did you mean {near[0]!r}?" if near else WRITE
    for key in ("from", "to"):
        if key not in given:
            yield f"absent: a range needs {key!r}", WRITE
            continue
        *fields, last = given[key] if isinstance(given[key], list) and given[key] else [given[key]]
        if not all(isinstance(f, str) for f in fields) or not _is_number(last):
            message = f"absent: {key} must end in a number, found {given[key]!r}"
            yield message, f"write {key}: 180, or {key}: [FIELD, 180] to take a header value where there is one"
    if "steps" in given and not (
        isinstance(given["steps"], str) or (_is_number(given["steps"]) and given["steps"] > 0)
    ):
        yield f"absent: steps must be a number or a field, found {given['steps']!r}", "leave it out for all rows"
    if not isinstance(given.get("endpoint", True), bool):
        yield f"absent: endpoint must be true or false, found {given['endpoint']!r}", "write true or false"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def stand_in(rule: Rule, absent: Any, record: Record, rows: int | None) -> Field:
    """Return the field that a record lacks, as the record would have it.

    Parameters
    ----------
    absent
        The text, number or range.
    record
        What lacks it: a range may name its header values, and follows the numbers of its rows.
    rows
        How many rows it shall have; None for a header value.

    Raises
    ------
    InputError
        When a header value that the range names is no number.
    """
    name, shape = rule.file.field, () if rows is None else (rows,)
    if isinstance(absent, dict):
        values, gone = spaced(absent, record, 1 if rows is None else rows)
        mask = Values(gone) if gone.any() else None
        return Field(name, Values(values.reshape(shape)), rows is not None, mask=mask, source=rule.where)
    dtype = TEXT if isinstance(absent, str) else np.asarray(absent).dtype
    dtype = np.dtype(np.int64) if dtype.kind == "i" else dtype
    out = np.empty(shape, dtype)
    out[...] = absent
    return Field(name, Values(out, dtype), rows is not None, source=rule.where)


def whole(rule: Rule, record: Record) -> Field | None:
    """Return the header value that a record lacks: a list, or what another field says; None where that is not there."""
    absent, name = rule.file.absent, rule.file.field
    if isinstance(absent, list):
        values = literal(absent, rule.file.dtype if rule.file.dtype in EXACT_DTYPES else "")
        return Field(name, values, source=rule.where)
    assert isinstance(absent, dict)
    ((what, other),) = absent.items()
    f = record.fields.get(other)
    if f is None or (f.per_row if what == "field" else not f.item_shape):
        return None
    if what != "field":
        numbers = f.item_shape if what == "shape" else (0,) * len(f.item_shape)
        return Field(name, Values(np.array(numbers, np.int64)), source=f.source)
    return Field(name, f.values, attrs={"units": f.units} if f.units else {}, source=f.source)


def spaced(given: Mapping[str, Any], record: Record, rows: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return evenly spaced numbers, one a row, and for which rows there is none since the steps are fewer.

    Where the record has numbers of its rows (an axis of ascending integers) these count: a row that is missing leaves a
    gap.
    """
    start, stop = (_number(given[key], record) for key in ("from", "to"))
    at = _positions(record, rows)
    count = int(at[-1]) + 1 if rows else 0
    if "steps" in given:
        stated = given["steps"]
        found = _header(record, stated) if isinstance(stated, str) else float(stated)
        count = count if found is None else int(found)
    last = count - 1 if given.get("endpoint", True) else count
    gone = at >= count
    values = start + (stop - start) * np.where(gone, 0, at) / max(last, 1)
    values[gone] = 0
    return values, gone


def _positions(record: Record, rows: int) -> np.ndarray[Any, Any]:
    """Return the number of each row, from 0."""
    for f in record.role(Role.AXIS):
        if f.per_row and f.shape == (rows,) and f.dtype.kind in "iu" and rows:
            numbers = f.values.read().astype(np.int64)
            if bool((np.diff(numbers) > 0).all()):
                return np.asarray(numbers - numbers[0])
    return np.arange(rows, dtype=np.int64)


def _number(given: Any, record: Record) -> float:
    for one in given if isinstance(given, list) else [given]:
        found = _header(record, one) if isinstance(one, str) else float(one)
        if found is not None:
            return found
    raise InputError(f"{record.source}: a range has no number")  # the loader sees to it that there is one


def _header(record: Record, name: str) -> float | None:
    """Return a header value that is a number; None when it is not there."""
    f = record.fields.get(name)
    if f is None or f.per_row:
        return None
    values = f.values.read()
    if is_text(f.dtype) or f.dtype.kind not in "iuf" or values.size != 1:
        raise InputError(f"{f.source}: {name} is no number, and a range of {record.source} is made of it")
    return float(values.flat[0])
