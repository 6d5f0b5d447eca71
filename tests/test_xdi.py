"""XDI files: what the format demands, good and bad files of its working group, and the way back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs_corpus

from nxconvert.array import Values
from nxconvert.conversion import Plan, convert
from nxconvert.engine.transfer import record_to_sink
from nxconvert.errors import InputError, OutputError
from nxconvert.format import Policy, Report
from nxconvert.formats.xdi import FORMAT
from nxconvert.location import Location
from nxconvert.record import Field, Record, Role, plain
from nxconvert.testing.differences import record_differences

Run = Callable[..., subprocess.CompletedProcess[str]]

GOOD = """\
# XDI/1.0 GSE/1.0
# Column.1: energy eV
# Column.2: i0 counts
# Column.3: mutrans
# element.EDGE: K
# Element.symbol: Cu
# Mono.d_spacing: 3.13553
# Facility.name: APS
# Facility.xray_source: undulator
# Beamline.name: 13ID
# Scan.start_time: 2001-06-26T22:27:31
# GSE.EXTRA:  config 1
# ///
# Cu foil   Room Temperature
#
#   measured at 13-ID
#----
# energy i0 mutrans
  8779.0  149013.7  -1.3070486

  8789.0  1e5       -1.3006104
"""
REQUIRED = {"Element.symbol": "Cu", "Element.edge": "K", "Mono.d_spacing": "3.13553"}


def read(path: Path, report: Report | None = None) -> Record:
    assert FORMAT.open is not None
    with FORMAT.open(Location(str(path)), Policy(), report or Report()) as source:
        (record,) = source  # type: ignore[misc]
        assert isinstance(record, Record)
        return record


def read_text(folder: Path, text: str, report: Report | None = None) -> Record:
    path = folder / "a.xdi"
    path.write_text(text, encoding="utf-8")
    return read(path, report)


def write(path: Path, record: Record) -> Report:
    report = Report()
    assert FORMAT.create is not None
    sink = FORMAT.create(path, report)
    try:
        record_to_sink(record, sink, 1 << 20)  # type: ignore[arg-type]
        sink.close()
    except BaseException:
        sink.abort()
        raise
    return report


def spectrum(header: dict[str, Any] = REQUIRED, units: str = "eV", **columns: Any) -> Record:
    shown: dict[str, Any] = {"energy": [8979.0, 8980.5], "i0": [1, 2]} | columns
    fields = [Field(n, Values(np.asarray(v)), True, attrs={"units": units}) for n, v in shown.items()]
    return Record(
        {}, {f.name: f for f in [*fields, *(Field(n, Values(v)) for n, v in header.items())]}, source="made up"
    )


def test_a_good_file(tmp_path: Path) -> None:
    report = Report()
    record = read_text(tmp_path, GOOD, report)
    assert not report.notices
    assert not report.losses
    assert [(f.name, f.units) for f in record.columns] == [("energy", "eV"), ("i0", "counts"), ("mutrans", "")]
    assert record.fields["energy"].role == Role.AXIS
    assert [f.name for f in record.columns if f.role == Role.SIGNAL] == ["mutrans"], "the label says what it is"
    np.testing.assert_array_equal(record.fields["i0"].values.read(), [149013.7, 1e5])
    header = {f.name: plain(f.values) for f in record.header}
    assert header["Element.edge"] == "K"
    assert header["GSE.EXTRA"] == "config 1"
    assert header["comment"] == "Cu foil   Room Temperature\n\n  measured at 13-ID"
    assert (header["XDI.version"], header["XDI.applications"]) == ("1.0", "GSE/1.0")


def test_two_absorptions_leave_open_which_is_the_signal(tmp_path: Path) -> None:
    record = read_text(tmp_path, GOOD.replace("i0 counts", "mufluor").replace("energy i0", "energy mufluor"))
    assert not [f for f in record.columns if f.role == Role.SIGNAL]


def test_numbers_are_numbers_where_no_digit_gets_lost(tmp_path: Path) -> None:
    for text, value in {"3.13553": 3.13553, "3": 3, "3.135530": "3.135530", "3.1355 A": "3.1355 A"}.items():
        record = read_text(tmp_path, GOOD.replace("3.13553", text))
        assert plain(record.fields["Mono.d_spacing"].values) == value


def test_a_file_comes_back_from_our_own_with_its_lines(tmp_path: Path) -> None:
    record = read_text(tmp_path, GOOD)
    write(tmp_path / "b.xdi", record)
    assert not record_differences(record, read(tmp_path / "b.xdi"))
    lines = (tmp_path / "b.xdi").read_text().splitlines()
    assert lines[0].startswith("# XDI/1.0 GSE/1.0 nxconvert/")
    assert {"# Column.1: energy eV", "# Element.symbol: Cu", "# GSE.EXTRA: config 1"} <= set(lines)
    assert "# Cu foil   Room Temperature" in lines
    np.testing.assert_array_equal(
        np.loadtxt(tmp_path / "b.xdi"), np.stack([f.values.read() for f in record.columns], axis=1)
    )


def test_values_changed_by_hand_are_what_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.xdi", spectrum(REQUIRED | {"sample": "foil", "Scan.edge_energy": 8979.0}))
    text = (tmp_path / "a.xdi").read_text().replace("# Element.symbol: Cu", "# Element.symbol: Zn")
    record = read_text(tmp_path, text.replace("8980.5 2", "8981.5 3\n8982.5 4"))
    assert plain(record.fields["Element.symbol"].values) == "Zn"
    assert plain(record.fields["sample"].values) == "foil"
    assert plain(record.fields["Scan.edge_energy"].values) == 8979.0
    assert record.fields["i0"].values.read().tolist() == [1, 3, 4]
    assert record.fields["i0"].dtype == np.int64


@pytest.mark.parametrize(
    ("record", "missing"),
    [
        (spectrum({}), "Element.symbol is missing; Element.edge is missing; Mono.d_spacing is missing"),
        (spectrum(REQUIRED | {"Element.edge": "Foo"}), "Element.edge 'Foo' is none"),
        (spectrum(REQUIRED | {"Element.symbol": "Xx"}), "Element.symbol 'Xx' is none"),
        (spectrum(REQUIRED | {"Mono.d_spacing": "Si"}), "Mono.d_spacing 'Si' is no length"),
        (spectrum(units=""), "energy has no units"),
        (spectrum(units="Joule"), "the units of energy are 'Joule'"),
        (spectrum(energy=["a", "b"]), "no column is named energy or angle"),
        (spectrum(energy=[8979.0, np.nan]), "energy has missing values"),
    ],
)
def test_what_xdi_demands_is_not_guessed(tmp_path: Path, record: Record, missing: str) -> None:
    with pytest.raises(OutputError, match="cannot be XDI") as caught:
        write(tmp_path / "a.xdi", record)
    assert missing in caught.value.message
    assert caught.value.tip


def test_a_table_without_stated_meaning_never_becomes_xdi(tmp_path: Path, run: Run) -> None:
    (tmp_path / "a.csv").write_text("energy,i0\n8979,1\n8980,2\n")
    done = run("nxconvert", "convert", "a.csv", "a.xdi")
    assert done.returncode == 1
    assert "Element.symbol is missing" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv"]


def test_the_energy_comes_first_and_the_order_comes_back(tmp_path: Path) -> None:
    record = spectrum()
    record = record.with_fields([record.fields["i0"], record.fields["energy"], *record.header])
    write(tmp_path / "a.xdi", record)
    assert "# Column.1: energy eV" in (tmp_path / "a.xdi").read_text()
    assert not record_differences(record, read(tmp_path / "a.xdi"))


def test_columns_with_gaps_are_told_as_lost(tmp_path: Path) -> None:
    record = spectrum(a=[1.0, np.nan], b=[1.0, np.inf], c=[1.0], d=["x", "y"], two_ok=[1.5, 2])
    report = write(tmp_path / "a.xdi", record)
    assert [x.what for x in report.losses] == ["a", "b", "c", "d"]
    assert [f.name for f in read(tmp_path / "a.xdi").columns] == ["energy", "i0", "two_ok"]


def test_lines_stay_short(tmp_path: Path) -> None:
    record = spectrum(REQUIRED | {"note": "two words " * 2000})
    write(tmp_path / "a.xdi", record)
    assert max(map(len, (tmp_path / "a.xdi").read_text().splitlines())) <= 2048
    assert not record_differences(record, read(tmp_path / "a.xdi"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("# Element.symbol: Cu\n", ""), "Element.symbol is missing"),
        (("#----\n", ""), "no line '# ---' ends the header"),
        (("# GSE.EXTRA:", "# GSE EXTRA:"), "line 12 'GSE EXTRA:  config 1'"),
        (("# GSE.EXTRA:", "! GSE.EXTRA:"), "line 12 '! GSE.EXTRA:  config 1'"),
        (("# GSE.EXTRA:  config 1", "# Facility.Name: ESRF"), "given more than once, the last is taken: Facility.name"),
        (("# Column.3", "# Column.7"), "Column.7 is no column"),
        (("Column.1: energy eV", "Column.1: Energie eV"), "the first column is 'Energie'"),
        (("2001-06-26T", "2001-26-06T"), "Scan.start_time '2001-26-06T22:27:31' is no time"),
        (("# Facility.name: APS\n", ""), "recommended by XDI, and missing: Facility.name"),
        (("# energy i0 mutrans\n", "# energy i0\n"), "the line of labels has 2 words"),
    ],
)
def test_a_flaw_is_a_warning(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    report = Report()
    record = read_text(tmp_path, GOOD.replace(*change), report)
    assert any(said in str(n) for n in report.notices), report.notices
    assert record.rows == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("# XDI/1.0", "# DXI/1.0"), "the first line is not"),
        (("  8789.0  1e5 ", "  8789.0 "), "line 21 has 2 numbers, the lines before it 3"),
        (("1e5", "NaN"), "line 21: 'NaN' in the column i0 is no finite number"),
        (("1e5", "1.2.3"), "line 21: '1.2.3' in the column i0"),
        (("  8779.0  149013.7  -1.3070486\n\n  8789.0  1e5       -1.3006104\n", ""), "has no data"),
    ],
)
def test_a_damage_is_one_error(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    text = GOOD.replace(*change)
    assert text != GOOD
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, text)
    assert said in caught.value.message


def test_the_outer_scan_is_a_column(tmp_path: Path) -> None:
    text = GOOD.replace("# GSE.EXTRA:  config 1", "# Outer.name: y\n# Outer.value: 1.0")
    record = read_text(tmp_path, text.replace("\n\n", "\n# Outer.value: 1.5\n"))
    assert record.fields["y"].values.read().tolist() == [1.0, 1.5]


def test_over_hdf5_and_back(tmp_path: Path) -> None:
    first = read_text(tmp_path, GOOD)
    convert([str(tmp_path / "a.xdi")], str(tmp_path / "a.h5"))
    convert([str(tmp_path / "a.h5")], str(tmp_path / "b.xdi"), Plan(mapping="records"))
    again = read(tmp_path / "b.xdi")
    for f in first.fields.values():
        if f.per_row:
            np.testing.assert_array_equal(f.values.read(), again.fields[f.name].values.read())
            assert f.units == again.fields[f.name].units
        else:
            assert plain(f.values) == plain(again.fields[f.name].values)


@needs_corpus
def test_real_files(corpus: Path) -> None:
    paths = sorted((corpus / "xas" / "xdi").glob("*.xdi"))
    assert len(paths) == 9
    for path in paths:
        columns = read(path).columns
        values = np.loadtxt(path, ndmin=2)
        for i, f in enumerate(columns[: values.shape[1]]):
            np.testing.assert_array_equal(f.values.read(), values[:, i], err_msg=f"{path.name} {f.name}")


BAD = {
    "00": "",
    "02": "Element.edge is missing",
    "04": "Element.edge 'Foo' is none",
    "06": "no line '# ---' ends the header",
    "08": "Column.4 is missing",
    "10": "Column.7 is no column",
    "12": "Mono.d_spacing is missing",
    "14": "! line 36 has 6 numbers",
    "16": "! line 30: 'STRING' in the column i0",
    "18": "Family.key has no value",
    "20": "'Family:key:  Value'",
    "22": "'Family.key.subkey:  Value'",
    "24": "'2000Family.key:  Value'",
    "26": "",
    "28": "Scan.start_time '2001-Jun-26 22:27:31' is no time",
    "30": "Element.symbol 'Foo' is none; Element.edge 'Bar' is none",
    "32": "the first column is 'Energie'",
    "34": "Facility.energy '7.00 missing units'",
}
"""What each bad file of the working group is told; after an exclamation mark, an error."""


@needs_corpus
@pytest.mark.parametrize(("number", "said"), BAD.items())
def test_bad_files_of_the_working_group(corpus: Path, number: str, said: str) -> None:
    path = corpus / "xas" / "xdi" / "bad" / f"bad_{number}.xdi"
    report = Report()
    if said.startswith("! "):
        with pytest.raises(InputError) as caught:
            read(path, report)
        assert said[2:] in caught.value.message
        return
    read(path, report)
    told = [str(n) for n in report.notices]
    assert any(said in t for t in told) if said else not told, told
