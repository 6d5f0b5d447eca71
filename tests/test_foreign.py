"""Tables that others wrote: the right columns, or one error that names the line; never fewer rows in silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nxconvert.conversion import Plan, convert, open_records
from nxconvert.errors import InputError
from nxconvert.foreign.encoding import TextFile
from nxconvert.foreign.reader import records
from nxconvert.format import Report
from nxconvert.location import Location
from nxconvert.record import Record, Role
from nxconvert.textfile import layout, sheet


@contextmanager
def opened(path: Path, **options: str) -> Iterator[Record]:
    with open_records(Location(str(path)), Plan(options=options), Report()) as records:
        (record,) = records
        yield record


def columns(path: Path, **options: str) -> dict[str, list[object]]:
    with opened(path, **options) as record:
        blocks = list(record.blocks())
        return {f.name: [v for b in blocks for v in b.columns[f.name].tolist()] for f in record.columns}


ROWS = "1,2,3\n" * 20
REFUSED = {
    "a number that is none, near the end": ("a,b\n" + "1,2\n" * 50 + "x.2,2\n1,2\n3,4\n", ":52: column 1"),
    "a number that is none, near the beginning": ("a,b\n1,2\n1,2\n1.2.3,4\n" + "1,2\n" * 50, ":4: column 1"),
    "a short row": (f"a,b,c\n{ROWS}1,2\n1,2,3\n", ":22: 2 cells"),
    "a long row": (f"a,b,c\n{ROWS}1,2,3,4\n{ROWS}", "more than one table|:22: 4 cells"),
    "text amid the rows": ("1 2\n" * 9 + "the beam was lost\n" + "1 2\n" * 2, ":10: "),
    "rows after other text": ("1 2\n" * 9 + "the beam\nwas lost\n" + "1 2\n" * 9, "more than one table"),
    "labels that stand again": ("# a b\n1 2\n3 4\n# a b\n5 6\n7 8\n", "more than one table"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_row_is_dropped_in_silence(tmp_path: Path, name: str) -> None:
    text, message = REFUSED[name]
    (tmp_path / "a.dat").write_text(text)
    with pytest.raises(InputError, match=message):
        columns(tmp_path / "a.dat")


READ = {
    "quoted cells": ('name,v\n"Smith, J",1.5\n"Doe, ""X""",2.5\n', {"name": ["Smith, J", 'Doe, "X"'], "v": [1.5, 2.5]}),
    "a line break in a cell": ('n,v\n"a\nb",1\n"c",2\n"d",3\n', {"n": ["a\nb", "c", "d"], "v": [1, 2, 3]}),
    "all quoted": ('"x","y"\n"1","2"\n"3","4"\n', {"x": [1, 3], "y": [2, 4]}),
    "numbers among text": (
        "id,n\na,1\nb,1\n5,2\nna,4\nb,3\n",
        {"id": ["a", "b", "5", "na", "b"], "n": [1, 1, 2, 4, 3]},
    ),
    "a comment amid the rows": ("# a b\n1 2\n3 4\n# beam lost\n5 6\n", {"a": [1, 3, 5], "b": [2, 4, 6]}),
    "comments of ;": ("; head\n; x y\n1 2\n3 4\n5 6\n", {"x": [1, 3, 5], "y": [2, 4, 6]}),
    "labels with numbers": (
        "x 1 2\n0.1 5 6\n0.2 6 7\n0.3 7 8\n",
        {"x": [0.1, 0.2, 0.3], "1": [5, 6, 7], "2": [6, 7, 8]},
    ),
    "old line ends": ("a b\r1 2\r3 4\r", {"a": [1, 3], "b": [2, 4]}),
    "an empty column at the end": ("a,b,\n1,2,\n3,4,\n", {"a": [1, 3], "b": [2, 4]}),
}


@pytest.mark.parametrize("name", READ)
def test_tables_are_read_whole(tmp_path: Path, name: str) -> None:
    text, expected = READ[name]
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert columns(tmp_path / "a.csv") == expected


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("µ\ty\n1\t2\n3\t4\n".encode(encoding))
    assert columns(tmp_path / "a.txt") == {"µ": [1, 3], "y": [2, 4]}


def test_words_of_other_systems_for_what_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("a b c\n1 NaN -nan(ind)\n2 1.#QNAN 5\n3 -1.#INF n/a\n")
    found = columns(tmp_path / "a.dat")
    assert found["a"] == [1, 2, 3]
    np.testing.assert_array_equal(np.array(found["b"]), [np.nan, np.nan, -np.inf])
    assert np.isnan(found["c"][0])  # type: ignore[call-overload]
    assert found["c"][1:] == [5.0]  # its last row is missing: it ends early


