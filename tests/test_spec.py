"""SPEC files: what silx reads of ours, what we read of files in the wild, appending, and the way from NeXus and back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import needs_corpus

from nxconvert.array import Values
from nxconvert.conversion import Plan, convert
from nxconvert.engine.transfer import record_to_sink
from nxconvert.errors import InputError
from nxconvert.format import Policy, Report
from nxconvert.formats.spec import FORMAT
from nxconvert.location import Location
from nxconvert.record import Field, Record, Role, plain
from nxconvert.testing.differences import record_differences

Run = Callable[..., subprocess.CompletedProcess[str]]


def read(path: Path, report: Report | None = None, inner: str = "") -> list[Record]:
    assert FORMAT.open is not None
    source = FORMAT.open(Location(str(path), inner), Policy(), report or Report())
    with source:
        out = []
        for r in source:  # type: ignore[union-attr]
            fields = {
                f.name: Field(
                    f.name,
                    Values(f.values.read(), f.dtype),
                    f.per_row,
                    f.axes,
                    f.role,
                    f.guessed,
                    f.of,
                    f.attrs,
                    f.mask,
                )
                for f in r.fields.values()
            }
            out.append(Record(r.key, fields, r.source, r.mapping, r.grid, r.finished))
        return out


def text_file(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "foreign.spec"
    path.write_bytes(dedent(text).lstrip("\n").encode(encoding))
    return path


def write(path: Path, *records: Record, **options: Any) -> Report:
    report = Report()
    assert FORMAT.create is not None
    sink = FORMAT.create(path, report, **options)
    for record in records:
        record_to_sink(record, sink, 1 << 20)  # type: ignore[arg-type]
    sink.close()
    return report


def scan(key: str = "1.1", rows: int = 3, title: str = "ascan th 0 1 2 1", **columns: Any) -> Record:
    fields = [Field(n, Values(np.asarray(v)), True) for n, v in ({"th": np.arange(rows) / 3} | columns).items()]
    header = [
        Field("title", Values(title)),
        Field("start_time", Values("2025-04-15T13:47:09.123+02:00")),
        Field("motor/sample x", Values(np.float64(1.5)), attrs={"units": "mm"}),
        Field("motor/gap", Values(np.int32(-7))),
    ]
    return Record({"scan": key}, {f.name: f for f in [*fields, *header]}, source="scan.h5::/1.1")


# What another library reads


def silx() -> Any:
    return pytest.importorskip("silx.io.specfile").SpecFile


def test_silx_reads_labels_values_motors_and_spectra(tmp_path: Path) -> None:
    spectra = np.random.default_rng(0).integers(0, 9999, (3, 40))
    path = tmp_path / "a.spec"
    write(
        path,
        scan(**{"two words": [1e-300, 0.1, 12345678901234567], "spectrum": spectra}),
        scan("2.1", i=np.array([1, 2, 3], np.uint8)),
        scan("1.2"),
    )
    found = silx()(str(path))
    assert found.keys() == ["1.1", "2.1", "1.2"]
    first = found["1.1"]
    assert first.labels == ["th", "two words"]
    np.testing.assert_array_equal(first.data[1], [1e-300, 0.1, 12345678901234567])
    assert dict(zip(first.motor_names, first.motor_positions, strict=True)) == {"sample x": 1.5, "gap": -7}
    np.testing.assert_array_equal(np.array(list(first.mca)), spectra)
    assert first.scan_header_dict["S"] == "1 ascan th 0 1 2 1"
    assert first.scan_header_dict["D"] == "Tue Apr 15 13:47:09 2025"


def test_no_header_line_is_so_long_that_silx_crashes(tmp_path: Path) -> None:
    """silx ends with a segmentation fault at header lines of 8,192 characters, so it runs in a process of its own."""
    silx()
    path = tmp_path / "a.spec"
    long = Field("note", Values("two words " * 3000))
    record = scan(**{f"column {i}": [1.0, 2.0, 3.0] for i in range(120)})
    record = record.with_fields([*record.fields.values(), long])
    report = write(path, record)
    script = "import sys; from silx.io.specfile import SpecFile; print(SpecFile(sys.argv[1])[0].data.shape)"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[0] == "(121, 3)", done
    assert not report.notices
    assert not record_differences(record, read(path)[0])


def test_a_line_of_labels_that_silx_cannot_read_is_reported(tmp_path: Path) -> None:
    report = write(tmp_path / "a.spec", scan(**{f"a long name of a counter {i}": [1.0, 2.0, 3.0] for i in range(400)}))
    assert ["#L has more than 8,000 characters" in str(n) for n in report.notices] == [True]


def test_infinities_are_numbers_and_nan_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.spec"
    record = scan(y=[np.inf, -np.inf, np.nan])
    report = write(path, record)
    np.testing.assert_array_equal(silx()(str(path))["1.1"].data[1][:2], [np.inf, -np.inf])
    assert "1 cells are written as nan" in str(report.notices[0])
    assert not record_differences(record, read(path)[0])


def test_complex_and_text_columns_are_told_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.spec"
    report = write(path, scan(c=[1j, 2j, 3j], t=["a", "b", "c"]))
    assert [x.what for x in report.losses] == ["c", "t"]
    assert [f.name for f in read(path)[0].columns] == ["th"]


# Files in the wild


def test_a_foreign_file(tmp_path: Path) -> None:
    path = text_file(
        tmp_path,
        """
        #F some.spec
        #E 1097000000
        #D Tue Oct 05 18:13:20 2004
        #C spec  User = opd01
        #O0 th    tth  s2 height
        #O1 mono

        #S 7  ascan th 0 1 1 1
        #D Tue Oct  5 18:20:01 2004
        #T 1  (Seconds)
        #G0 1 2 3
        #Q
        #P0 0.5 1 -3
        #P1 12.3984
        #UXML <a/>
        #UXML <b/>
        #N 4
        #L th  two words  I0  I0
        0 1 2 3
        0.5 1e3 -2 4
        #C Tue Oct 05 18:20:11 2004.  beam lost
        #R 1 2

        #S 3  ct
        #N 1
        #L sec
        5
        """,
    )
    report = Report()
    first, second = read(path, report)
    assert first.key == {"scan": "7.1"}
    assert second.key == {"scan": "3.1"}
    assert [f.name for f in first.columns] == ["th", "two words", "I0", "I0_2"]
    assert first.fields["I0_2"].attrs["long_name"] == "I0"
    assert "I0_2 (I0)" in str(report.notices[0])
    np.testing.assert_array_equal(first.fields["two words"].values.read(), [1, 1000])
    header = {f.name: plain(f.values) for f in first.header}
    assert header == {
        "title": "ascan th 0 1 1 1",
        "start_time": "2004-10-05T18:20:01",
        "comment": "Tue Oct 05 18:20:11 2004.  beam lost",
        "motor/th": 0.5,
        "motor/tth": 1.0,
        "motor/s2 height": -3.0,
        "motor/mono": 12.3984,
        "spec/T": "1  (Seconds)",
        "spec/G0": "1 2 3",
        "spec/Q": "",
        "spec/UXML": "<a/>\n<b/>",
        "spec/R": "1 2",
        "spec/file/F": "some.spec",
        "spec/file/E": "1097000000",
        "spec/file/D": "Tue Oct 05 18:13:20 2004",
        "spec/file/C": "spec  User = opd01",
    }
    assert (first.fields["th"].role, first.fields["th"].guessed) == (Role.AXIS, True)
    assert (first.fields["I0_2"].role, first.fields["I0_2"].guessed) == (Role.SIGNAL, True)


def test_a_foreign_file_comes_back_from_our_own(tmp_path: Path) -> None:
    path = text_file(
        tmp_path,
        """
        #F some.spec
        #E 1097000000
        #O0 th  tth

        #S 1  ascan th 0 1 1 1
        #D Tue Oct 05 18:20:01 2004
        #T 1  (Seconds)
        #P0 0.5 1
        #@MCA %16C
        #@CHANN 4 0 3 1
        #N 1
        #L th
        0
        @A 1 2\\
         3 4
        1
        @A 5 6\\
         7 8
        """,
    )
    first = read(path)
    write(tmp_path / "ours.spec", *first)
    again = read(tmp_path / "ours.spec")
    assert not record_differences(first[0], again[0])
    assert "#T 1  (Seconds)" in (tmp_path / "ours.spec").read_text().splitlines()
    np.testing.assert_array_equal(again[0].fields["mca"].values.read(), [[1, 2, 3, 4], [5, 6, 7, 8]])


def test_repeated_numbers_are_counted(tmp_path: Path) -> None:
    path = text_file(tmp_path, "#S 2 a\n#N 1\n#L x\n1\n\n#S 1 b\n\n#S 2 c\n\n#S 2.1 d\n\n#S 9.4 e\n")
    assert [r.name for r in read(path)] == ["2.1", "1.1", "2.2", "2.3", "9.4"]
    assert [plain(r.fields["title"].values) for r in read(path, inner="/2.2")] == ["c"]
    with pytest.raises(InputError, match=r"has no scan 5\.1"):
        read(path, inner="5.1")


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("#N 3\n#L a b c\n1 2 3\n", ["a", "b", "c"]),
        ("#N 2\n#L a b  c\n1 2\n", ["a b", "c"]),
        ("#N 1\n#L a b\n1\n", ["a b"]),
        ("#N 3\n#L a\tb\tc\n1 2 3\n", ["a", "b", "c"]),
        ("1 2\n3 4\n", ["column_1", "column_2"]),
        ("#N 2\n#L a  b\n1 2 3\n", ["a", "b", "column_3"]),
        ("#N 9\n#L a  b  c\n1 2\n", ["a", "b", "c"]),
    ],
)
def test_labels_that_disagree_with_the_rows(tmp_path: Path, lines: str, names: list[str]) -> None:
    (record,) = read(text_file(tmp_path, f"#S 1 x\n{lines}"))
    assert [f.name for f in record.columns] == names


def test_a_row_with_too_few_numbers_has_missing_values(tmp_path: Path) -> None:
    report = Report()
    (record,) = read(text_file(tmp_path, "#S 1 x\n#N 3\n#L a  b  c\n1 2 3\n4\n5 6 7\n"), report)
    b = record.fields["b"]
    assert b.mask is not None
    assert b.mask.read().tolist() == [False, True, False]
    assert record.fields["a"].mask is None
    assert any("too few numbers" in str(n) for n in report.notices)


def test_a_row_that_is_wrapped_is_one(tmp_path: Path) -> None:
    (record,) = read(text_file(tmp_path, "#S 1 x\n#N 5 3\n#L a  b  c  d  e\n1 2 3\n4 5\n6 7 8\n9 10\n"))
    assert [f.values.read().tolist() for f in record.columns] == [[1, 6], [2, 7], [3, 8], [4, 9], [5, 10]]
    (record,) = read(text_file(tmp_path, "#S 1 x\n#N 4 3\n#L a  b  c  d\n1 2 3\nNone\n6 7 8\n9\n"))
    assert record.fields["d"].values.read()[1] == 9


def test_words_among_numbers(tmp_path: Path) -> None:
    report = Report()
    (record,) = read(text_file(tmp_path, "#S 1 x\n#N 3\n#L a  b  c\n1 None up\n2 5 down\n"), report)
    assert [f.values.read().tolist() for f in record.columns][0::2] == [[1, 2], ["up", "down"]]
    assert record.fields["b"].mask is not None
    assert len(report.notices) == 2


def test_other_line_ends_and_encodings(tmp_path: Path) -> None:
    (record,) = read(text_file(tmp_path, "#S 1 x\r\n#C 5 °C\r\n#N 2\r\n#L a  b\r\n1 2\r\n3 4\r\n", "latin-1"))
    assert plain(record.fields["comment"].values) == "5 °C"
    assert record.fields["b"].values.read().tolist() == [2, 4]


def test_a_file_that_still_grows(tmp_path: Path) -> None:
    report = Report()
    (record,) = read(text_file(tmp_path, "#S 1 x\n#N 3\n#L a  b  c\n1 2 3\n4 5.2"), report)
    assert not record.finished
    assert record.fields["a"].values.read().tolist() == [1, 4]
    assert record.fields["b"].values.read().tolist() == [2], "5.2 may be the beginning of 5.25"
    assert any("in the middle of row 2" in str(n) for n in report.notices)


def test_a_scan_without_data_is_kept(tmp_path: Path) -> None:
    first, second = read(text_file(tmp_path, "#S 1 x\n#N 2\n#L a  b\n#C aborted\n\n#S 2 y\n#N 1\n#L a\n1\n"))
    assert (first.rows, second.rows) == (0, 1)
    assert [f.name for f in first.columns] == ["a", "b"]


def test_several_detectors(tmp_path: Path) -> None:
    text = "#S 1 x\n#N 1\n#L a\n1\n@A 1 2\n@B 3 4\n2\n@A 5 6\n@B 7 8 9\n3\n@A 1 1\n@B 2 2\n"
    report = Report()
    (record,) = read(text_file(tmp_path, text), report)
    assert record.fields["mca"].values.read().tolist() == [[1, 2], [5, 6], [1, 1]]
    b = record.fields["mca_B"]
    assert b.mask is not None
    assert b.mask.read().tolist() == [False, True, False]
    assert [x.what for x in report.losses] == ["mca_B of row 2"]


def test_rows_outside_of_scans_are_told_as_lost(tmp_path: Path) -> None:
    report = Report()
    read(text_file(tmp_path, "1 2\n3 4\n\n#S 1 x\n#N 1\n#L a\n1\n"), report)
    assert [x.what for x in report.losses] == ["2 lines from byte 0"]


def test_values_changed_by_hand_are_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.spec"
    write(path, scan(y=np.array([1, 2, 3], np.int16)))
    text = path.read_text().replace("#P0 1.5 -7", "#P0 2.5 -8").replace("ascan th", "dscan th")
    path.write_text(text.replace("\n0.0 1\n", "\n0.25 9\n") + "#C added later\n")
    (record,) = read(path)
    values = {n: plain(record.fields[n].values) for n in ("motor/sample x", "motor/gap", "title", "comment")}
    assert values == {
        "motor/sample x": 2.5,
        "motor/gap": -8,
        "title": "dscan th 0 1 2 1",
        "comment": "added later",
    }
    assert record.fields["motor/sample x"].units == "mm"
    assert record.fields["y"].values.read().tolist() == [9, 2, 3]
    assert record.fields["y"].dtype == np.int16


def test_a_number_that_is_none_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.spec"
    write(path, scan(y=np.array([1, 2, 3])))
    path.write_text(path.read_text().replace(" 2\n", " 2x\n"))
    with pytest.raises(InputError, match="'2x' in row 2 is no int64"):
        read(path)


# Appending


def test_new_scans_are_appended_and_known_ones_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.spec"
    write(path, scan("1.1"), scan("2.1"))
    before = path.read_bytes()
    report = write(path, scan("1.1"), scan("2.1"), append=True)
    assert path.read_bytes() == before
    assert [x.what for x in report.skipped] == ["1.1", "2.1"]
    write(path, scan("2.1"), scan("3.1"), append=True)
    assert path.read_bytes().startswith(before)
    assert [r.name for r in read(path)] == ["1.1", "2.1", "3.1"]
    assert silx()(str(path)).keys() == ["1.1", "2.1", "3.1"]
    assert len(silx()(str(path))["3.1"].motor_names) == 2


def test_appending_to_a_file_of_spec_itself(tmp_path: Path) -> None:
    path = text_file(tmp_path, "#F f\n#E 1\n#O0 a  b\n\n#S 1 x\n#P0 1 2\n#N 1\n#L a\n1")
    write(path, scan("1.2"), append=True)
    assert silx()(str(path)).keys() == ["1.1", "1.2"]
    first, second = read(path)
    assert (first.name, second.name) == ("1.1", "1.2")
    assert plain(first.fields["motor/b"].values) == 2
    assert not record_differences(scan("1.2"), second)


def test_append_on_the_command_line(tmp_path: Path, run: Run) -> None:
    write(tmp_path / "a.spec", scan("1.1"))
    write(tmp_path / "b.spec", scan("1.1"), scan("2.1"))
    assert run("nxconvert", "convert", "a.spec", "all.spec").returncode == 0
    assert run("nxconvert", "convert", "b.spec", "all.spec").returncode == 2
    done = run("nxconvert", "convert", "b.spec", "all.spec", "--append")
    assert done.returncode == 0, done.stderr
    assert [r.name for r in read(tmp_path / "all.spec")] == ["1.1", "2.1"]
    before = (tmp_path / "all.spec").read_bytes()
    write(tmp_path / "other.spec", scan("3.1"), scan("2.1", title="another"), scan("4.1"))
    done = run("nxconvert", "convert", "other.spec", "all.spec", "--append")
    assert done.returncode == 1
    assert "the file has another scan 2.1" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "all.spec").read_bytes() == before, "a file is added to as a whole or not at all"
    assert run("nxconvert", "convert", "a.spec", "all.csv", "--append").returncode == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.spec", "all.spec", "b.spec", "other.spec"]


# From NeXus and back


def nexus(path: Path, scans: int) -> None:
    with h5py.File(path, "w") as file:
        for n in range(1, scans + 1):
            entry = file.create_group(f"{n}.1")
            entry.attrs["NX_class"] = "NXentry"
            entry["title"], entry["end_time"] = f"ascan {n}", "2025-01-01T00:00:00"
            measurement = entry.create_group("measurement")
            measurement.attrs["NX_class"] = "NXcollection"
            measurement["th"], measurement["det"] = np.arange(5.0), np.arange(5, dtype="u2") * n
            measurement["mca"] = np.arange(15, dtype="i4").reshape(5, 3)
            measurement["mca"].attrs["interpretation"] = "spectrum"
            positioners = entry.create_group("instrument/positioners")
            entry["instrument"].attrs["NX_class"] = "NXinstrument"
            positioners.attrs["NX_class"] = "NXcollection"
            positioners["th"] = 0.5


def test_multispec_is_a_file_for_each_input_and_spec_one_for_each_scan(tmp_path: Path, run: Run) -> None:
    nexus(tmp_path / "a.h5", 3)
    nexus(tmp_path / "b.h5", 2)
    assert run("nxtoascii", "a.h5", "b.h5", "--format", "MULTISPEC", "--outdir", "m").returncode == 0
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["a.spec", "b.spec"]
    assert silx()(str(tmp_path / "m" / "a.spec")).keys() == ["1.1", "2.1", "3.1"]
    assert run("nxtoascii", "a.h5", "--format", "SPEC", "--outdir", "s").returncode == 0
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["a_1.1.spec", "a_2.1.spec", "a_3.1.spec"]
    nexus(tmp_path / "a.h5", 4)
    assert run("nxtoascii", "a.h5", "--format", "MULTISPEC", "--outdir", "m", "--append").returncode == 0
    assert [r.name for r in read(tmp_path / "m" / "a.spec")] == ["1.1", "2.1", "3.1", "4.1"]


def test_spectra_come_back_from_mca_lines(tmp_path: Path) -> None:
    nexus(tmp_path / "a.h5", 2)
    convert([str(tmp_path / "a.h5")], str(tmp_path / "a.spec"))
    convert([str(tmp_path / "a.spec")], str(tmp_path / "back.h5"))
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "back.h5") as b:
        for name in ("th", "det", "mca"):
            mine, other = a[f"2.1/measurement/{name}"], b[f"2.1/measurement/{name}"]
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine[()], other[()])


def datasets(path: Path) -> dict[str, tuple[Any, Any, dict[str, Any]]]:
    out: dict[str, tuple[Any, Any, dict[str, Any]]] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and not name.startswith("nxconvert/"):
            out[name] = (node.dtype, node[()], dict(node.attrs))

    with h5py.File(path) as file:
        file.visititems(visit)
    return out


@needs_corpus
def test_the_way_over_spec_equals_that_over_csv(tmp_path: Path, corpus: Path) -> None:
    source = f"{corpus}/bliss/Fe_foil_0001/Fe_foil_0001.h5"
    scans = Plan(scans=("1.[12]", "10.?"))
    convert([source], str(tmp_path / "a.spec"), scans)
    convert([source], f"{tmp_path}/csv/", Plan(scans=scans.scans, to_format="csv"))
    convert([str(tmp_path / "a.spec")], str(tmp_path / "spec.h5"))
    convert([str(tmp_path / "csv")], str(tmp_path / "csv.h5"))
    mine, other = datasets(tmp_path / "spec.h5"), datasets(tmp_path / "csv.h5")
    assert mine.keys() == other.keys()
    for name, (dtype, values, attrs) in other.items():
        assert mine[name][0] == dtype, name
        np.testing.assert_array_equal(mine[name][1], values, err_msg=name)
        assert mine[name][2].keys() == attrs.keys(), name


AS_SILX = (
    "spec/02_03_setup.dat",
    "spec/APS_spec_data.dat",
    "spec/issue161_spock_spec_file",
    "spec/oleg.dat",
    "spec/refresh1.txt",
    "spec/refresh2.txt",
    "spec/refresh3.txt",
    "spec/test_3_error.spec",
    "spec/usaxs-bluesky-specwritercallback.dat",
    "series/spec_tiff_roessle/231-cw7-12083-roessle.spec",
    "xas/beamlines/APS9BM_2006.dat",
    "xas/beamlines/ESRF_SNBL_2013.dat",
)
"""Real files of which silx reads all. Of the others it drops rows and joins labels, see below."""


@needs_corpus
@pytest.mark.parametrize("name", AS_SILX)
def test_real_files_are_read_as_silx_reads_them(corpus: Path, name: str) -> None:
    source = silx()(str(corpus / name))
    records = read(corpus / name)
    assert [r.key["scan"] for r in records] == source.keys()
    for record in records:
        theirs = source[record.key["scan"]]
        columns = [f for f in record.columns if not f.item_shape]
        assert [f.attrs.get("long_name", f.name) for f in columns] == theirs.labels
        for f, values in zip(columns, theirs.data, strict=False):
            np.testing.assert_array_equal(f.values.read(), values)
        motors = {f.name.removeprefix("motor/"): plain(f.values) for f in record.header if f.name.startswith("motor/")}
        if len(theirs.motor_names) == len(theirs.motor_positions):
            assert motors == dict(zip(theirs.motor_names, theirs.motor_positions, strict=True))
        spectra = [f.values.read() for f in record.columns if f.item_shape]
        if spectra:
            np.testing.assert_array_equal(spectra[0], np.array(list(theirs.mca)))


@needs_corpus
def test_real_files_that_silx_does_not_read_whole(corpus: Path) -> None:
    (wrapped,) = read(corpus / "spec/n_m.txt")
    assert (len(wrapped.columns), wrapped.rows) == (15, 31)
    assert wrapped.fields["I0"].values.read()[:2].tolist() == [243, 325]
    (narrow, _) = read(corpus / "spec/user6idd.dat")
    assert [f.name for f in narrow.columns][:3] == ["dummy", "Time", "DelTime"]
    assert plain(narrow.fields["motor/tt_z"].values) == 700
    (fewer,) = read(corpus / "spec/issue216_scan1.spec")
    assert [f.name for f in fewer.columns][-2:] == ["DIODE", "column_7"]
    (numberless,) = read(corpus / "xas/beamlines/APS12BM_2019.dat")
    assert (numberless.name, len(numberless.columns), numberless.rows) == ("0.1", 26, 492)
