"""``sources`` of a mapping: columns of another file beside frames or rows, never from outside of their folder."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from nxconvert.conversion import Plan, convert
from nxconvert.errors import InputError, MappingError
from nxconvert.format import Report
from nxconvert.mapping.load import compile_text, load, text_of
from nxconvert.packed.api import pack


def mapping_with(sources: str) -> str:
    text = text_of("series").replace("name: series\n", f"name: mine\nsources: {sources}\n")
    assert "sources" in text
    return text


def series(folder: Path, sources: str) -> Path:
    """Write three frames, a scan beside them, and a mapping that joins them."""
    (folder / "data").mkdir()
    for i in range(3):
        tifffile.imwrite(folder / "data" / f"im_{i:04d}.tif", np.full((4, 5), i, np.uint16))
    (folder / "m.yaml").write_text(mapping_with(sources), "utf-8")
    return folder / "data"


def test_columns_of_the_scan_go_beside_the_frames(tmp_path: Path) -> None:
    data = series(tmp_path, '[{file: "scan*.csv", on: row}]')
    (data / "scan1.csv").write_text("angle,I0\n0.5,1\n1.0,2\n1.5,3\n")
    report = pack([str(data)], str(tmp_path / "out.h5"), mapping=str(tmp_path / "m.yaml"))
    assert report.failed == []
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["entry/scan/angle"][()].tolist() == [0.5, 1.0, 1.5]


def test_a_source_that_is_not_there_is_told_and_two_are_refused(tmp_path: Path) -> None:
    data = series(tmp_path, '[{file: "scan*.csv", on: row}]')
    report = pack([str(data)], str(tmp_path / "out.h5"), mapping=str(tmp_path / "m.yaml"))
    assert any("scan*.csv" in str(n) for n in report.notices)
    for name in ("scan1.csv", "scan2.csv"):
        (data / name).write_text("angle\n1\n2\n3\n")
    with pytest.raises(InputError, match="2 files match"):
        pack([str(data)], str(tmp_path / "two.h5"), mapping=str(tmp_path / "m.yaml"))
    assert not (tmp_path / "two.h5").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    data = series(tmp_path, '[{file: "scan.csv"}]')
    (tmp_path / "secret.csv").write_text("angle\n1\n2\n3\n")
    (data / "scan.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(InputError, match="leads out of the folder"):
        pack([str(data)], str(tmp_path / "out.h5"), mapping=str(tmp_path / "m.yaml"))


@pytest.mark.parametrize("file", ["../scan.csv", "/etc/passwd", "a/../../b", "~/x", "C:/x", "a//b", r"..\\b", ""])
def test_paths_that_leave_the_folder_are_refused_at_load(file: str) -> None:
    with pytest.raises(MappingError, match=r"m\.yaml:\d+:\d+: sources: .* is not in the folder of the data"):
        compile_text(mapping_with(f'[{{file: "{file}"}}]'), "m.yaml")


def test_unknown_keys_of_a_source_are_told() -> None:
    with pytest.raises(MappingError, match=r"m\.yaml:3:\d+: there is no key 'flie'"):
        compile_text(mapping_with('[{flie: "a"}]'), "m.yaml")


# in conversions

JOINED = """
nxconvert: 1
name: mine
record: [scan]
file: "{sample}_{n:digits}"
sources: [SOURCE]
under: "/{scan=s1:NXentry}"
rules:
  - {tree: "sample:NXsample/name", field: sample, each: record}
  - {tree: "run", field: n, each: record}
  - {tree: "log:NXcollection/{c}", field: "scan/{c}"}
  - {tree: "frames:NXcollection/{c}", field: "{c}", each: row, dtype: text}
  - {tree: "{c}", field: "{c}", each: row}
