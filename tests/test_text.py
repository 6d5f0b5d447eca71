"""CSV, spreadsheets and plain columns: what other programs read of them, and what they read of others'."""

from __future__ import annotations

import csv as csv_module
import io
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import needs_corpus

from nxconvert.array import Values
from nxconvert.conversion import Plan, convert, open_records
from nxconvert.errors import InputError, NxconvertError, UsageError
from nxconvert.format import Report
from nxconvert.formats.csv.write import CsvSink
from nxconvert.formats.plain.write import PlainSink
from nxconvert.location import Location
from nxconvert.record import Field, Record, Role, by_name
from nxconvert.textfile import layout, sheet


def read(path: Path, **options: str) -> Record:
    with open_records(Location(str(path)), Plan(options=options), Report()) as records:
        (record,) = records
        return record


def values(record: Record, name: str) -> list[object]:
    parts = [block.columns[name] for block in record.blocks([name])]
    return [v for part in parts for v in part.tolist()]


def write(path: Path, record: Record, sink: object, report: Report | None = None) -> None:
    made = sink(path, report or Report())  # type: ignore[operator]
    made.begin(record)
    for block in record.blocks():
        made.write(block)
    made.end()
    made.close()


ODD = by_name(
    [
        Field("a,b", Values(np.array([1.0, np.nan, -0.0, 1e-7])), True, attrs={"units": "mm"}),
        Field("#n", Values(np.array([1, 2, 3], dtype=np.int8)), True),
        Field('say "x"', Values(["plain", "", 'q"u,o\nte', "#hash"]), True),
        Field("flag", Values(np.array([True, False, True, False])), True),
        Field("f4", Values(np.array([0.1, 0.2, 0.3, 1e30], dtype=">f4")), True),
    ]
)


