"""What a rule states of values: units, scale and offset, an enumeration, a dtype. Applied in both directions.

Nothing happens to values of a rule that states nothing. With a ``dtype`` or an enumeration the way out and back is
exact; with units, scale or offset it is exact to 2 ulp, of the larger of the value and the offset.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from nxconvert.array import TEXT, Array, Box, Values, decode, is_text
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError
from nxconvert.record import Block, Field, Record, by_name

if TYPE_CHECKING:
    from nxconvert.format import Report
    from nxconvert.mapping.model import Rule, RuleFile

Numbers = np.ndarray[Any, Any]

KINDS = {"integer": "iu", "float": "f", "number": "iuf", "text": "SOU", "bool": "b"}
"""Kinds of dtype that a rule may ask for, and numpy's letters for them."""

EXACT_DTYPES = (
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)

LARGEST = 2**53
"""Up to here float64 holds every integer."""

NEAR_INTEGER = 1e-6
"""How far a number that was computed may be from the integer that it stands for."""

COMMON_UNITS = ("m", "mm", "um", "nm", "angstrom", "deg", "rad", "s", "ms", "eV", "keV", "K", "A", "mA", "Hz", "counts")


def takes(rule: RuleFile, dtype: np.dtype[Any], rank: int, *, exact: bool) -> bool:
    """Tell whether values pass the guards of a rule: its rank and dtype.

    Parameters
    ----------
    exact
        Whether a dtype must be the one stated, as on export; on import numbers are cast to it.
    """
    if rule.rank is not None and rank != rule.rank:
        return False
    if not rule.dtype or rule.values:
        return True
    if rule.dtype in KINDS:
        return (dtype.kind in KINDS[rule.dtype] and rule.dtype != "text") or (is_text(dtype) and rule.dtype == "text")
    return _same(dtype, np.dtype(rule.dtype)) if exact else dtype.kind in "iufb"


