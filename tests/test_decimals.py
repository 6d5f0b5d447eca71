"""Numbers are written as text with the fewest digits that give them back, whether or not something was compiled."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nxconvert import compiled, table

pytestmark = pytest.mark.usefixtures("with_and_without_compiled")

POWERS = [np.nextafter(2.0**e, way) for e in range(-1074, 1024) for way in (0, 2.0**e, np.inf)]


def written(columns: list[np.ndarray[Any, Any]], style: table.Style | None = None) -> list[list[str]]:
    count = max(map(len, columns))
    text = b"".join(table.rows(columns, count, style or table.Style())).decode()
    assert text.endswith("\n")
    return [line.split(",") for line in text[:-1].split("\n")]


def bits(values: list[str], dtype: str) -> bytes:
    return np.array(values, dtype="U32").astype(dtype).tobytes()


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_floats_come_back_bit_by_bit_from_the_fewest_digits(dtype: str) -> None:
    rng = np.random.default_rng(8)
    size = np.dtype(dtype).itemsize
    every = rng.integers(0, 256, 40_000 * size, np.uint8).view(dtype)
    with np.errstate(over="ignore"):
        known = np.array(POWERS).astype(dtype)
        usual = np.round(rng.normal(size=20_000), 3) * 10.0 ** rng.integers(-9, 18, 20_000)
    values = np.concatenate([every, known, -known, usual.astype(dtype), np.arange(3000.0).astype(dtype)])
    values = values[np.isfinite(values)]
    found = [row[0] for row in written([values])]
    assert bits(found, dtype) == values.tobytes()
    assert list(map(_digits, found)) == [_digits(str(v)) for v in values]


def _digits(text: str) -> int:
    return len(text.lstrip("-").partition("e")[0].replace(".", "").strip("0"))


def test_the_text_is_that_of_another_library() -> None:
    rng = np.random.default_rng(9)
    for dtype in "f8", "f4":
        values = (rng.normal(size=5000) * 10.0 ** rng.integers(-12, 25, 5000)).astype(dtype)
        other = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1].split(",")
        # versions of it differ in the sign of exponents
        assert [row[0].replace("e+", "e") for row in written([values])] == [o.replace("e+", "e") for o in other]


@pytest.mark.parametrize("dtype", "?bBhHiIlLqQ")
def test_whole_numbers(dtype: str) -> None:
    kind = np.dtype(dtype)
    lowest, highest = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    tens = [s * (10**n + d) for n in range(20) for d in (-1, 0, 1) for s in (-1, 1)]
    values = np.array([v for v in [lowest, highest, *tens] if lowest <= v <= highest], kind)
    said = {"True": "true", "False": "false"}
    assert [row[0] for row in written([values])] == [said.get(str(v), str(v)) for v in values.tolist()]


def test_what_is_missing_or_not_finite_and_the_style() -> None:
    masked = np.ma.MaskedArray([1.5, 2.0, 3.25], [False, True, False])
    columns: list[Any] = [
        masked,
        np.array([np.nan, np.inf, -np.inf]),
        np.array([True, False]),
        np.array([[1, 2], [3, 4], [5, 6]], np.int16)[:, ::-1],
        np.arange(6.0)[::2],
        np.array(["a", "b,c", ""]),
        np.array([b"x", b"y"], "S3"),
        np.zeros((3, 0)),
        np.arange(3, dtype=">f4"),
        np.array([0.5, 1.5, 2.5], np.float16),
    ]
    style = table.Style(b";", b"?", lambda text: f"'{text}'".encode(), booleans=(b"no", b"yes"), decimal=b",")
    text = b"".join(table.rows(columns, 3, style)).decode()
    assert text == (
        "1,5;nan;yes;2;1;0,0;'a';'x';0,0;0,5\n?;inf;no;4;3;2,0;'b,c';'y';1,0;1,5\n3,25;-inf;?;6;5;4,0;'';?;2,0;2,5\n"
    )


def test_text_with_line_breaks_beside_numbers() -> None:
    style = table.Style(quote=lambda text: f'"{text}"'.encode())
    columns = [np.arange(3), np.array(["a\nb", "c", "\n"]), np.arange(3.0)]
    assert b"".join(table.rows(columns, 3, style)) == b'0,"a\nb",0.0\n1,"c",1.0\n2,"\n",2.0\n'


def test_a_table_without_columns_has_empty_lines() -> None:
    assert b"".join(table.rows([], 3, table.Style())) == b"\n\n\n"
    assert b"".join(table.rows([np.zeros((3, 0), np.float32)], 3, table.Style())) == b"\n\n\n"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@settings(deadline=None)
def test_any_floats(values: list[float]) -> None:
    found = written([np.array(values)])
    assert bits([row[0] for row in found], "f8") == np.array(values).tobytes()


def test_the_compiled_library_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    if compiled.library() is None:
        pytest.skip("nothing is compiled here")

    def refused(*_: Any, **__: Any) -> bytes:
        raise AssertionError("written by another library")

    monkeypatch.setattr(sys.modules["orjson"], "dumps", refused)
    assert written([np.array([0.1])]) == [["0.1"]]
