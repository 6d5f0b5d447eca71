"""Our own text: what comes back of it, also after a spreadsheet or a person had it."""

from __future__ import annotations

import csv as csv_module
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nxconvert.array import Values
from nxconvert.conversion import Plan, open_records
from nxconvert.errors import InputError
from nxconvert.format import Report
from nxconvert.formats.csv.write import CsvSink
from nxconvert.formats.plain.write import PlainSink
from nxconvert.location import Location
from nxconvert.record import Field, Record, by_name
from nxconvert.textfile import layout, sheet


def write(path: Path, fields: list[Field], dialect: str = "csv") -> Record:
    record = Record({"scan": "1.10"}, by_name(fields))
    sink = CsvSink(path, Report(), dialect) if path.suffix == ".csv" else PlainSink(path, Report())
    sink.begin(record)
    for block in record.blocks():
        sink.write(block)
    sink.end()
    sink.close()
    return record


def read(path: Path) -> Record:
    with open_records(Location(str(path)), Plan(), Report()) as records:
        (record,) = records
        return record


def values(record: Record, name: str) -> list[object]:
    return [v for block in record.blocks([name]) for v in block.columns[name].tolist()]


TEXTS = [
    "a\n\nb",
    " \n x",
    "c\r\nd",
    "e\rf",
    "a,b",
    "1,5",
    "c;d",
    "",
    "#x",
    ' "q"',
    "1.10",
    "TRUE",
    "1/2",
    "MAR1",
    "'",
    "=1",
]


@pytest.mark.parametrize("dialect", ["csv", "excel", "excel-semicolon", "excel-comma"])
def test_odd_text_comes_back_in_every_dialect(tmp_path: Path, dialect: str) -> None:
    numbers = np.arange(len(TEXTS)) / 7
    write(tmp_path / "a.csv", [Field("t", Values(TEXTS), True), Field("n", Values(numbers), True)], dialect)
    back = read(tmp_path / "a.csv")
    assert values(back, "t") == TEXTS
    assert values(back, "n") == numbers.tolist()


def test_a_float32_that_is_rounded_twice_elsewhere(tmp_path: Path) -> None:
    bits = np.array([0x15AE43FD, 0x15AE43FC, 0x80000000, 0x7F7FFFFF, 1], np.uint32)
    write(tmp_path / "a.csv", [Field("f", Values(bits.view(np.float32)), True)])
    assert read(tmp_path / "a.csv").fields["f"].values.read().view(np.uint32).tolist() == bits.tolist()


def test_pandas_keeps_the_missing_row_of_a_single_column(tmp_path: Path) -> None:
    mask = Values(np.array([False, True, False]))
    write(tmp_path / "a.csv", [Field("x", Values(np.array([1.0, 2.0, 3.0])), True, mask=mask)])
    frame = pd.read_csv(tmp_path / "a.csv", comment="#")
    np.testing.assert_array_equal(frame["x"], [1, np.nan, 3])
    assert values(read(tmp_path / "a.csv"), "x") == [1.0, None, 3.0]


def spreadsheet(text: str) -> str:
    """Open and save a CSV as a spreadsheet does: a cell is unquoted where it begins with a quote, and only there."""
    rows = []
    for line in text.splitlines():
        cells, at = [], 0
        while True:
            opening = line[at : at + 1] == '"'
            closing = line.find('"', at + 1) if opening else at
            end = line.find(",", closing)
            end = len(line) if end < 0 else end
            cells.append(line[at + 1 : closing] + line[closing + 1 : end] if opening else line[at:end])
            if end >= len(line):
                break
            at = end + 1
        rows.append(cells)
    width = max(map(len, rows))
    out = io.StringIO()
    csv_module.writer(out, lineterminator="\r\n").writerows([*r, *[""] * (width - len(r))] for r in rows)
    return "\ufeff" + out.getvalue()


def semicolons(text: str) -> str:
    first, *rest = text.splitlines()
    memo = '"' + first.replace('"', '""') + '";'
    return "\r\n".join([memo, *(line.replace(",", ";").replace(".", ",") for line in rest), ""])


def with_rows(*rows: str) -> Callable[[str], str]:
    return lambda text: text + "".join(f"{r}\n" for r in rows)