def _same(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    """Tell whether two dtypes are one, in whatever order of bytes."""
    return (a.kind, a.itemsize) == (b.kind, b.itemsize)


def literal(value: Any, dtype: str = "") -> Values:
    """Return what a mapping says is written: a text, a number, a boolean, or a list of one of these."""
    items = value if isinstance(value, list) else [value]
    if isinstance(items[0], str):
        return Values(np.array(value, dtype=TEXT), TEXT)
    whole = "bool" if isinstance(items[0], bool) else "int64"
    return Values(np.array(value, dtype=dtype or ("float64" if any(isinstance(i, float) for i in items) else whole)))


def literal_problems(value: Any, dtype: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a text, a number, true, false, or a list of these that a tree shall have.

    Parameters
    ----------
    value
        As it stands in the file.
    dtype
        The dtype that the rule states, or an empty string.
    """
    items = value if isinstance(value, list) else [value]
    kinds = {"text" if isinstance(i, str) else "bool" if isinstance(i, bool) else "number" for i in items}
    if len(kinds) != 1:
        found = f"{value} has {' and '.join(sorted(kinds))}" if kinds else "the list is empty"
        yield found, "write a list of numbers, such as [0, 0, -1], or one of texts"
        return
    if not dtype and kinds == {"number"}:
        dtype = "float64" if any(isinstance(i, float) for i in items) else "int64"
    elif dtype and (dtype not in EXACT_DTYPES or kinds != {"number"}):
        yield f"{value!r} is no {dtype}", "leave dtype out, or write e.g. dtype: int32"
        return
    for item in items if dtype else ():
        if not fits(item, dtype):
            yield f"{item!r} is no {dtype}", "state another dtype, such as float64"


def fits(number: float, dtype: str) -> bool:
    """Tell whether a dtype holds a number exactly."""
    kind = np.dtype(dtype)
    if isinstance(number, int) and abs(number) > 2**1023:
        return False  # Python cannot make a float of it to look at
    if kind.kind == "f":
        return bool(math.isfinite(number) and float(kind.type(number)) == number)
    limits = np.iinfo(kind)
    return math.isfinite(number) and number == int(number) and int(limits.min) <= number <= int(limits.max)


def arithmetic(rule: RuleFile) -> bool:
    """Tell whether a rule states arithmetic: units of two kinds, a scale or an offset."""
    return rule.scale != 1 or rule.offset != 0 or bool(rule.units)


def exported(rule: Rule, f: Field, report: Report) -> Field:
    """Return a field as a record has it: its values are those of the tree by what the rule states.

    Raises
    ------
    InputError
        When its units do not fit, or (when its values are read) a number has no name.
    """
    file = rule.file
    if file.values:
        names = {number: name for name, number in file.values.items()}
        return _mapped(f, TEXT, lambda v: _names(v, names, f))
    tree, wanted = sides(file)
    factor = _Factor(f.units or tree, wanted, f.source) if file.units else None
    if not _computes(file, factor):
        return _with_units(f, wanted)
    _check_numbers(f, rule)
    _tell(f, rule, factor, report)
    dtype = f.dtype if f.dtype.kind == "f" else np.dtype(np.float64)

    def forward(values: Numbers) -> Numbers:
        if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size and _beyond(values):
            raise InputError(
                f"{f.source}: {f.name} has integers beyond 2**53, which no float64 holds exactly",
                f"leave units, scale and offset out of {rule.where}",
            )
        out = np.asarray(values, dtype=np.float64) * file.scale + file.offset if _shifts(file) else values
        out = factor.apply(np.asarray(out, dtype=np.float64)) if factor else out
        return np.asarray(out, dtype=dtype)

    return _with_units(_mapped(f, dtype, forward), wanted)


def imported(rule: Rule, f: Field, report: Report) -> Field:
    """Return a field as a tree has it: the inverse of ``exported``.

    Raises
    ------
    InputError
        When its units do not fit, or (when its values are read) a value does not fit the dtype or has no number.
    """
    file = rule.file
    if file.values:
        dtype = np.dtype(file.dtype or np.int64)
        return _mapped(f, dtype, lambda v: _numbers(v, file.values, dtype, f))
    tree, wanted = sides(file)
    factor = _Factor(f.units or wanted, tree, f.source) if file.units else None
    computes = _computes(file, factor)
    stated = np.dtype(file.dtype) if file.dtype in EXACT_DTYPES else None
    if not computes and (stated is None or _same(stated, f.dtype)):
        return _with_units(f, tree)
    _check_numbers(f, rule)
    if computes:
        _tell(f, rule, factor, report)
    dtype = stated or (f.dtype if f.dtype.kind == "f" else np.dtype(np.float64))

    def back(values: Numbers) -> Numbers:
        out = factor.apply(np.asarray(values, dtype=np.float64)) if factor else values
        out = (np.asarray(out, dtype=np.float64) - file.offset) / file.scale if _shifts(file) else out
        return _cast(out, dtype, f, computed=computes)

    return _with_units(_mapped(f, dtype, back), tree)


def sides(file: RuleFile) -> tuple[str, str]:
    """Return the units in the tree and those of the field, as a rule states them."""
    if isinstance(file.units, str):
        return file.units, file.units
    return file.units.get("tree", ""), file.units.get("field", "")


class Derived(Array):
    """Values that are computed of others when they are read. What is missing is not looked at.

    Parameters
    ----------
    values
        The others.
    dtype
        Type of the results.
    function
        Makes results of values, one of each.
    mask
        Booleans of the rows that are missing; None when none is.
    """

    __slots__ = ("_dtype", "_function", "_mask", "_values")

    def __init__(
        self, values: Array, dtype: np.dtype[Any], function: Callable[[Numbers], Numbers], mask: Array | None
    ) -> None:
        self._values, self._dtype, self._function, self._mask = values, dtype, function, mask

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    def read(self, box: Box | None = None) -> Numbers:
        values = self._values.read(box)
        return self.of(values, None if self._mask is None else self._mask.read(box[:1] if box else None))

    def of(self, values: Numbers, gone: Numbers | None) -> Numbers:
        """Return the results for values that have been read, of which some are missing."""
        out = np.empty(values.shape, dtype=self._dtype)
        if gone is None or not gone.any():
            out[...] = self._function(values)
            return out
        out[...] = "" if is_text(self._dtype) else 0
        out[~gone] = self._function(values[~gone])
        return out


@dataclass(frozen=True)
class Translated(Record):
    """A record of which some fields are derived from those of another, whose blocks are read in one pass."""

    original: Record | None = None

    def blocks(self, names: Sequence[str] | None = None, budget: int = 64 << 20) -> Iterator[Block]:
        assert self.original is not None
        for block in self.original.blocks(names, budget):
            yield replace(block, columns={n: self._column(n, values) for n, values in block.columns.items()})

    def _column(self, name: str, values: Numbers) -> Numbers:
        derived = self.fields[name].values
        if not isinstance(derived, Derived):
            return values
        if not isinstance(values, np.ma.MaskedArray):
            return derived.of(values, None)
        gone = np.ma.getmaskarray(values)
        return np.ma.MaskedArray(derived.of(np.ma.getdata(values), gone), gone)


def translated(record: Record, fields: Sequence[Field]) -> Record:
    """Return a record with other fields, some of which are derived from its own."""
    about = {k: getattr(record, k) for k in ("key", "source", "mapping", "grid", "finished")}
    return Translated(fields=by_name(fields), original=record, **about)


def _mapped(f: Field, dtype: np.dtype[Any], function: Callable[[Numbers], Numbers]) -> Field:
    return replace(f, values=Derived(f.values, dtype, function, f.mask if f.per_row else None))


def _with_units(f: Field, units: str) -> Field:
    return replace(f, attrs={**f.attrs, "units": units}) if units and f.attrs.get("units") != units else f


def _shifts(file: RuleFile) -> bool:
    return file.scale != 1 or file.offset != 0


def _computes(file: RuleFile, factor: _Factor | None) -> bool:
    return _shifts(file) or (factor is not None and not factor.one)


def _check_numbers(f: Field, rule: Rule) -> None:
    if f.dtype.kind not in "iufb":
        raise InputError(
            f"{f.source}: {f.name} is no number, but {rule.where} states units, scale or dtype",
            "add dtype: number to the rule, so that it takes numbers only",
        )


def _tell(f: Field, rule: Rule, factor: _Factor | None, report: Report) -> None:
    how = f"from {factor.given} to {factor.wanted}" if factor and not factor.one else "by scale and offset"
    report.remark(f"{rule.where}: {rule.file.field} is converted {how}: exact to 2 ulp, not bit by bit")


def _names(values: Numbers, names: dict[Any, str], f: Field) -> Numbers:
    out = np.empty(values.shape, dtype=object)
    for index, value in np.ndenumerate(values):
        name = names.get(value)
        if name is None:
            raise InputError(
                f"{f.source}: {value} has no name in values:",
                f"named are {', '.join(f'{k} ({v})' for k, v in names.items())}",
            )
        out[index] = name
    return out


def _numbers(values: Numbers, numbers: dict[str, Any], dtype: np.dtype[Any], f: Field) -> Numbers:
    texts = decode(values) if is_text(values.dtype) else values
    known = set(numbers.values())
    out = np.zeros(values.shape, dtype=dtype)
    for index, value in np.ndenumerate(texts):
        found = numbers.get(str(value), value if not is_text(values.dtype) and value in known else None)
        if found is None:
            near = difflib.get_close_matches(str(value), numbers, 1)
            tip = f"did you mean {near[0]!r}?" if near else f"named are {', '.join(numbers)}"
            raise InputError(f"{f.source}: {value!r} is not one of the values: of {f.name}", tip)
        out[index] = found
    return out


def _cast(values: Numbers, dtype: np.dtype[Any], f: Field, *, computed: bool) -> Numbers:
    with np.errstate(over="ignore", invalid="ignore"):
        out, fits = _fitted(np.asarray(values), dtype, computed=computed)
    if not np.all(fits):
        first = np.asarray(values)[~fits].flat[0]
        raise InputError(
            f"{f.source}: {f.name} has {first}, which is no {dtype.name}", "state another dtype in the mapping"
        )
    return out


def _beyond(values: Numbers) -> bool:
    return int(values.max()) > LARGEST or int(values.min()) < -LARGEST


def _fitted(values: Numbers, dtype: np.dtype[Any], *, computed: bool) -> tuple[Numbers, Numbers]:
    """Return values in another dtype, and which of them it holds."""
    if dtype.kind in "iu" and values.dtype.kind == "f":
        whole = np.rint(values)
        fits = np.abs(values - whole) <= NEAR_INTEGER * computed
        limits = np.iinfo(dtype)
        fits &= (whole >= float(limits.min)) & (whole <= float(limits.max))
        out = np.where(fits, whole, 0).astype(dtype)
        return out, np.asarray(fits & (out.astype(np.float64) == whole))
    out = values.astype(dtype)
    if computed and dtype.kind == "f":
        return out, np.asarray(np.isfinite(out) | ~np.isfinite(values))
    fits = (out.astype(values.dtype) == values) | (values != values)
    if dtype.kind in "iu" and values.dtype.kind in "iu":
        fits &= (out < 0) == (values < 0)
    return out, np.asarray(fits)


class _Factor:
    """A conversion between two units, by one multiplication or division."""

    def __init__(self, given: str, wanted: str, source: str) -> None:
        self.given, self.wanted = given, wanted
        self.one, self.factor, self.divisor = True, 1.0, 0.0
        if given == wanted:
            return
        try:
            self.factor, inverse = ratio(given, wanted), ratio(wanted, given)
        except ValueError as error:
            raise InputError(f"{source}: {error}", f"the mapping states {wanted}") from None
        self.one = self.factor == 1
        self.divisor = inverse if inverse > 1 and inverse == round(inverse) else 0.0

    def apply(self, values: Numbers) -> Numbers:
        """Convert: by a division where that is the exact number, as from mm to m."""
        return values / self.divisor if self.divisor else values * self.factor


_SPELT = {"Angstrom": "angstrom", "Angstroms": "angstrom", "A.U.": "", "sec": "s", "Deg": "deg"}
"""How units are spelt in files, where pint has another spelling."""


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(cache_folder=None)


def _converted(value: float, given: str, wanted: str) -> float:
    """Convert a number; A means ampere, but angstrom where the other unit is one of length."""
    import pint

    given, wanted = _SPELT.get(given, given), _SPELT.get(wanted, wanted)
    try:
        return float(_registry().convert(value, given, wanted))
    except pint.DimensionalityError:
        lengths = [re.sub(r"\bA\b", "angstrom", unit) for unit in (given, wanted)]
        if lengths == [given, wanted]:
            raise
        return float(_registry().convert(value, *lengths))


def ratio(given: str, wanted: str) -> float:
    """Return how many of one unit one of another is.

    Raises
    ------
    ValueError
        When one is unknown, they measure different things, or one has an offset as degrees Celsius have.
    """
    import pint

    try:
        zero, one = _converted(0.0, given, wanted), _converted(1.0, given, wanted)
    except pint.UndefinedUnitError as error:
        raise ValueError(f"there is no unit {error.unit_names!r}".replace("('", "'").replace("',)", "'")) from None
    except pint.DimensionalityError:
        raise ValueError(f"{given} cannot be converted to {wanted}: they measure different things") from None
    except Exception as error:  # noqa: BLE001 - pint's parser raises of all kinds
        raise ValueError(f"{given!r} or {wanted!r} is no unit ({type(error).__name__})") from None
    if zero != 0:
        raise ValueError(f"{given} and {wanted} have different zeros, which no factor converts")
    return one


def unit_problem(rule: RuleFile) -> tuple[str, str]:
    """Return what is wrong with the units that a rule states and how to mend it, or two empty strings."""
    tree, field = sides(rule)
    if isinstance(rule.units, dict) and (set(rule.units) != {"tree", "field"}):
        return "units: has keys other than tree and field, or lacks one", "write units: {tree: rad, field: deg}"
    for unit in (tree, field):
        try:
            ratio(unit, unit)
        except ValueError as error:
            near = difflib.get_close_matches(unit, COMMON_UNITS, 1)
            return f"units: {error}", f"did you mean {near[0]!r}?" if near else "units are as in mm, keV, deg, 1/s"
    try:
        ratio(tree, field)
    except ValueError as error:
        return f"units: {error}", "state two units of one quantity"
    return "", ""