def test_units_in_a_line_of_their_own_and_errors(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Q\tI\tError\n1/A\t1/cm\t1/cm\n1\t2\t3\n2\t3\t4\n")
    with opened(tmp_path / "a.txt") as record:
        assert {n: (f.units, f.role) for n, f in record.fields.items()} == {
            "Q": ("1/A", Role.AXIS),
            "I": ("1/cm", Role.SIGNAL),
            "Error": ("1/cm", Role.ERRORS),
        }
        assert record.fields["Error"].of == "I"
        assert all(f.guessed for f in record.columns)


def test_no_role_is_guessed_where_nothing_runs_in_one_direction(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2\n5 6\n3 4\n")
    with opened(tmp_path / "a.txt") as record:
        assert [f.role for f in record.columns] == [None, None]


def test_what_stands_around_the_rows_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# Title: my scan\n# temperature = 5.5\n# x y\n1 2\n3 4\nEND\n")
    with opened(tmp_path / "a.txt") as record:
        header = {f.name: f.values.read()[()] for f in record.header}
    assert header["comment"] == "# Title: my scan\n# temperature = 5.5\nEND"
    assert (header["title"], header["temperature"]) == ("my scan", 5.5)


def test_labels_can_be_stated(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2 3\n0.1 5 6\n0.2 6 7\n")
    assert columns(tmp_path / "a.txt", labels="x,y,z")["x"] == [1.0, 0.1, 0.2]
    assert columns(tmp_path / "a.txt", labels="1") == {"1": [0.1, 0.2], "2": [5, 6], "3": [6, 7]}


@pytest.mark.usefixtures("with_and_without_compiled")
def test_a_large_file_equals_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers that turn into others far down, text, missing cells and a footer, in pieces as at once."""
    rows = [f'{i},{i / 7},"t,{i}",{"" if i % 5 else i}\n' for i in range(3000)] + ["3000,1.5,u,1.5\n"]
    (tmp_path / "a.csv").write_text("n,f,t,m\n" + "".join(rows))
    small = columns(tmp_path / "a.csv")
    monkeypatch.setattr(sheet, "PIECE", 10_000)
    monkeypatch.setattr(layout, "SMALL", 20_000)
    monkeypatch.setattr("nxconvert.foreign.reader.SMALL", 20_000)
    monkeypatch.setattr("nxconvert.foreign.reader.TAIL", 2_000)
    large = columns(tmp_path / "a.csv")
    assert len(small["n"]) == 3001
    assert large == small
    with opened(tmp_path / "a.csv") as record:
        assert [f.dtype.kind for f in record.columns] == ["i", "f", "O", "f"]


CELLS = st.one_of(st.integers(-(10**6), 10**6).map(str), st.floats(allow_nan=False, width=32).map(repr))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([",", ";", "\t", " "]), st.integers(2, 5), st.integers(2, 12))
def test_every_number_of_any_table_comes_back(data: st.DataObject, separator: str, width: int, count: int) -> None:
    rows = [[data.draw(CELLS) for _ in range(width)] for _ in range(count)]
    text = separator.join(f"c{i}" for i in range(width)) + "\n" + "".join(separator.join(r) + "\n" for r in rows)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.dat"
        path.write_text(text)
        found = columns(path)
    assert list(found) == [f"c{i}" for i in range(width)]
    for i, values in enumerate(found.values()):
        assert [float(v) for v in values] == [float(r[i]) for r in rows]  # type: ignore[arg-type]


# Several tables in one file


def tables(path: Path, **stated: str) -> list[tuple[dict[str, str], dict[str, list[object]], str]]:
    text = TextFile(path)
    found = []
    for r in records(text, **stated):
        comment = str(r.fields["comment"].values.read()[()]) if "comment" in r.fields else ""
        found.append((dict(r.key), {f.name: f.values.read().tolist() for f in r.columns}, comment))
    text.close()
    return found


TWO = [({"scan": "1"}, {"a": [1, 3, 4], "b": [2, 4, 5]}), ({"scan": "2"}, {"a": [5, 7, 9], "b": [6.5, 8, 10]})]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("gap", ["\n", "\n\n", " \n"])
@pytest.mark.parametrize("label", ["# a b", "a b", "a,b"])
def test_tables_apart_by_empty_lines_and_labels_are_records(tmp_path: Path, label: str, gap: str, end: str) -> None:
    first, second = "1 2\n3 4\n4 5\n", "5 6.5\n7 8\n9 10\n"
    if "," in label:
        first, second = first.replace(" ", ","), second.replace(" ", ",")
    text = f"{label}\n{first}{gap}{label}\n{second}{gap}# the end\n"
    (tmp_path / "a.dat").write_bytes(text.replace("\n", end).encode())
    found = tables(tmp_path / "a.dat")
    assert [(key, columns) for key, columns, _ in found] == TWO
    assert found[1][2].endswith("end")


def test_tables_may_have_columns_of_their_own_and_headers_of_several_lines(tmp_path: Path) -> None:
    head = "# of the file\n\n"
    one = "# scan 1\n# motor: 5\n#\n# x y\n" + "".join(f"{i} {i * 2}\n" for i in range(20))
    two = "# scan 2\n# motor: 6\n#\n# x y z\n" + "".join(f"{i} {i * 3} {i / 4}\n" for i in range(30))
    (tmp_path / "a.dat").write_text(head + one + "\n" + two)
    (first, a, said), (second, b, _) = tables(tmp_path / "a.dat")
    assert (first, second) == ({"scan": "1"}, {"scan": "2"})
    assert [*a] == ["x", "y"]
    assert [*b] == ["x", "y", "z"]
    assert b["z"] == [i / 4 for i in range(30)]
    assert said.splitlines()[:2] == ["# of the file", "# scan 1"]
    report = convert([str(tmp_path / "a.dat")], str(tmp_path / "a.h5"), Plan())
    assert not report.failed
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["1/header/motor"][()] == 5
        assert file["2/header/motor"][()] == 6
        assert file["2/data"].attrs["signal"] == "y"


def test_two_empty_lines_and_comments_part_tables_as_in_gnuplot(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("# first\n1 2\n2 3\n3 4\n\n\n# second\n1 5\n2 6\n3 7\n")
    assert [c for _, c, _ in tables(tmp_path / "a.dat")] == [
        {"col1": [1, 2, 3], "col2": [2, 3, 4]},
        {"col1": [1, 2, 3], "col2": [5, 6, 7]},
    ]


def test_a_grid_with_empty_lines_stays_one_table(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("# x y z\n1 2 3\n1 3 4\n\n# next\n2 2 5\n2 3 6\n\n3 2 7\n")
    assert [c for _, c, _ in tables(tmp_path / "a.dat")] == [
        {"x": [1, 1, 2, 2, 3], "y": [2, 3, 2, 3, 2], "z": [3, 4, 5, 6, 7]}
    ]


@pytest.mark.parametrize(
    "text",
    [
        "# a b\n1 2\n3 4\n# a b\n5 6\n7 8\n",
        "# a b\n" + "1 2\n" * 9 + "\n" + "1 2 3\n" * 9,
        "# a b\n" + "1 2\n" * 9 + "\n# c d e\n" + "1 2 3\n" * 9 + "\nthe end of it\n1 2\n",
    ],
)
def test_tables_that_cannot_be_told_apart_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.dat").write_text(text)
    with pytest.raises(InputError, match="more than one table") as raised:
        tables(tmp_path / "a.dat")
    assert "empty line" in raised.value.tip


def test_the_lines_of_a_later_table_are_counted_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n5,6\n\na,c\n" + "1,2\n" * 300 + "5,oops\n" + "1,2\n" * 300)
    with pytest.raises(InputError, match=r"a\.csv:307: column 2 \(c\): 'oops'"):
        tables(tmp_path / "a.csv")


def test_roles_can_be_stated_of_all_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n5,6\n\na,b\n1,2\n3,4\n3,4\n")
    text = TextFile(tmp_path / "a.csv")
    assert [r.fields["b"].role for r in records(text, roles="x=b,signal=a")] == [Role.AXIS] * 2


@pytest.mark.parametrize("label", ["scan[0,:]", "scan [0,:]", "a:/data[0.0,:669][0,:]", "roi (1:5)", "sum (a, b)"])
def test_an_index_in_a_label_is_no_unit(tmp_path: Path, label: str) -> None:
    (tmp_path / "a.dat").write_text(f"Energy (eV)\t{label}\n1\t2\n2\t4\n3\t5\n")
    with opened(tmp_path / "a.dat") as record:
        assert {n: f.units for n, f in record.fields.items()} == {"Energy": "eV", label: ""}


def test_a_unit_behind_an_index_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("x\troi[0,:] [counts]\n1\t2\n2\t4\n3\t5\n")
    with opened(tmp_path / "a.dat") as record:
        assert {n: f.units for n, f in record.fields.items()} == {"x": "", "roi[0,:]": "counts"}