EDITS = {
    "saved by a spreadsheet": (spreadsheet, [1, 2], [0.5, 1.5]),
    "saved with semicolons and decimal commas": (semicolons, [1, 2], [0.5, 1.5]),
    "an added row": (with_rows("3,2.5"), [1, 2, 3], [0.5, 1.5, 2.5]),
    "an added row, quoted, one cell empty": (with_rows('"3",""'), [1, 2, 3], [0.5, 1.5]),
    "rows that were emptied": (with_rows(",", ","), [1, 2], [0.5, 1.5]),
    "empty columns added": (lambda t: t.replace("\n1,0.5\n2,1.5\n", ",,\n1,0.5,,\n2,1.5,,\n"), [1, 2], [0.5, 1.5]),
    "columns exchanged": (lambda t: t.replace("\nx,y\n1,0.5\n2,1.5\n", "\ny,x\n0.5,1\n1.5,2\n"), [1, 2], [0.5, 1.5]),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_file_is_read_with_all_that_its_memo_says(tmp_path: Path, name: str) -> None:
    edit, x, y = EDITS[name]
    path = tmp_path / "a.csv"
    attrs = {"units": "mm", "note": "a, b; c", "list": np.array([1.25, 2.0])}
    write(path, [Field("x", Values(np.array([1, 2])), True, attrs=attrs), Field("y", Values([0.5, 1.5]), True)])
    path.write_bytes(edit(path.read_text()).encode())
    back = read(path)
    assert back.key == {"scan": "1.10"}
    f = back.fields["x"]
    assert (f.dtype, f.units, f.attrs["note"]) == (np.int64, "mm", "a, b; c")
    assert f.attrs["list"].tolist() == [1.25, 2.0]
    assert values(back, "x") == x
    assert [v for v in values(back, "y") if v is not None] == y


def test_a_column_that_was_added_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, [Field("x", Values(np.array([1, 2])), True)])
    path.write_text(path.read_text().replace("\nx\n1\n2\n", "\nx,note,n\n1,hi,3\n2,ho,4\n"))
    back = read(path)
    assert [values(back, n) for n in ("x", "note", "n")] == [[1, 2], ["hi", "ho"], [3, 4]]


def test_an_error_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write(path, [Field("t", Values(["a\nb", "c"]), True), Field("x", Values(np.array([1, 2])), True)])
    path.write_text(path.read_text().replace("c,2", "c,2.5"))
    with pytest.raises(InputError, match=r"a\.csv:5: column 2 \(x\): '2\.5' is no int64"):
        values(read(path), "x")


def test_a_long_memo_stands_in_cells_that_excel_holds(tmp_path: Path) -> None:
    header = [Field(f"motor/m{i}", Values(np.float64(i / 7))) for i in range(4000)]
    write(tmp_path / "a.csv", [Field("x", Values(np.array([1.5, 2.5])), True), *header], "excel-semicolon")
    rows = list(csv_module.reader(io.StringIO((tmp_path / "a.csv").read_text("utf-8-sig")), delimiter=";"))
    assert rows[:4] == [["x"], ["1,5"], ["2,5"], []]
    assert len(rows) > 5
    assert max(len(cell) for row in rows for cell in row) <= 32_767
    back = read(tmp_path / "a.csv")
    assert back.fields["motor/m3999"].values.read()[()] == 3999 / 7
    assert values(back, "x") == [1.5, 2.5]


@pytest.mark.usefixtures("with_and_without_compiled")
@pytest.mark.parametrize("suffix", [".csv", ".dat"])
def test_pieces_give_what_the_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    rng = np.random.default_rng(3)
    n = 4000
    mask = np.zeros(n, bool)
    mask[[0, 5, 6, n - 1]] = True
    gone = np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))
    gone[:3] = [np.inf, -np.inf, -0.0]
    fields = [
        Field("a", Values(gone), True),
        Field("m", Values(rng.normal(size=n)), True, mask=Values(mask)),
        Field("i", Values(rng.integers(0, 9, n).astype(np.int8)), True, mask=Values(mask)),
        Field("s", Values(rng.normal(size=n - 500)), True),
        Field("b", Values(rng.random(n) < 0.5), True),
        Field("e", Values(np.empty(0, np.int32)), True),
    ]
    fields += [Field("t", Values([f'{i},\n"' for i in range(n)]), True)] if suffix == ".csv" else []
    path = tmp_path / f"a{suffix}"
    write(path, fields)
    monkeypatch.setattr(layout, "SMALL", 1000)
    monkeypatch.setattr(sheet, "PIECE", 9000)
    back = read(path)
    for f in fields:
        g = back.fields[f.name]
        assert (g.dtype, g.shape) == (f.dtype, f.shape)
        missing = g.mask.read() if g.mask is not None else np.zeros(len(f.values), bool)
        wanted = f.mask.read() if f.mask is not None else np.zeros(len(f.values), bool)
        np.testing.assert_array_equal(missing, wanted)
        mine, its = f.values.read()[~wanted], g.values.read()[~wanted]
        assert mine.tolist() == its.tolist() if mine.dtype == object else mine.tobytes() == its.tobytes()
