"""Mappings applied: what the rules see in a tree, and that it comes back."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from nxconvert.conversion import Plan, convert, open_records
from nxconvert.errors import UsageError
from nxconvert.format import Report
from nxconvert.location import Location
from nxconvert.record import Record, Role

TEXT = h5py.string_dtype()


def records(path: Path, mapping: str = "auto", report: Report | None = None) -> list[Record]:
    with open_records(Location(str(path)), Plan(mapping=mapping), report or Report()) as found:
        out = []
        for record in found:
            for f in record.fields.values():
                f.values.read()
            out.append(record)
        return out


def nxdata(
    path: Path, arrays: dict[str, object], attrs: dict[str, object], field_attrs: dict[str, dict] | None = None
) -> Path:
    with h5py.File(path, "w") as f:
        entry = f.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("data")
        data.attrs["NX_class"] = "NXdata"
        for name, value in arrays.items():
            data[name] = value
            data[name].attrs.update((field_attrs or {}).get(name, {}))
        data.attrs.update({k: np.array(v, dtype=TEXT) if isinstance(v, list) else v for k, v in attrs.items()})
    return path


def roles(record: Record) -> dict[str, tuple[str | None, bool]]:
    return {f.name: (str(f.role) if f.role else None, f.per_row) for f in record.fields.values()}


def test_signal_axes_errors_auxiliary_in_reading_order(tmp_path: Path) -> None:
    a = np.arange(4.0)
    path = nxdata(
        tmp_path / "a.h5",
        {"aux": a, "b_other": a, "y": a, "y_errors": a, "x": a, "aux_errors": a},
        {"signal": "y", "axes": "x", "auxiliary_signals": ["aux"]},
    )
    (record,) = records(path)
    assert list(record.fields) == ["x", "y", "y_errors", "aux", "aux_errors", "b_other"]
    assert record.fields["y_errors"].of == "y"
    assert record.fields["aux_errors"].of == "aux"


def test_old_style_attributes_are_read(tmp_path: Path) -> None:
    a = np.arange(4.0)
    path = nxdata(
        tmp_path / "a.h5",
        {"counts": a, "more": a, "theta": a},
        {},
        {"counts": {"signal": 1}, "more": {"signal": "2"}, "theta": {"axis": 1, "primary": 1}},
    )
    (record,) = records(path)
    assert roles(record) == {"theta": ("axis", True), "counts": ("signal", True), "more": ("auxiliary", True)}
    assert "signal" not in record.fields["counts"].attrs


@pytest.mark.parametrize("axes", ["y:x", "y,x", "[y,x]"])
def test_axes_in_one_text(tmp_path: Path, axes: str) -> None:
    arrays = {"z": np.zeros((2, 3)), "y": np.arange(2), "x": np.arange(3)}
    (record,) = records(nxdata(tmp_path / "a.h5", arrays, {"signal": "z"}, {"z": {"axes": axes}}))
    assert record.fields["z"].axes == ("y", "x")
    assert roles(record)["x"] == ("axis", False)
    assert roles(record)["y"] == ("axis", True)


def test_a_wrong_index_is_overruled_by_the_position(tmp_path: Path) -> None:
    arrays = {"z": np.zeros((3, 3)), "y": np.arange(3), "x": np.arange(3)}
    path = nxdata(tmp_path / "a.h5", arrays, {"signal": "z", "axes": ["y", "x"], "x_indices": np.array([0])})
    (record,) = records(path)
    assert record.fields["z"].axes == ("y", "x")
    assert record.fields["x"].axes == ("x",)


def test_an_axis_that_fits_nothing_is_a_header_value(tmp_path: Path) -> None:
    arrays = {"z": np.zeros(10), "kth": np.arange(1208)}
    (record,) = records(nxdata(tmp_path / "a.h5", arrays, {"signal": "z", "axes": ["kth"]}))
    assert roles(record)["kth"] == (None, False)
    assert record.rows == 10


def test_bin_edges_are_one_longer(tmp_path: Path) -> None:
    arrays = {"counts": np.zeros(750), "tof": np.arange(751)}
    (record,) = records(nxdata(tmp_path / "a.h5", arrays, {"signal": "counts", "axes": "tof"}))
    assert roles(record)["tof"] == ("axis", True)
    assert record.rows == 751


def test_scans_come_in_the_order_of_their_numbers(testdata: Path, tmp_path: Path) -> None:
    with h5py.File(testdata / "scan.h5") as f, h5py.File(tmp_path / "b.h5", "w") as g:
        for name in ("10.1", "2.1", "1.10", "1.9"):
            f.copy("1.1", g, name)
    assert [r.key["scan"] for r in records(tmp_path / "b.h5")] == ["1.9", "1.10", "2.1", "10.1"]


def test_a_dangling_link_costs_its_column_only(testdata: Path) -> None:
    with h5py.File(testdata / "scan.h5", "a") as f:
        f["1.1/measurement/dead"] = h5py.SoftLink("/1.1/instrument/nothing/data")
    report = Report()
    first = records(testdata / "scan.h5", report=report)[0]
    assert "dead" not in first.fields
    assert {"I0", "mu"} <= set(first.fields)
    assert any("/1.1/measurement/dead" in str(n) for n in report.notices)


def test_an_empty_counter_costs_nobody_a_row(testdata: Path, tmp_path: Path) -> None:
    with h5py.File(testdata / "scan.h5", "a") as f:
        f["1.1/measurement/dead"] = np.empty(0)
    report = convert([f"{testdata}/scan.h5::/1.1"], str(tmp_path / "a.csv"))
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert len(lines) == 43
    assert lines[-1].startswith(",") or lines[-1].endswith(",") or ",," in lines[-1]
    assert any("dead (0)" in str(n) for n in report.notices)
    convert([str(tmp_path / "a.csv")], str(tmp_path / "b.h5"))
    with h5py.File(tmp_path / "b.h5") as f:
        assert f["1.1/measurement/dead"].shape == (0,)
        assert f["1.1/measurement/dead"].dtype == np.float64


def test_names_with_slashes_come_back(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("I0/counts,b\n1.0,2.0\n")
    convert([str(tmp_path / "a.csv")], str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5") as f:
        assert "I0∕counts" in f["entry/data"]
    (record,) = records(tmp_path / "a.h5")
    assert "I0/counts" in record.fields


def test_the_plot_can_be_found_from_the_root(testdata: Path, tmp_path: Path) -> None:
    convert([f"{testdata}/map.nxs"], str(tmp_path / "out") + "/", Plan(to_format="csv"))
    convert([str(p) for p in sorted((tmp_path / "out").glob("*.csv"))], str(tmp_path / "b.h5"))
    with h5py.File(tmp_path / "b.h5") as f:
        assert f.attrs["NX_class"] == "NXroot"
        entry = f[f.attrs["default"]]
        assert entry.attrs["NX_class"] == "NXentry"
        data = entry[entry.attrs["default"]]
        assert data.attrs["NX_class"] == "NXdata"
        assert data[data.attrs["signal"]].shape == (5, 7)
        assert list(data.attrs["axes"]) == ["y", "x"]
        assert f["nxconvert"].attrs["NX_class"] == "NXprocess"
        assert f["nxconvert/program"].asstr()[()] == "nxconvert"


OWN = """
nxconvert: 1
name: own
title: a layout of one's own
record: [run]
under: "/{run=run:NXentry}"
rules:
  - {tree: "{device:NXdetector}/value[units=counts]", field: "{device}/counts", each: row, direction: export}
  - {tree: "{device:NXdetector}/value", field: "{device}", each: row}
  - {tree: "{device:NXdetector}/value", field: "{device}/once", each: record}
  - {tree: "{device:NXdetector}/@serial", field: "{device}@serial", each: record}