def test_pandas_reads_it(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", Record({}, ODD), CsvSink)
    frame = pd.read_csv(tmp_path / "a.csv", comment="#", float_precision="round_trip")
    assert list(frame) == ["a,b", "#n", 'say "x"', "flag", "f4"]
    assert frame["a,b"].tolist()[2:] == [-0.0, 1e-7]
    assert frame["#n"].tolist()[:3] == [1, 2, 3]
    assert np.isnan(frame["#n"].iloc[3])
    assert frame["f4"].to_numpy(np.float32).tolist() == ODD["f4"].values.read().tolist()


@pytest.mark.parametrize("dialect", ["csv", "excel"])
def test_everything_comes_back(tmp_path: Path, dialect: str) -> None:
    write(tmp_path / "a.csv", Record({"scan": "1.10"}, ODD), lambda p, r: CsvSink(p, r, dialect))
    back = read(tmp_path / "a.csv")
    assert back.key == {"scan": "1.10"}
    for name, f in ODD.items():
        g = back.fields[name]
        assert (g.dtype, g.shape, g.units) == (f.dtype, f.shape, f.units)
        mine, its = f.values.read(), g.values.read()
        assert mine.tobytes() == its.tobytes() if mine.dtype != object else mine.tolist() == its.tolist()


def test_a_spreadsheet_runs_no_formula_and_shows_labels_first(tmp_path: Path) -> None:
    cells = ["=1+1", "+2", "-3", "@x", "'quoted", "plain", "1.10"]
    record = Record({}, by_name([Field("t", Values(cells), True)]))
    write(tmp_path / "a.csv", record, lambda p, r: CsvSink(p, r, "excel"))
    raw = (tmp_path / "a.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbft\n")
    shown = [row[0] for row in csv_module.reader(io.StringIO(raw.decode("utf-8-sig"))) if row][1:8]
    assert shown == ["'=1+1", "'+2", "'-3", "'@x", "''quoted", "plain", "'1.10"]
    assert values(read(tmp_path / "a.csv"), "t") == cells


def test_more_rows_than_a_spreadsheet_holds_are_refused(tmp_path: Path) -> None:
    record = Record({}, by_name([Field("t", Values(np.zeros(1_048_576)), True)]))
    with pytest.raises(NxconvertError, match="a spreadsheet holds 1,048,576"):
        write(tmp_path / "a.csv", record, lambda p, r: CsvSink(p, r, "excel"))


def test_a_file_saved_again_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """Windows line ends, added empty columns, an added row, and the last line quoted anew."""
    record = Record(
        {"scan": "2"}, by_name([Field("x", Values(np.array([1, 2])), True), Field("y", Values([0.5, 1.5]), True)])
    )
    write(tmp_path / "a.csv", record, lambda p, r: CsvSink(p, r, "excel"))
    lines = (tmp_path / "a.csv").read_text("utf-8-sig").splitlines()
    lines.insert(3, "3,2.5")
    (tmp_path / "a.csv").write_bytes(("\ufeff" + "".join(f"{line},\r\n" for line in lines)).encode())
    back = read(tmp_path / "a.csv")
    assert back.key == {"scan": "2"}
    assert values(back, "x") == [1, 2, 3]
    assert back.fields["x"].dtype == np.int64
    assert values(back, "y") == [0.5, 1.5, 2.5]


def test_a_cut_file_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", Record({}, by_name([Field("x", Values(np.array([0.123456, 0.234567])), True)])), CsvSink)
    whole = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv").write_bytes(whole[:-3])
    with pytest.raises(InputError, match="ends in the middle of a line"):
        values(read(tmp_path / "a.csv"), "x")


@pytest.mark.usefixtures("with_and_without_compiled")
def test_large_files_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    fields = by_name(
        [
            Field("f", Values(rng.normal(size=5000)), True),
            Field("i", Values(rng.integers(-(2**62), 2**62, 5000)), True),
            Field("g", Values(rng.normal(size=4990).astype(np.float32)), True),
            Field("m", Values(rng.normal(size=5000)), True, mask=Values(rng.random(5000) < 0.1)),
            Field("v", Values(rng.normal(size=(5000, 3))), True),
        ]
    )
    write(tmp_path / "a.csv", Record({}, fields), CsvSink)
    monkeypatch.setattr(layout, "SMALL", 1000)
    monkeypatch.setattr(sheet, "PIECE", 30_000)
    back = read(tmp_path / "a.csv")
    for name, f in fields.items():
        parts = [b.columns[name] for b in back.blocks([name], 1 << 16)]
        assert len(parts) > 3
        got = np.ma.concatenate(parts)
        mask = f.mask.read() if f.mask else np.zeros(len(f.values), bool)
        assert got.dtype == f.dtype
        np.testing.assert_array_equal(np.ma.getmaskarray(got).reshape(len(got), -1).any(axis=1), mask)
        np.testing.assert_array_equal(np.ma.getdata(got)[~mask], f.values.read()[~mask])


def test_numpy_loads_plain_columns(tmp_path: Path) -> None:
    mask = np.array([False, True, False])
    fields = by_name(
        [
            Field(
                "two words", Values(np.array([1, 2, 3], dtype=np.int16)), True, attrs={"units": "mm"}, mask=Values(mask)
            ),
            Field("y", Values(np.array([0.1, np.nan])), True, role=Role.SIGNAL),
            Field("note", Values(["a", "b", "c"]), True),
        ]
    )
    report = Report()
    write(tmp_path / "a.dat", Record({"scan": "1"}, fields), PlainSink, report)
    assert [loss.what for loss in report.losses] == ["note"]
    loaded = np.loadtxt(tmp_path / "a.dat")
    np.testing.assert_array_equal(loaded, [[1, 0.1], [np.nan, np.nan], [3, np.nan]])
    back = read(tmp_path / "a.dat")
    assert values(back, "two words") == [1, None, 3]
    assert back.fields["two words"].dtype == np.int16
    assert back.fields["y"].shape == (2,)
    assert back.fields["y"].role == Role.SIGNAL


FOREIGN = {
    "commas": ("energy (eV),mu\n1.5,2\n2.5,3\n3.5,4\n", {"energy": [1.5, 2.5, 3.5], "mu": [2, 3, 4]}),
    "decimal comma": ("x;y\n1,5;2\n2,5;3\n3,5;4\n", {"x": [1.5, 2.5, 3.5], "y": [2, 3, 4]}),
    "blanks, comments": ("# a scan\n# q  I\n0.1 5\n0.2 6\n0.3 7\n", {"q": [0.1, 0.2, 0.3], "I": [5, 6, 7]}),
    "tabs": ("q [1/A]\tI\n0.1\t5\n0.2\t6\n0.3\t7\n", {"q": [0.1, 0.2, 0.3], "I": [5, 6, 7]}),
    "no labels": ("1 2\n3 4\n5 6\n", {"col1": [1, 3, 5], "col2": [2, 4, 6]}),
    "fortran": ("1D+03 2.5d-1\n2D+03 3.5\n3D0 1\n", {"col1": [1000.0, 2000.0, 3.0], "col2": [0.25, 3.5, 1.0]}),
    "windows": ("a,b\r\n1,2\r\n3,4\r\n", {"a": [1, 3], "b": [2, 4]}),
    "missing": ("a,b,c\n1,,3\n4,5,6\n", {"a": [1, 4], "b": [None, 5], "c": [3, 6]}),
    "same label": ("I0 I0 x\n1 2 3\n4 5 6\n7 8 9\n", {"I0": [1, 4, 7], "I0_2": [2, 5, 8], "x": [3, 6, 9]}),
    "text column": ("t,n\na,1\nb,2\nc,3\n", {"t": ["a", "b", "c"], "n": [1, 2, 3]}),
    "int turns float": ("n,m\n" + "1,1\n" * 200 + "1.5,2\n", None),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_tables(tmp_path: Path, name: str) -> None:
    text, expected = FOREIGN[name]
    (tmp_path / "a.dat").write_bytes(text.encode())
    record = read(tmp_path / "a.dat")
    if expected is None:
        assert record.fields["n"].dtype == np.float64
        return
    assert {f.name: values(record, f.name) for f in record.columns} == expected


def test_units_and_comments_are_kept_and_roles_are_marked_as_guesses(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("# sample: iron\n# energy (keV), mu\n7.1,0.5\n7.2,0.6\n7.3,0.7\n")
    record = read(tmp_path / "a.csv")
    assert record.fields["energy"].units == "keV"
    assert "sample: iron" in str(record.fields["comment"].values.read()[()])
    assert (record.fields["energy"].role, record.fields["energy"].guessed) == (Role.AXIS, True)
    stated = read(tmp_path / "a.csv", roles="x=energy,signal=mu")
    assert (stated.fields["mu"].role, stated.fields["mu"].guessed) == (Role.SIGNAL, False)
    with pytest.raises(UsageError, match="there is no column 'nu'"):
        read(tmp_path / "a.csv", roles="signal=nu")


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    for text in ("a letter\nto somebody\n", "1 2\n3 4\n5 6\n7 8\n9 0\n\nthen\n7 8\n1 2\n4 5\n7 8\n"):
        (tmp_path / "a.dat").write_text(text)
        with pytest.raises(InputError):
            read(tmp_path / "a.dat")


def test_a_foreign_csv_becomes_valid_nexus(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("energy (eV),mu\n1.5,2\n2.5,3\n3.5,4\n")
    convert([str(tmp_path / "a.csv")], str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5") as f:
        data = f["entry/data"]
        assert (data.attrs["signal"], list(data.attrs["axes"])) == ("mu", ["energy"])
        assert data["energy"].attrs["units"] == "eV"
        assert data["energy"][()].tolist() == [1.5, 2.5, 3.5]


@needs_corpus
def test_no_text_file_of_the_corpus_is_more_than_a_table_or_one_line(corpus: Path) -> None:
    read_well, messages = 0, []
    for path in sorted([*corpus.glob("ascii/**/*"), *corpus.glob("xas/**/*")]):
        if path.is_file() and path.suffix not in (".h5", ".nxs"):
            try:
                with open_records(Location(str(path)), Plan(), Report()) as records:
                    for record in records:
                        assert record.rows is not None
                        list(record.blocks())
                        read_well += 1
            except NxconvertError as error:
                messages.append(error.message)
    assert read_well > 100
    assert not [m for m in messages if "\n" in m]


def test_header_values_survive_the_way_over_nexus(tmp_path: Path) -> None:
    """What the mapping ``records`` imported is exported by it again, and not by ``nxdata``, which knows no header."""
    (tmp_path / "a.csv").write_text("# sample: iron\n# energy (keV), mu\n7.1,0.5\n7.2,0.6\n7.3,0.7\n")
    convert([str(tmp_path / "a.csv")], str(tmp_path / "a.h5"))
    convert([str(tmp_path / "a.h5")], str(tmp_path / "b.csv"))
    assert "sample: iron" in str(read(tmp_path / "b.csv").fields["comment"].values.read()[()])
