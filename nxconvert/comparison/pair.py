"""What comparing two trees and comparing two records share: the result, attributes, arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

import numpy as np

from nxconvert.array import Array, as_array
from nxconvert.comparison.values import (
    Difference,
    Same,
    Tolerance,
    array_difference,
    comparable,
    plainly_same,
    same_type,
    shown,
    type_of,
    unequal,
)
from nxconvert.dataclass import dataclass
from nxconvert.errors import InputError


@dataclass
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    differences
        Where A and B differ.
    unread
        What could not be compared, each with the error: A and B are not known to be equal then.
    notices
        What was left out, and warnings of the readers.
    compared
        How many datasets or fields were compared.
    """

    differences: list[Difference] = field(default_factory=list)
    unread: list[tuple[str, Exception]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    compared: int = 0

    @property
    def equal(self) -> bool:
        """Whether everything was compared, and nothing differs."""
        return not self.differences and not self.unread

    def __str__(self) -> str:
        if self.equal:
            return "equal"
        return "\n".join([*map(str, self.differences), *(f"{w}: not compared: {e}" for w, e in self.unread)])


class Pair:
    """What comparing trees and records shares."""

    def __init__(self, tolerance: Tolerance, budget: int, told: Comparison | None) -> None:
        self.tolerance, self.budget, self.told = tolerance, budget, told

    def unread(self, where: str, error: Exception) -> None:
        """Note that something cannot be compared."""
        if self.told is None:
            raise error
        self.told.unread.append((where, error))

    def counted(self) -> None:
        """Note that a dataset or field was compared."""
        if self.told is not None:
            self.told.compared += 1

    def attributes(
        self, where: str, a: Mapping[str, Any], b: Mapping[str, Any], same: Same = plainly_same
    ) -> Iterator[Difference]:
        """Compare attributes."""
        for name in dict.fromkeys([*a, *b]):
            at = f"{where}@{name}"
            if name not in a or name not in b:
                yield Difference(at, "missing", *(shown(v[name]) if name in v else "" for v in (a, b)))
            else:
                try:
                    yield from self._attribute(at, a[name], b[name], same)
                except TypeError as error:
                    self.unread(at, InputError(str(error)))

    def _attribute(self, at: str, a: Any, b: Any, same: Same) -> Iterator[Difference]:
        known = (str, np.ndarray, np.generic, float, int, list, tuple)
        if not isinstance(a, known) or not isinstance(b, known):
            if type(a) is not type(b) or a != b:
                yield Difference(at, "attribute", shown(a), shown(b))
            return
        x, y = as_array(a), as_array(b)
        if x.shape != y.shape or not comparable(x.dtype, y.dtype):
            yield Difference(at, "attribute", f"{shown(a)} {_sized(x)}", f"{shown(b)} {_sized(y)}")
        elif unequal(x, y, self.tolerance, same).any():
            yield Difference(at, "attribute", shown(a), shown(b))
        elif not same_type(x.dtype, y.dtype, self.tolerance):
            yield Difference(at, "type", type_of(x.dtype), type_of(y.dtype))

    def arrays(self, where: str, a: Array, b: Array, same: Same = plainly_same) -> Iterator[Difference]:
        """Compare types, shapes and values of two arrays."""
        self.counted()
        if not same_type(a.dtype, b.dtype, self.tolerance):
            yield Difference(where, "type", type_of(a.dtype), type_of(b.dtype))
        if a.shape != b.shape:
            yield Difference(where, "shape", shape_of(a.shape), shape_of(b.shape))
        elif comparable(a.dtype, b.dtype):
            found = array_difference(where, a, b, self.tolerance, self.budget, same)
            if found is not None:
                yield found


def shape_of(shape: tuple[int, ...]) -> str:
    """Write a shape: ``6 x 24 x 32``."""
    return " x ".join(map(str, shape)) or "scalar"


def _sized(values: np.ndarray[Any, Any]) -> str:
    return f"({shape_of(values.shape)} {type_of(values.dtype)})"