"""


def scans(folder: Path, source: str, *names: str, **more: Any) -> Plan:
    """Write a file with a scan of three points for each name, and a mapping that joins a source."""
    with h5py.File(folder / "Fe_07.h5", "w") as file:
        for name in names or ("s1",):
            file.create_group(name).attrs["NX_class"] = "NXentry"
            file[f"{name}/x"] = [1.0, 2.0, 3.0]
            for place, values in more.items():
                file[f"{name}/{place}"] = values
    (folder / "m.yaml").write_text(JOINED.replace("SOURCE", source), "utf-8")
    return Plan(mapping=str(folder / "m.yaml"))


def joined(folder: Path, plan: Plan, output: str = "out.csv", data: str = "Fe_07.h5") -> list[str]:
    report = convert([str(folder / data)], str(folder / output), plan, Report())
    assert report.failed == []
    return [str(n) for n in report.notices]


def cells(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]


def test_columns_of_another_file_go_beside_the_rows_and_into_a_tree(tmp_path: Path) -> None:
    plan = scans(tmp_path, '{file: "log*.csv"}')
    (tmp_path / "log1.csv").write_text("T,who\n10,a\n20,b\n30,c\n")
    assert joined(tmp_path, plan) == []
    assert cells(tmp_path / "out.csv") == ["x,scan/T,scan/who", "1.0,10,a", "2.0,20,b", "3.0,30,c"]
    assert joined(tmp_path, plan, "back.h5", "out.csv") == []
    with h5py.File(tmp_path / "back.h5") as file:
        assert file["s1/log/T"][()].tolist() == [10, 20, 30]
        assert file["s1/log/T"].dtype == np.int64
        assert file["s1/log/who"].asstr()[()].tolist() == ["a", "b", "c"]
        assert file["s1/x"][()].tolist() == [1.0, 2.0, 3.0]


def test_what_was_joined_before_is_not_missed_and_a_difference_is_told(tmp_path: Path) -> None:
    plan = scans(tmp_path, "{file: log.csv}")
    (tmp_path / "log.csv").write_text("T\n10\n20\n30\n")
    joined(tmp_path, plan)
    (tmp_path / "log.csv").unlink()
    assert joined(tmp_path, plan, "back.h5", "out.csv") == []
    (tmp_path / "log.csv").write_text("T\n10\n20\n31\n")
    (told,) = joined(tmp_path, plan, "again.csv", "back.h5")
    assert "back.h5::/s1 has scan/T itself, and other values than" in told
    assert cells(tmp_path / "again.csv")[-1] == "30,3.0"


def test_records_that_are_read_are_joined_on_their_way_into_a_tree(tmp_path: Path) -> None:
    plan = scans(tmp_path, '{file: "*.csv", column: x}')
    (tmp_path / "Fe_8.csv").write_text("x,y\n1,5\n3,6\n")  # no source of its own, though its name is like that of one
    (tmp_path / "log.csv").write_text("x,T\n3,30\n1,10\n")
    assert joined(tmp_path, plan, "out.h5", "Fe_8.csv") == []
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["s1/log/T"][()].tolist() == [10, 30]
        assert file["s1/y"][()].tolist() == [5, 6]


def test_rows_are_found_by_a_column_that_both_have(tmp_path: Path) -> None:
    plan = scans(tmp_path, "{file: log.csv, column: x}")
    (tmp_path / "log.csv").write_text("x,T\n3,30\n1,10\n7,70\n")
    (told,) = joined(tmp_path, plan)
    assert told.endswith("1 of 3 rows of " + str(tmp_path / "Fe_07.h5") + "::/s1 have no row; their values are missing")
    assert cells(tmp_path / "out.csv") == ["x,scan/x,scan/T", "1.0,1,10", "2.0,,", "3.0,3,30"]
    assert joined(tmp_path, plan, "back.h5", "out.csv") == [told.replace("Fe_07.h5::/s1", "out.csv")]
    with h5py.File(tmp_path / "back.h5") as file:
        assert file["s1/log/T"][()][[0, 2]].tolist() == [10, 30]
        assert file["s1/log/T"].attrs["missing_rows"].tolist() == [1]


def test_a_value_that_a_source_lacks_now_or_lacked_before_is_told(tmp_path: Path) -> None:
    plan = scans(tmp_path, "{file: log.csv, column: x}")
    (tmp_path / "log.csv").write_text("x,T\n1,10\n2,20\n")
    joined(tmp_path, plan)
    same = joined(tmp_path, plan, "same.csv", "out.csv")
    assert [n for n in same if "itself" in n] == []  # a column that ends early is one whose last values are missing
    (tmp_path / "log.csv").write_text("x,T\n1,10\n2,20\n3,30\n")
    told = joined(tmp_path, plan, "more.csv", "out.csv")
    assert [n for n in told if "has scan/T itself" in n] == told[1:]
    assert len(told) == 2  # scan/x and scan/T
    assert cells(tmp_path / "more.csv")[-1] == "3.0,,"


def test_rows_are_found_by_numbers_and_files_of_frames(tmp_path: Path) -> None:
    names = np.array([b"im_5.edf", b"im_7.edf", b"im_6.edf"])
    plan = scans(tmp_path, "{file: log.csv}", **{"frame_number": [5, 7, 6], "frames/source_file": names})
    (tmp_path / "log.csv").write_text("image,frame,T\nim_7.tif,7,70\nim_5.tif,5,50\nim_6.tif,6,60\n")
    with h5py.File(tmp_path / "Fe_07.h5", "r+") as file:
        file["s1/frames"].attrs["NX_class"] = "NXcollection"
    for on in ("index", "file"):
        (tmp_path / "m.yaml").write_text(JOINED.replace("SOURCE", f"{{file: log.csv, on: {on}}}"), "utf-8")
        load.cache_clear()
        assert joined(tmp_path, plan, f"{on}.csv") == []
        head, *rows = cells(tmp_path / f"{on}.csv")
        at = head.split(",").index("scan/T")
        assert [row.split(",")[at] for row in rows] == ["50", "70", "60"]


def test_each_record_has_its_own_scan_and_a_name_its_own_file(tmp_path: Path) -> None:
    plan = scans(tmp_path, '{file: "{sample}-{n}*.dat", scan: "{scan}"}', "1.1", "2.1")
    text = "#F x\n\n#S 1 ascan\n#N 1\n#L T\n1\n2\n3\n\n#S 2 ascan\n#N 1\n#L T\n4\n5\n6\n"
    (tmp_path / "Fe-07_log.dat").write_text(text)
    (tmp_path / "Ni-07_log.dat").write_text(text.replace("6", "7"))
    (tmp_path / "out").mkdir()
    assert joined(tmp_path, replace(plan, to_format="csv"), "out") == []
    assert cells(tmp_path / "out" / "Fe_07_1.1.csv")[1:] == ["1.0,1.0", "2.0,2.0", "3.0,3.0"]
    assert cells(tmp_path / "out" / "Fe_07_2.1.csv")[1:] == ["1.0,4.0", "2.0,5.0", "3.0,6.0"]


def test_a_record_that_cannot_be_joined_does_not_cost_the_others(tmp_path: Path) -> None:
    plan = replace(scans(tmp_path, '{file: "log.dat", scan: "{scan}"}', "1.1", "2.1"), to_format="csv")
    (tmp_path / "log.dat").write_text("#F x\n\n#S 1 ascan\n#N 1\n#L T\n1\n2\n3\n\n#S 2 ascan\n#N 1\n#L T\n4\n5\n")
    (tmp_path / "out").mkdir()
    report = convert([str(tmp_path / "Fe_07.h5")], str(tmp_path / "out"), plan)
    ((where, error),) = report.failed
    assert where.endswith("::/2.1")
    assert "has 2 rows, and there are 3 rows of" in str(error)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["Fe_07_1.1.csv"]


@pytest.mark.parametrize(
    ("source", "text", "message"),
    [
        ("{file: log.csv, scan: '9'}", "T\n1\n2\n3\n", "has no scan 9"),
        ("{file: log.csv, on: index}", "T\n1\n2\n3\n", "has no column frame_number"),
        ("{file: log.csv, on: file}", "T\n1\n2\n3\n", "has no column source_file"),
        ("{file: log.csv, column: y}", "y,T\n1,1\n2,2\n", "has no column y"),
        ("{file: log.csv, column: x}", "T\n1\n2\n3\n", "has no column x"),
        ("{file: log.csv, column: x}", "x,T\n1,1\n1,2\n", "two rows have 1 in the column x"),
        ("{file: log.csv, column: x}", "x,T\n8,1\n9,2\n", "none of its rows belongs to the rows of"),
        ("{file: 'log*.csv'}", "T\n1\n2\n", "has 2 rows, and there are 3 rows"),
        ("{file: log.csv}, {file: log*.csv}", "T\n1\n2\n3\n", "two fields are named 'scan/T'"),
    ],
)
def test_what_cannot_be_joined_is_an_error(tmp_path: Path, source: str, text: str, message: str) -> None:
    plan = scans(tmp_path, source)
    (tmp_path / "log.csv").write_text(text)
    report = convert([str(tmp_path / "Fe_07.h5")], str(tmp_path / "out.csv"), plan)
    ((_, error),) = report.failed
    assert message in str(error)
    assert not (tmp_path / "out.csv").exists()


def test_a_source_that_is_not_there_is_told_in_conversions_too(run, tmp_path: Path) -> None:
    scans(tmp_path, "{file: log.csv}")
    done = run("nxtoascii", "Fe_07.h5", "--mapping", "m.yaml", "--outdir", "text")
    assert done.returncode == 0, done.stderr
    assert "has no log.csv, whose columns the mapping wants beside the rows" in done.stderr
    done = run("nxconvert", "convert", "--from", "csv", "--mapping", "m.yaml", "-", "out.h5", input="x\n1.5\n")
    assert "nothing says where log.csv is" in done.stderr


def test_a_name_that_has_a_glob_or_a_folder_in_it_reaches_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    plan = scans(tmp_path / "in", '{file: "{scan}.csv"}', "*", "..∕x")  # the latter stands for ../x
    for path in (tmp_path / "in" / "other.csv", tmp_path / "x.csv"):
        path.write_text("T\n1\n2\n3\n")
    (tmp_path / "out").mkdir()
    told = joined(tmp_path / "in", replace(plan, to_format="csv"), str(tmp_path / "out"))
    assert sum("whose columns the mapping wants" in n for n in told) == 2
    assert [cells(p)[0] for p in (tmp_path / "out").iterdir()] == ["x", "x"]


def test_pack_finds_a_source_by_what_the_names_of_its_files_say(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for i in range(3):
        tifffile.imwrite(tmp_path / "data" / f"Fe_{i:04d}.tif", np.full((4, 5), i, np.uint16))
    text = mapping_with('[{file: "{sample}.csv", column: n}]').replace(
        "sources:", 'file: "{sample}_{n:integer}"\nsources:'
    )
    (tmp_path / "m.yaml").write_text(text, "utf-8")
    (tmp_path / "data" / "Fe.csv").write_text("n,T\n2,20\n0,0\n1,10\n")
    (tmp_path / "data" / "Ni.csv").write_text("n,T\n2,21\n0,1\n1,11\n")
    report = pack([str(tmp_path / "data")], str(tmp_path / "out.h5"), mapping=str(tmp_path / "m.yaml"))
    assert report.failed == []
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["entry/scan/T"][()].tolist() == [0, 10, 20]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('{file: "{who}.csv"}', "{who} is neither in record nor in file"),
        ('{file: a.csv, scan: "{who}"}', "{who} is neither in record nor in file"),
        ("{file: a.csv, on: file, column: x}", "on: file and column: x are two ways to join"),
    ],
)
def test_wrong_sources_are_told_at_load(source: str, message: str) -> None:
    with pytest.raises(MappingError, match=r"m\.yaml:6:\d+: sources: " + re.escape(message)):
        compile_text(JOINED.replace("SOURCE", source), "m.yaml")


def test_columns_that_are_chosen_need_not_have_what_rows_are_found_by(tmp_path: Path) -> None:
    plan = scans(tmp_path, "{file: log.csv, column: x}", y=[7, 8, 9], z=[4, 5, 6])
    (tmp_path / "log.csv").write_text("x,T\n3,30\n1,10\n2,20\n")
    plan = replace(plan, columns=("y", "scan/T"), only_columns=True)
    assert joined(tmp_path, plan) == []
    assert cells(tmp_path / "out.csv") == ["y,scan/T", "7,10", "8,20", "9,30"]
