"""Attributes of datasets that rules name: header fields in a record, attributes of their datasets again in a tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nxconvert.conversion import Plan, convert, open_records, open_source
from nxconvert.errors import MappingError
from nxconvert.format import Report, Tree
from nxconvert.location import Location
from nxconvert.mapping.check import dry_run
from nxconvert.mapping.load import compile_text, load
from nxconvert.record import Record
from nxconvert.trial import out_and_back

HEAD = 'nxconvert: 1\nname: mine\nrecord: [scan]\nunder: "/{scan=s1:NXentry}"\nrules:\n'
RULES = """\
  - {tree: "q", field: q, each: row}
  - {tree: "{other}", field: "{other}", each: row}
  - {tree: "q/@resolutions", field: resolution_of_q, each: record}
  - {tree: "{other}/@offset", field: "offset/{other}", each: record}
  - {tree: "sample:NXsample/{what}", field: "sample/{what}", each: record}
  - {tree: "sample:NXsample/{what}/@{attr}", field: "sample/{what}/{attr}", each: record}
"""


def write(path: Path, *, scans: tuple[str, ...] = ("s1",)) -> Path:
    with h5py.File(path, "w") as file:
        for scan in scans:
            entry = file.create_group(scan)
            entry.attrs["NX_class"] = "NXentry"
            entry["q"], entry["i"] = [0.1, 0.2], [3.0, 4.0]
            entry["q"].attrs.update({"units": "1/nm", "resolutions": "dq", "long_name": "Q"})
            entry["i"].attrs["offset"] = np.array([0.5, 1.5], "f4")
            sample = entry.create_group("sample")
            sample.attrs["NX_class"] = "NXsample"
            sample["tilt"] = 12.0
            sample["tilt"].attrs.update({"units": "deg", "vector": [0, 1, 0], "kind": "rotation"})
    return path


def mapping(tmp_path: Path, rules: str = RULES) -> str:
    (tmp_path / "m.yaml").write_text(HEAD + rules, "utf-8")
    return str(tmp_path / "m.yaml")


def records(path: Path, layout: str) -> list[Record]:
    with open_records(Location(str(path)), Plan(mapping=layout), Report()) as found:
        return list(found)


def go(source: Path, target: Path, layout: str) -> Report:
    report = convert([str(source)], str(target), Plan(mapping=layout, overwrite=True))
    assert report.failed == []
    return report


def attrs(path: Path, where: str) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in file[where].attrs.items()}


def test_they_are_fields_and_not_attributes_of_fields_too(tmp_path: Path) -> None:
    with open_records(Location(str(write(tmp_path / "a.h5"))), Plan(mapping=mapping(tmp_path)), Report()) as found:
        (record,) = found
        assert record.fields["resolution_of_q"].values.read() == "dq"
        assert record.fields["offset/i"].values.read().tolist() == [0.5, 1.5]
        assert record.fields["sample/tilt/vector"].values.read().tolist() == [0, 1, 0]
        assert record.fields["q"].attrs == {"units": "1/nm", "long_name": "Q"}, (
            "what no rule names stays with its field"
        )
        assert dict(record.fields["i"].attrs) == {}
        assert dict(record.fields["sample/tilt"].attrs) == {"units": "deg"}, "units belong to the field"
        assert "sample/tilt/units" not in record.fields


@pytest.mark.parametrize("ending", ["csv", "h5", "dat"])
def test_they_come_back_to_their_datasets(ending: str, tmp_path: Path) -> None:
    layout, source = mapping(tmp_path), write(tmp_path / "a.h5")
    go(source, tmp_path / f"b.{ending}", layout)
    report = go(tmp_path / f"b.{ending}", tmp_path / "c.h5", layout)
    assert report.losses == []
    for where in ("s1/q", "s1/i", "s1/sample/tilt"):
        assert attrs(tmp_path / "c.h5", where) == attrs(source, where)
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["s1/i"].attrs["offset"].dtype == np.float32
    assert out_and_back(layout, str(source)).differences == []


def test_records_that_share_a_dataset_share_its_attribute(tmp_path: Path) -> None:
    rules = (
        '  - {tree: "/common:NXcollection/title", field: title, each: record}\n'
        '  - {tree: "/common:NXcollection/title/@language", field: language, each: record}\n'
        "  - {tree: x, field: x, each: row}\n"
    )
    layout = mapping(tmp_path, rules)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        common = file.create_group("common")
        common.attrs["NX_class"] = "NXcollection"
        common["title"] = "both"
        common["title"].attrs["language"] = "en"
        for scan in ("s1", "s2"):
            entry = file.create_group(scan)
            entry.attrs["NX_class"] = "NXentry"
            entry["x"] = [1.0, 2.0]
    (tmp_path / "out").mkdir()
    report = convert([str(tmp_path / "a.h5")], str(tmp_path / "out") + "/", Plan(mapping=layout, to_format="csv"))
    texts = sorted((tmp_path / "out").glob("*.csv"))
    assert (report.failed, len(texts)) == ([], 2)
    report = convert([str(t) for t in texts], str(tmp_path / "b.h5"), Plan(mapping=layout))
    assert (report.failed, report.losses) == ([], [])
    assert attrs(tmp_path / "b.h5", "common/title")["language"] == "en"
    texts[1].write_text(texts[1].read_text("utf-8").replace('"en"', '"fr"'), "utf-8")
    report = convert([str(t) for t in texts], str(tmp_path / "c.h5"), Plan(mapping=layout))
    assert "differ, but both would be /common/title@language" in str(report.failed[0][1])


def test_an_attribute_of_what_is_not_there_is_a_loss(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("# resolution_of_q: dq\nx\n1\n2\n")
    report = go(tmp_path / "a.csv", tmp_path / "b.h5", mapping(tmp_path))
    (loss,) = [x for x in report.losses if x.what == "resolution_of_q"]
    assert "makes an attribute of it, and /s1/q is not there" in loss.why
    with h5py.File(tmp_path / "b.h5") as file:
        assert list(file["s1"]) == ["x"]


def test_attributes_of_what_no_rule_takes_are_no_fields(tmp_path: Path) -> None:
    """They had no dataset to come back to."""
    rules = '  - {tree: "{c}", field: "{c}", each: row}\n  - {tree: "{c}/@kind", field: "kind/{c}", each: record}\n'
    with h5py.File(write(tmp_path / "a.h5"), "a") as file:
        file["s1"]["scalar"] = 3
        file["s1/scalar"].attrs["kind"] = file["s1/i"].attrs["kind"] = "a"
    (record,) = records(tmp_path / "a.h5", mapping(tmp_path, rules))
    assert [n for n in record.fields if "kind" in n] == ["kind/i"]
    assert out_and_back(mapping(tmp_path, rules), str(tmp_path / "a.h5")).differences == []


def test_attributes_of_groups_are_as_ever(tmp_path: Path) -> None:
    rules = (
        "  - {tree: q, field: q, each: row}\n"
        '  - {tree: "sample/@role", field: role, each: record}\n'
        '  - {tree: "q/@resolutions", field: resolution_of_q, each: record}\n'
    )
    with h5py.File(write(tmp_path / "a.h5"), "a") as file:
        file["s1/sample"].attrs["role"] = "reference"
    layout = mapping(tmp_path, rules)
    assert load(layout).on_datasets == {2}
    go(tmp_path / "a.h5", tmp_path / "b.csv", layout)
    go(tmp_path / "b.csv", tmp_path / "c.h5", layout)
    assert attrs(tmp_path / "c.h5", "s1/sample")["role"] == "reference"
    assert attrs(tmp_path / "c.h5", "s1/q")["resolutions"] == "dq"


def test_what_is_absent_is_written_where_its_dataset_is(tmp_path: Path) -> None:
    rules = (
        '  - {tree: "q/@kind", field: kind, each: record, absent: scattering vector}\n'
        '  - {tree: "y/@kind", field: kind_of_y, each: record, absent: none}\n'
        "  - {tree: q, field: q, each: row}\n"
        "  - {tree: y, field: y, each: row}\n"
    )
    layout = mapping(tmp_path, rules)
    (tmp_path / "a.csv").write_text("q\n1\n2\n")
    go(tmp_path / "a.csv", tmp_path / "a.h5", layout)
    assert attrs(tmp_path / "a.h5", "s1/q")["kind"] == "scattering vector"
    (tmp_path / "b.csv").write_text("# kind: angle\nq\n1\n2\n")
    go(tmp_path / "b.csv", tmp_path / "b.h5", layout)
    assert attrs(tmp_path / "b.h5", "s1/q")["kind"] == "angle"
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file["s1"]) == ["q"]


def test_a_constant_attribute_never_replaces_one(tmp_path: Path) -> None:
    rules = '  - {tree: "{c}", field: "{c}", each: row}\n  - {tree: "q/@resolutions", constant: other}\n'
    layout = mapping(tmp_path, rules)
    go(write(tmp_path / "a.h5"), tmp_path / "b.csv", layout)
    report = go(tmp_path / "b.csv", tmp_path / "c.h5", layout)
    assert attrs(tmp_path / "c.h5", "s1/q")["resolutions"] == "dq"
    assert report.notices == []
    assert out_and_back(layout, str(tmp_path / "a.h5")).differences == []


def test_a_constant_attribute_of_a_constant_is_checked(tmp_path: Path) -> None:
    rules = '  - {tree: q, field: q, each: row}\n  - {tree: i, constant: 3}\n  - {tree: "i/@offset", constant: 1.5}\n'
    layout = mapping(tmp_path, rules)
    report = go(write(tmp_path / "a.h5"), tmp_path / "b.csv", layout)
    assert [str(n).partition(" is not ")[0].rpartition("/")[2] for n in report.notices] == ["i", "i@offset"]
    go(tmp_path / "b.csv", tmp_path / "c.h5", layout)
    assert attrs(tmp_path / "c.h5", "s1/i") == {"offset": 1.5}


def test_a_dry_run_counts_them(tmp_path: Path) -> None:
    layout = mapping(tmp_path)
    with open_source(Location(str(write(tmp_path / "a.h5"))), Plan(), Report()) as source:
        assert isinstance(source, Tree)
        told = dry_run(load(layout), source, Report())
    assert [f.objects for f in told.rules] == [1, 1, 1, 1, 1, 2]
    assert told.rules[2].example == "/s1/q@resolutions"


def test_the_loader_says_what_comes_back() -> None:
    layout = compile_text(HEAD + RULES, "m.yaml")
    assert layout.invertible
    assert layout.on_datasets == {2, 3, 5}
    with pytest.raises(MappingError, match="belongs to the field"):
        compile_text(HEAD + '  - {tree: x, field: x}\n  - {tree: "x/@units", field: unit}\n', "m.yaml")


@pytest.mark.parametrize(
    ("place", "captured"), [("q/@note", "{c}/@note"), ("g:NXcollection/@note", "{c:NXcollection}/@note")]
)
def test_two_fields_for_one_attribute_are_an_error(place: str, captured: str, tmp_path: Path) -> None:
    rules = (
        '  - {tree: "{c}", field: "{c}", each: row}\n'
        f'  - {{tree: "{place}", field: note, each: record}}\n'
        f'  - {{tree: "{captured}", field: "note_of_{{c}}", each: record}}\n'
    )
    whose = place[0]
    (tmp_path / "a.csv").write_text(f"# note: one\n# note_of_{whose}: another\nq\n1\n2\n")
    report = convert([str(tmp_path / "a.csv")], str(tmp_path / "a.h5"), Plan(mapping=mapping(tmp_path, rules)))
    assert f"would be /s1/{whose}@note, which is written twice" in str(report.failed[0][1])
    (tmp_path / "b.csv").write_text(f"# note: one\n# note_of_{whose}: one\nq\n1\n2\n")
    go(tmp_path / "b.csv", tmp_path / "b.h5", mapping(tmp_path, rules))
    assert attrs(tmp_path / "b.h5", f"s1/{whose}")["note"] == "one"
