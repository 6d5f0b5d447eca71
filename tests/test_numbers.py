"""Numbers in text are the nearest ones of their type, whichever way they are read; Python's are the oracle."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nxconvert import compiled, numerals
from nxconvert.compiled.numbers import in_one_go
from nxconvert.conversion import Plan, convert
from nxconvert.foreign import reader
from nxconvert.textfile import layout, sheet

needs_library = pytest.mark.skipif(compiled.library() is None, reason="nothing was compiled here")

DOUBLES = st.floats().map(lambda v: struct.pack("<d", v)) | st.binary(min_size=8, max_size=8)
BITS = DOUBLES.map(lambda raw: struct.unpack("<d", raw)[0])
WRITTEN = st.builds(lambda how, v: how % v, st.sampled_from(["%r", "%.17g", "%.25g", "%.6f", "%.3e", "%+.16E"]), BITS)
DIGITS = st.text("0123456789", min_size=1, max_size=40)
SPELT = st.builds(
    lambda sign, a, b, power: f"{sign}{a}{b}{power}",
    st.sampled_from(["", "-", "+"]),
    DIGITS,
    st.just("") | DIGITS.map(lambda d: "." + d),
    st.just("") | st.integers(-420, 420).map(lambda n: f"e{n}") | st.integers(0, 9).map(lambda n: f"E+00{n}"),
)


@st.composite
def halves(draw: st.DrawFn) -> str:
    """Numbers in the middle of two floats, or next to it, in all their digits."""
    value = abs(draw(BITS.filter(math.isfinite)))
    up = math.nextafter(value, math.inf)
    middle = (Fraction(value) + Fraction(up if math.isfinite(up) else 2.0**1023) / 1) / 2
    power = max(0, middle.denominator.bit_length() - 1)
    digits = str(middle.numerator * 5**power)
    more = draw(st.sampled_from(["", "0", "1", "00000000000000000001"]))
    if draw(st.booleans()) and int(digits):
        digits = str(int(digits + more) - 1)
        power += len(more)
        more = ""
    return f"{digits}{more}e{-power - len(more)}"


HARD = [
    *[
        "1e5",
        "+1",
        ".5",
        "5.",
        "-0.0",
        "0",
        "-0",
        "0.0e999",
        "1e-400",
        "-1e400",
        "1e999999999999999999999",
        "0e99999999999",
        "1d5",
        "1D+03",
        "1.e3",
    ],
    "0." + "0" * 500 + "1e501",
    "1" + "0" * 500 + "e-500",
    "9" * 19,
    "9" * 20,
    "18446744073709551616",
    "9007199254740993",
    "9007199254740992.99999999999999999999",
    "9007199254740993.00000000000000000001",
    *["4.9406564584124654e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "2.2250738585072011e-308"],
    *["2.2250738585072014e-308", "1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308"],
    *[
        "3.4028235677973366e38",
        "3.4028235677973367e38",
        "7.038531e-26",
        "1.401298464324817e-45",
        "7.006492321624085e-46",
    ],
    *[
        "7.006492321624086e-46",
        "1.1754943508222875e-38",
        "1.17549428075736429173e-38",
        "1e23",
        "8.5",
        "nan",
        "inf",
        "-inf",
        "+Infinity",
    ],
]


def bits(values: Any, dtype: str) -> list[bytes]:
    return [np.array(v, dtype).tobytes() for v in values]


def single(text: str) -> np.float32:
    """Round to float32 exactly, by fractions."""
    value = float(text)
    with np.errstate(over="ignore"):
        near = np.float32(value)
    if not math.isfinite(value) or not value:
        return near
    exact = Fraction(text)
    some = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]

    def distance(v: np.float32) -> tuple[Fraction, int]:
        finite = Fraction(float(v)) if np.isfinite(v) else Fraction(int(math.copysign(2**128, v)))
        return abs(finite - exact), int(v.view(np.uint32)) & 1

    best = min(some, key=distance)
    return np.copysign(best, np.float32(-1 if text.startswith("-") else 1))


@needs_library
@settings(max_examples=300, deadline=None)
@given(st.lists(WRITTEN | SPELT | halves() | st.sampled_from(HARD), min_size=1, max_size=20))
@example(HARD)
def test_floats_are_rounded_as_python_does(words: list[str]) -> None:
    text = "".join(f"{w},{w}\n" for w in words).encode()
    table = in_one_go(text, [np.dtype(np.float64), np.dtype(np.float32)], len(words), b",", b".")
    assert table is not None
    left = {(row, cell) for row, cell, _ in table.left}
    assert all(text == words[row].encode() for row, _, text in table.left)
    usual = [w.lower().replace("d", "e") for w in words]
    for cell, dtype, known in ((0, "<f8", map(float, usual)), (1, "<f4", map(single, usual))):
        found, wanted = bits(table.columns[cell], dtype), bits(known, dtype)
        wrong = [
            (w, f)
            for i, (w, f, k) in enumerate(zip(words, found, wanted, strict=True))
            if (i, cell) not in left and f != k
        ]
        assert not wrong
    assert len(left) <= sum(len(w.lstrip("+-0.")) > 18 or "nan" in w for w in words) * 2


@needs_library
def test_ordinary_numbers_are_all_settled_by_the_library() -> None:
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 2**64, 20_000, np.uint64).view(np.float64)
    raw = raw[np.isfinite(raw)]
    for how in ("%r", "%.17g"):
        text = "".join(how % v + "\n" for v in raw.tolist()).encode()
        table = in_one_go(text, [np.dtype(np.float64)], len(raw), b",", b".")
        assert table is not None
        assert table.left == []
        assert table.columns[0].tobytes() == raw.tobytes()


@settings(max_examples=200, deadline=None)
@given(SPELT | halves() | st.sampled_from(HARD))
def test_a_single_float32_is_rounded_once(word: str) -> None:
    word = word.lower().replace("d", "e")
    assert bits([numerals.number(word.encode(), np.dtype(np.float32))], "<f4") == bits([single(word)], "<f4")


INTEGERS = [np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)]


@needs_library
@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(INTEGERS), st.lists(st.integers(-(2**64), 2**64) | st.integers(-300, 300), min_size=1, max_size=9)
)
def test_integers_are_read_within_their_limits(dtype: np.dtype[Any], numbers: list[int]) -> None:
    info = np.iinfo(dtype)
    numbers += [info.min, info.max, info.min - 1, info.max + 1]
    text = "".join(f"{n:+d}\n" if n % 3 == 0 else f"{n}\n" for n in numbers).encode()
    table = in_one_go(text, [dtype], len(numbers), b",", b".")
    assert table is not None
    left = {row for row, _, _ in table.left}
    for row, n in enumerate(numbers):
        inside = info.min <= n <= info.max
        assert inside or row in left
        assert row in left or int(table.columns[0][row]) == n
        assert not inside or row not in left or abs(n) >= 10**19


@needs_library
@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60), st.sampled_from([b",", b";", b"\t", b""]), st.sampled_from([b".", b","]), st.integers(1, 4)
)
def test_any_bytes_are_rows_or_refused(raw: bytes, separator: bytes, decimal: bytes, width: int) -> None:
    text = raw + b"\n"
    rows = text.count(b"\n")
    kinds = [np.dtype(t) for t in ("f8", "f4", "i2", "?")][:width]
    table = in_one_go(text, kinds, rows, separator, decimal)
    if table is None:
        return
    lines = text.split(b"\n")[:-1]
    split = [line.split(separator) if separator else line.split() for line in lines]
    assert all(len(cells) == width for cells in split)
    assert all(split[row][cell].strip(b" \t\r") == word.strip(b" \t\r") for row, cell, word in table.left)


CELLS = ("f8", "1.25", "f4", "-7e3", "i8", "12", "?", "true", "f2", "0.5", ">f8", "2", ">i4", "3")


@needs_library
def test_rows_of_all_types_with_blanks_returns_and_missing_cells() -> None:
    dtypes = [np.dtype(t) for t in CELLS[::2]]
    row = b", ".join(w.encode() for w in CELLS[1::2])
    text = row + b" ,,\r\n" + b"," * 8 + b"\r\n" + row.replace(b", ", b"\t,") + b",,\n"
    table = in_one_go(text, dtypes, 3, b",", b".", spare=2)
    assert table is not None
    assert table.left == []
    for values, dtype, word in zip(table.columns, dtypes, CELLS[1::2], strict=True):
        assert values.dtype == dtype
        assert np.ma.getmaskarray(values).tolist() == [False, True, False]
        assert values.compressed().tolist() == [{"true": True}.get(word) or float(word)] * 2
    assert in_one_go(text[:-3] + b"1,\n", dtypes, 3, b",", b".", spare=2) is None
    assert in_one_go(text, dtypes, 2, b",", b".", spare=2) is None
    assert in_one_go(text, dtypes, 4, b",", b".", spare=2) is None
    assert in_one_go(text[:-1], dtypes, 3, b",", b".", spare=2) is None


@pytest.mark.usefixtures("with_and_without_compiled")
@pytest.mark.parametrize("types", ["f8 f8 f8", "f8 f4 i8", "i2 u8 f8", ">f8 ? f2"])
def test_columns_between_blanks(types: str) -> None:
    dtypes = [np.dtype(t) for t in types.split()]
    rng = np.random.default_rng(6)
    rows = 3000
    columns = [
        rng.normal(size=rows).astype(d)
        if d.kind == "f"
        else rng.integers(0, 2 if d.kind == "b" else 9999, rows).astype(d)
        for d in dtypes
    ]
    words = [[repr(v) for v in c.astype(np.uint8 if c.dtype.kind == "b" else c.dtype).tolist()] for c in columns]
    text = "\n".join("  ".join(row) for row in zip(*words, strict=True)).encode()
    assert len(text) > 32 << 10
    found = numerals.columns(text, dtypes, rows)
    assert found is not None
    for values, wanted in zip(found, columns, strict=True):
        assert values.dtype == wanted.dtype
        assert values.tobytes() == wanted.tobytes()
    assert numerals.columns(text + b"\n1 2", dtypes, rows + 1) is None
    assert numerals.columns(text.replace(b"9", b"x", 1), dtypes, rows) is None


# By way of files, with the library and without


def values_of(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    found: dict[str, np.ndarray[Any, Any]] = {}
    with h5py.File(path) as file:
        file.visititems(lambda n, o: found.update({n.split("/")[-1]: o[()]}) if hasattr(o, "shape") else None)
    return found


def converted(source: Path) -> dict[str, np.ndarray[Any, Any]] | str:
    report = convert([str(source)], str(source.with_suffix(".h5")), Plan(overwrite=True))
    return "; ".join(str(e) for _, e in report.failed) if report.failed else values_of(source.with_suffix(".h5"))


@pytest.fixture(params=["in pieces", "at once"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in pieces":
        monkeypatch.setattr(sheet, "PIECE", 3000)
        monkeypatch.setattr(layout, "SMALL", 2000)
        monkeypatch.setattr(reader, "SMALL", 2000)
        monkeypatch.setattr(reader, "TAIL", 500)
        monkeypatch.setattr(reader, "ENOUGH", 2)


@pytest.mark.usefixtures("with_and_without_compiled", "pieces")
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
def test_a_foreign_table_is_read_exactly(tmp_path: Path, separator: str, end: str) -> None:
    rng = np.random.default_rng(4)
    x = np.arange(800) / 7
    y = rng.integers(0, 2**63, 800).view(np.float64)
    y[~np.isfinite(y)] = 0.25
    n = rng.integers(-(10**17), 10**17, 800)
    rows = [
        f"{a!r}{separator}{b:.17e}{separator}{c}" for a, b, c in zip(x.tolist(), y.tolist(), n.tolist(), strict=True)
    ]
    (tmp_path / "a.dat").write_bytes(end.join([separator.join("xyn"), *rows, ""]).encode())
    found = converted(tmp_path / "a.dat")
    assert isinstance(found, dict)
    assert found["x"].tobytes() == x.tobytes()
    assert found["y"].tobytes() == y.tobytes()
    assert found["n"].tobytes() == n.tobytes()


@pytest.mark.usefixtures("with_and_without_compiled", "pieces")
@pytest.mark.parametrize("separator", [";", "\t", "  "])
def test_decimal_commas_are_read_exactly(tmp_path: Path, separator: str) -> None:
    rng = np.random.default_rng(5)
    x, y = np.arange(600) / 7, rng.normal(size=600) * 10.0 ** rng.integers(-300, 300, 600)
    rows = [f"{a!r}{separator}{b!r}".replace(".", ",") for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    (tmp_path / "a.dat").write_text("\n".join([separator.join("xy"), *rows, ""]))
    found = converted(tmp_path / "a.dat")
    assert isinstance(found, dict)
    assert found["x"].tobytes() == x.tobytes()
    assert found["y"].tobytes() == y.tobytes()


@pytest.mark.usefixtures("with_and_without_compiled", "pieces")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1.5,oops,3", "column 2 (b): 'oops' is no float64"),
        ("1.5,2.5", "2 cells, where the table has 3"),
        ("1.5,2.5,3,4", "4 cells, where the table has 3"),
        ("1.5,2.5e,3", "column 2 (b): '2.5e' is no float64"),
        ("1.5,1_0,3", "column 2 (b): '1_0' is no float64"),
        ("1.5,0x10,3", "column 2 (b): '0x10' is no float64"),
    ],
)
def test_a_cell_that_is_none_is_named(tmp_path: Path, line: str, told: str) -> None:
    lines = ["a,b,c", *(f"{i}.25,{i * 3}.5,{i}" for i in range(600))]
    lines[500] = line
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    found = converted(tmp_path / "a.csv")
    assert isinstance(found, str)
    assert f"a.csv:501: {told}" in found


@pytest.mark.usefixtures("with_and_without_compiled", "pieces")
def test_missing_cells_and_their_words(tmp_path: Path) -> None:
    lines = ["a,b,c", *(f"{i}.25,{'NA' if i % 7 == 3 else i * 3.5},{'' if i % 50 == 9 else i}" for i in range(600))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    found = converted(tmp_path / "a.csv")
    assert isinstance(found, dict)
    there = np.arange(600) % 7 != 3
    assert (found["b"][there] == (np.arange(600) * 3.5)[there]).all()
    there = np.arange(600) % 50 != 9
    assert found["c"].dtype == np.int64
    assert (found["c"][there] == np.arange(600)[there]).all()
    with h5py.File(tmp_path / "a.h5") as file:
        gone: dict[str, list[int]] = {}
        file.visititems(lambda n, o: gone.update({n.split("/")[-1]: [*o.attrs.get("missing_rows", [])]}))
    assert gone["b"] == [i for i in range(600) if i % 7 == 3]
    assert gone["c"] == [i for i in range(600) if i % 50 == 9]


@pytest.mark.usefixtures("with_and_without_compiled", "pieces")
def test_a_whole_column_that_turns_into_another_far_down_is_one_of_floats(tmp_path: Path) -> None:
    lines = ["a,b,c", *(f"{i}.25,{i},{i}" for i in range(600)), "600.25,600.5,600", "601.25,601,"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    found = converted(tmp_path / "a.csv")
    assert isinstance(found, dict)
    assert found["b"].tolist() == [*range(600), 600.5, 601]
    assert found["c"].dtype == np.int64
    assert found["c"].tolist()[:601] == [*range(601)]


@pytest.mark.usefixtures("with_and_without_compiled", "pieces")
def test_a_table_of_ours_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    lines = ["a,b,c", *(f"{i}.25,{i * 3}.5,{i}" for i in range(600))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    converted(tmp_path / "a.csv")
    convert([str(tmp_path / "a.h5")], str(tmp_path / "b.csv"), Plan())
    whole = (tmp_path / "b.csv").read_bytes()
    assert isinstance(converted(tmp_path / "b.csv"), dict)
    (tmp_path / "b.csv").write_bytes(whole[:-3])
    assert "ends in the middle of a line" in str(converted(tmp_path / "b.csv"))