"""


def test_rows_scalars_tests_and_attributes(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        run = f.create_group("run7")
        run.attrs["NX_class"] = "NXentry"
        for name, value, units in (("a", np.arange(3.0), "mm"), ("b", np.arange(3), "counts"), ("c", 5.0, "mm")):
            device = run.create_group(name)
            device.attrs["NX_class"] = "NXdetector"
            device.attrs["serial"] = f"no. {name}"
            device["value"] = value
            device["value"].attrs["units"] = units
    (record,) = records(tmp_path / "a.h5", str(tmp_path / "own.yaml"))
    assert roles(record) == {
        "b/counts": (None, True),
        "a": (None, True),
        "c/once": (None, False),
        "a@serial": (None, False),
        "b@serial": (None, False),
        "c@serial": (None, False),
    }


def test_a_record_that_no_rule_takes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "nxconvert: 1\nname: own\ntitle: t\nrecord: [run]\nrules:\n"
        '  - {tree: "/{run=r:NXentry}/only/{x}", field: "motor/{x}", each: record}\n'
    )
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="the mapping own takes none of its columns: a, b"):
        convert([str(tmp_path / "a.csv")], str(tmp_path / "b.h5"), Plan(mapping=str(tmp_path / "own.yaml")))
    assert not (tmp_path / "b.h5").exists()


def test_roles_of_an_image_signal(tmp_path: Path) -> None:
    path = nxdata(
        tmp_path / "a.h5",
        {"frames": np.zeros((4, 3, 2)), "t": np.arange(4)},
        {"signal": "frames", "axes": ["t", ".", "."]},
    )
    (record,) = records(path)
    assert record.fields["frames"].role == Role.SIGNAL
    assert record.fields["frames"].axes == ("t", None, None)
    assert record.fields["frames"].is_image


def test_links_of_an_application_definition_say_their_target(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        'nxconvert: 1\nname: own\nrecord: [run]\nunder: "/{run=entry:NXentry}"\nrules:\n'
        "  - {tree: definition, constant: NXmine}\n"
        '  - {tree: "{column}", field: "{column}", each: row}\n'
        '  - {tree: "more:NXcollection/first", field: first, each: row, also: [a]}\n'
        '  - {tree: "data:NXdata", default: true, links: {signal: "{y@signal}", axes: "{x@axes}"}, direction: import}\n'
    )
    (tmp_path / "a.csv").write_text("a,b\n1,2\n2,3\n")
    plan = Plan(mapping=str(tmp_path / "own.yaml"), options={"roles": "x=a,signal=b"})
    assert not convert([str(tmp_path / "a.csv")], str(tmp_path / "b.h5"), plan).failed
    with h5py.File(tmp_path / "b.h5") as file:
        entry = file["entry"]
        assert entry["data/b"].attrs["target"] == "/entry/b"
        assert entry["more/first"] == entry["a"]
        assert entry["data/a"].attrs["target"] == "/entry/a"


@pytest.mark.parametrize("beamline", ["SIXS", "CRISTAL"])
def test_soleil_scans_keep_the_name_of_their_beamline(beamline: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as f:
        for path, nx_class in {
            "s1": "NXentry",
            "s1/scan_data": "NXdata",
            f"s1/{beamline}": "NXinstrument",
            f"s1/{beamline}/mu": "NXpositioner",
        }.items():
            f.create_group(path).attrs["NX_class"] = nx_class
        f["s1/scan_data/data_01"] = [1.0, 2.0]
        f[f"s1/{beamline}/mu/raw_value"] = 0.5
        f["s1/end_time"] = "2026-01-01T00:00:00"
    assert convert([str(tmp_path / "a.nxs")], str(tmp_path / "a.csv"), Plan(mapping="soleil")).failed == []
    assert convert([str(tmp_path / "a.csv")], str(tmp_path / "b.h5")).failed == []
    with h5py.File(tmp_path / "b.h5") as f:
        assert f[f"s1/{beamline}/mu/raw_value"][()] == 0.5
        assert f["s1/scan_data/data_01"][()].tolist() == [1.0, 2.0]


def test_links_and_attributes_of_datasets_are_made_on_import(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        'nxconvert: 1\nname: linked\nrecord: [scan]\nunder: "/{scan=s:NXentry}"\nrules:\n'
        '  - {tree: "detector:NXdetector/{c}", field: "{c}", each: row}\n'
        '  - {tree: "data:NXdata/data", link: "detector/I0"}\n'
        '  - {tree: "data:NXdata/gone", link: "detector/absent"}\n'
        '  - {tree: "data:NXdata/@signal", constant: data}\n'
        '  - {tree: "detector:NXdetector/I0/@units", constant: counts}\n'
    )
    (tmp_path / "a.csv").write_text("I0,b\n1,2\n3,4\n")
    plan = Plan(mapping=str(tmp_path / "m.yaml"), options={"roles": "x=b,signal=I0"})
    assert convert([str(tmp_path / "a.csv")], str(tmp_path / "b.h5"), plan).failed == []
    with h5py.File(tmp_path / "b.h5") as f:
        assert f["s/data"].get("data", getlink=True).path == "/s/detector/I0"
        assert f["s/data/data"][()].tolist() == [1, 3]
        assert list(f["s/data"]) == ["data"]
        assert (f["s/data"].attrs["signal"], f["s/detector/I0"].attrs["units"]) == ("data", "counts")
        assert f["s/detector/I0"].attrs["target"] == "/s/detector/I0"
    (record,) = records(tmp_path / "b.h5", str(tmp_path / "m.yaml"))
    assert list(record.fields) == ["I0", "b"]


def test_an_attribute_names_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        'nxconvert: 1\nname: linked\nrecord: [scan]\nunder: "/{scan=s:NXentry}"\nrules:\n'
        '  - {tree: "detector:NXdetector/{c}", field: "{c}", each: row}\n'
        '  - {tree: "detector:NXdetector/@mask", link: "detector/m"}\n'
        '  - {tree: "detector:NXdetector/@gone", link: "detector/absent"}\n'
        '  - {tree: "detector:NXdetector/I0/@depends_on", link: "detector/th"}\n'
        '  - {tree: "sample:NXsample/@detector", link: "detector"}\n'
        '  - {tree: "detector:NXdetector/@{attr}", field: "detector@{attr}", each: record}\n'
    )
    (tmp_path / "a.csv").write_text("I0,th,m\n1,2,0\n3,4,1\n")
    plan = Plan(mapping=str(tmp_path / "m.yaml"))
    assert convert([str(tmp_path / "a.csv")], str(tmp_path / "b.h5"), plan).failed == []
    with h5py.File(tmp_path / "b.h5", "a") as f:
        assert dict(f["s/detector"].attrs) == {"NX_class": "NXdetector", "mask": "m"}
        assert f["s/detector/I0"].attrs["depends_on"] == "th"
        assert f["s/sample"].attrs["detector"] == "/s/detector"
    (record,) = records(tmp_path / "b.h5", str(tmp_path / "m.yaml"))
    assert list(record.fields) == ["I0", "th", "m"], "what the mapping says is no field"
    with h5py.File(tmp_path / "b.h5", "a") as f:
        f["s/detector"].attrs["mask"] = "th"
    (record,) = records(tmp_path / "b.h5", str(tmp_path / "m.yaml"))
    assert record.fields["detector@mask"].values.read() == "th", "another name is one"


@pytest.mark.parametrize(
    ("definition", "units", "there"), [("NXa", "mm", True), ("NXb", "um", True), ("NX", "m", False)]
)
def test_a_test_may_name_alternatives(definition: str, units: str, there: bool, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        'nxconvert: 1\nname: either\nrecord: [scan]\nunder: "/{scan=s:NXentry}"\nrules:\n'
        '  - {tree: "definition[=NXa|NXb]", field: definition, each: record}\n'
        '  - {tree: "x[units=mm|um]", field: x, each: row}\n'
        "  - {tree: y, field: y, each: row}\n"
    )
    with h5py.File(tmp_path / "a.h5", "w") as f:
        entry = f.create_group("s")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"], entry["x"], entry["y"] = definition, [1.0, 2.0], [3.0, 4.0]
        entry["x"].attrs["units"] = units
    (record,) = records(tmp_path / "a.h5", str(tmp_path / "m.yaml"))
    assert list(record.fields) == (["definition", "x", "y"] if there else ["y"])
