"""``nxconvert mapping``: list, show, check, test, explain, new."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from nxconvert import mapping
from nxconvert.mapping.check import obstacles
from nxconvert.mapping.load import compile_text

SOLEIL = """
nxconvert: 1
name: soleil
record: [scan]
when: ["/{scan:NXentry}/scan_data:NXdata"]
under: "/{scan:NXentry}"
rules:
  - {tree: "title", field: title, each: record}
  - {tree: "scan_data:NXdata/{counter}", field: "{counter}", each: row}
  - {tree: "{beamline=SIXS:NXinstrument}/{motor:NXpositioner}/position", field: "motor/{motor}", each: record}
  - {tree: "absent", field: absent, each: record}
"""


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        for path, nx_class in {
            "scan_1": "NXentry",
            "scan_1/scan_data": "NXdata",
            "scan_1/SIXS": "NXinstrument",
            "scan_1/SIXS/delta": "NXpositioner",
            "scan_1/SIXS/mu": "NXpositioner",
        }.items():
            file.create_group(path).attrs["NX_class"] = nx_class
        file["scan_1/title"] = "ascan delta"
        file["scan_1/scan_data/counts"] = np.array([12, 25, 7], dtype=np.int16)
        file["scan_1/scan_data/angle"] = [0.5, 1.0, 1.5]
        file["scan_1/scan_data/angle"].attrs["units"] = "deg"
        file["scan_1/SIXS/delta/position"] = 139.99
        file["scan_1/SIXS/mu/position"] = 0.25
        file["scan_1/SIXS/mu/offset"] = 0.5
    (tmp_path / "soleil.yaml").write_text(SOLEIL)
    return tmp_path / "scan.nxs"


def test_list(run) -> None:
    done = run("nxconvert", "mapping", "list")
    assert done.returncode == 0
    assert any(line.split()[:2] == ["bliss", "yes"] for line in done.stdout.splitlines())
    told = json.loads(run("nxconvert", "mapping", "list", "--json").stdout)
    assert [m["name"] for m in told] == mapping.shipped_names()
    assert all(m["title"] and m["shipped"] for m in told)


def test_show_is_a_file_to_copy(run) -> None:
    done = run("nxconvert", "mapping", "show", "nxdata")
    assert compile_text(done.stdout, "copy.yaml").name == "nxdata"
    done = run("nxconvert", "mapping", "show", "nxdat")
    assert done.returncode == 2
    assert "did you mean 'nxdata'?" in done.stderr


def test_check_says_what_each_rule_finds(run, scan: Path) -> None:
    done = run("nxconvert", "mapping", "check", "soleil.yaml", "--on", "scan.nxs")
    assert done.returncode == 0, done.stderr
    assert "soleil.yaml: valid, 4 rules" in done.stdout
    assert "invertible: all that it exports comes back" in done.stdout
    assert "{beamline} comes back as SIXS, whatever it was" in done.stdout
    assert "scan_data:NXdata/{counter} -> /scan_1/scan_data/angle (3)" in done.stdout
    assert "absent -> nothing" in done.stdout
    assert "/scan_1/SIXS/mu/offset" in done.stdout.partition("no rule takes 1 dataset")[2]


def test_check_in_json(run, scan: Path) -> None:
    told = json.loads(run("nxconvert", "mapping", "check", "soleil.yaml", "--on", "scan.nxs", "--json").stdout)
    assert told["valid"]
    assert told["invertible"]
    assert told["records"] == 1
    assert [r["objects"] for r in told["rules"]] == [1, 2, 2, 0]
    assert told["left"] == ["/scan_1/SIXS/mu/offset"]


def test_check_of_a_wrong_mapping_ends_with_1_and_convert_with_2(run, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(SOLEIL.replace("field: absent", "feild: absent"))
    done = run("nxconvert", "mapping", "check", "bad.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith("error: bad.yaml:11:22:")
    assert "did you mean 'field'?" in done.stderr
    told = json.loads(run("nxconvert", "mapping", "check", "bad.yaml", "--json").stdout)
    assert not told["valid"]
    assert told["error"].startswith("bad.yaml:11:22:")
    assert run("nxconvert", "convert", "scan.nxs", "a.csv", "--mapping", "bad.yaml").returncode == 2


def test_check_on_data_of_another_layout_ends_with_1(run, scan: Path) -> None:
    done = run("nxconvert", "mapping", "check", "bliss", "--on", "scan.nxs")
    assert done.returncode == 0  # it finds a title
    with h5py.File(scan, "a") as file:
        del file["scan_1"].attrs["NX_class"]
    done = run("nxconvert", "mapping", "check", "bliss", "--on", "scan.nxs")
    assert done.returncode == 1
    assert "measurement:NXcollection/{counter} -> nothing" in done.stdout


ONE_WAY = {
    "export only": (
        (
            '  - {tree: "/{scan:NXentry}/*/position", field: position, each: record, direction: export}\n'
            '  - {tree: "/{scan:NXentry}/data/{c}", field: "{c}", each: row}\n'
        ),
        ["it is for export only, and no other rule takes its fields back"],
    ),
    "two places of one name": (
        (
            '  - {tree: "/{scan:NXentry}/a/{x}", field: "{x}", each: row}\n'
            '  - {tree: "/{scan:NXentry}/b/{y}", field: "{y}", each: row}\n'
        ),
        ["its columns would come back at the place of the rule at m.yaml:5:5, whose names are the same"],
    ),
    "header values of a name of their own": (
        (
            '  - {tree: "/{scan:NXentry}/a/{x}", field: "{x}", each: row}\n'
            '  - {tree: "/{scan:NXentry}/b/{y}", field: "{y}", each: record}\n'
        ),
        [],
    ),
    "elsewhere": (
        (
            '  - {tree: "/{scan:NXentry}/{d@default:NXdata}/{y@signal}", field: "{y}", direction: export}\n'
            '  - {tree: "/{scan:NXentry}/a/{x}", field: "{x}"}\n'
        ),
        ["it is for export only; its columns come back at the place of the rule at m.yaml:6:5"],
    ),
    "another name": (
        (
            '  - {tree: "/{scan:NXentry}/{line=ID1:NXinstrument}/{m:NXpositioner}/value", field: "m/{m}"}\n'
            '  - {tree: "/{scan:NXentry}/{line=ID1:NXinstrument}/{m:NXpositioner}/offset", field: "o/{m}"}\n'
        ),
        ["{line} comes back as ID1, whatever it was; its place is in record: or in the field's name"],
    ),
    "another class": (
        (
            '  - {tree: "/{scan:NXentry}/{kind:NXorientation|NXtranslation}/{x}", field: "{kind}/{x}"}\n'
            '  - {tree: "/{scan:NXentry}/{kind:NXorientation|NXtranslation}/in/{x}", field: "{kind}/in/{x}"}\n'
        ),
        ["groups of class NXtranslation come back as NXorientation"],
    ),
}


@pytest.mark.parametrize("name", ONE_WAY)
def test_what_stands_in_the_way_back(name: str) -> None:
    rules, reasons = ONE_WAY[name]
    layout = compile_text(f"nxconvert: 1\nname: m\nrecord: [scan]\nrules:\n{rules}", "m.yaml")
    assert [x.why for x in obstacles(layout)] == reasons
    assert all(x.elsewhere for x in obstacles(layout)) == (
        name in ("elsewhere", "header values of a name of their own", "another name", "another class")
    )


@pytest.mark.parametrize("name", mapping.shipped_names())
def test_shipped_mappings_can_be_inverted(name: str) -> None:
    assert all(x.elsewhere for x in obstacles(mapping.load(name)))


def test_out_and_back(run, scan: Path) -> None:
    done = run("nxconvert", "mapping", "test", "soleil.yaml", "scan.nxs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "the same: 1 record, 5 fields out and back\n"


def test_out_and_back_says_where_it_differs(run, scan: Path, tmp_path: Path) -> None:
    """Two groups share the names of their fields, so those of one land in the other."""
    rule = '  - {tree: "{beamline=SIXS:NXinstrument}/{motor:NXpositioner}/offset", field: "motor/{motor}_offset", each: record}'
    (tmp_path / "two.yaml").write_text(SOLEIL + rule.replace("motor/{motor}_offset", "motor/{motor}") + "\n")
    done = run("nxconvert", "mapping", "test", "two.yaml", "scan.nxs")
    assert done.returncode == 1
    assert "would both be the field 'motor/mu'" in done.stderr
    elsewhere = SOLEIL.replace("{beamline=SIXS:", "{beamline=CRISTAL:")
    (tmp_path / "two.yaml").write_text(elsewhere)
    done = run("nxconvert", "mapping", "test", "two.yaml", "scan.nxs")
    assert done.returncode == 1
    assert "motor/mu: place /scan_1/SIXS/mu/position came back as /scan_1/CRISTAL/mu/position" in done.stdout, (
        done.stdout
    )
    assert "2 differences in 1 record, 5 fields" in done.stdout
    told = json.loads(run("nxconvert", "mapping", "test", "two.yaml", "scan.nxs", "--json").stdout)
    assert not told["same"]
    assert {d["kind"] for d in told["differences"]} == {"place"}


def test_what_no_rule_takes_back_is_a_difference(run, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(SOLEIL.replace('position", field', 'position", direction: export, field'))
    done = run("nxconvert", "mapping", "test", "one.yaml", "scan.nxs")
    assert done.returncode == 1
    assert "motor/mu" in done.stdout
    assert "did not come back" in done.stdout


def test_explain(run, scan: Path) -> None:
    done = run("nxconvert", "mapping", "explain", "testdata/scan.h5")
    assert done.returncode == 1  # there is no such file
    done = run("nxconvert", "mapping", "explain", "scan.nxs")
    assert done.returncode == 0
    assert done.stdout.startswith("scan.nxs: the mapping ")
    assert (
        "  - /{scan:NXentry}/measurement:NXcollection: there is no measurement:NXcollection in /scan_1" in done.stdout
    )
    told = json.loads(run("nxconvert", "mapping", "explain", "scan.nxs", "--json").stdout)
    fits = [m["name"] for m in told["considered"] if m["when"] and all(w["there"] for w in m["when"])]
    assert told["mapping"] == fits[0]


def test_explain_where_nothing_fits(run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = [1, 2]
    done = run("nxconvert", "mapping", "explain", "a.h5")
    assert done.returncode == 1
    assert "no mapping fits" in done.stdout


def test_new_check_test(run, scan: Path) -> None:
    """The way of a newcomer."""
    done = run("nxconvert", "mapping", "new", "--from", "scan.nxs", "-o", "draft.yaml")
    assert done.returncode == 0, done.stderr
    assert "mapping check draft.yaml --on scan.nxs" in done.stderr
    text = (scan.parent / "draft.yaml").read_text("utf-8")
    assert 'under: "/{scan=scan_1:NXentry}"' in text
    assert '{tree: "scan_data:NXdata/{counter}", field: "{counter}", each: row}' in text
    assert 'field: "motor/{positioner}"' in text
    done = run("nxconvert", "mapping", "check", "draft.yaml", "--on", "scan.nxs")
    assert done.returncode == 0, done.stderr
    assert "invertible: all" in done.stdout
    assert "no rule takes" not in done.stdout
    done = run("nxconvert", "mapping", "test", "draft.yaml", "scan.nxs")
    assert done.stdout == "the same: 1 record, 6 fields out and back\n"


def test_a_draft_follows_the_roles_of_an_nxdata(run, scan: Path) -> None:
    with h5py.File(scan, "a") as file:
        file["scan_1/scan_data"].attrs.update({"signal": "counts", "axes": "angle"})
        file["scan_1/scan_data/dark"] = [1, 2, 3]
    text = run("nxconvert", "mapping", "new", "--from", "scan.nxs").stdout
    assert '{tree: "scan_data:NXdata/{x@axes}", field: "{x}"}' in text
    assert '{tree: "scan_data:NXdata/{y@signal}", field: "{y}", each: row}' in text
    assert '{tree: "scan_data:NXdata/{counter}", field: "{counter}"}' in text


def test_new_does_not_replace_a_file(run, scan: Path) -> None:
    before = (scan.parent / "soleil.yaml").read_text()
    done = run("nxconvert", "mapping", "new", "--from", "scan.nxs", "-o", "soleil.yaml")
    assert done.returncode == 2
    assert (scan.parent / "soleil.yaml").read_text() == before


DRAFTED = [
    "nexus/soleil/scan101.nxs",
    "nexus/dls/336502.nxs",
    "nexus/dls/i05-4859.nxs",
    "nexus/dls/p45-example.nxs",
    "nexus/dls-i16/879486.nxs",
    "nexus/aps/33id_spec_22_2D.hdf5",
]


@pytest.mark.parametrize("name", DRAFTED)
def test_drafts_of_real_files_go_out_and_back(name: str, corpus: Path, tmp_path: Path) -> None:
    from nxconvert.conversion import Plan, open_source
    from nxconvert.format import Report
    from nxconvert.location import Location
    from nxconvert.mapping.draft import draft
    from nxconvert.trial import out_and_back

    file = corpus / name
    if not file.exists():
        pytest.skip(f"{name} is not in the corpus")
    with open_source(Location(str(file)), Plan(), Report()) as tree:
        (tmp_path / "draft.yaml").write_text(draft(tree, "draft", file.name), "utf-8")
    assert obstacles(mapping.load(str(tmp_path / "draft.yaml"))) == []
    told = out_and_back(str(tmp_path / "draft.yaml"), str(file))
    assert told.differences == []
    assert told.fields > 4


SHIPPED = [
    ("soleil", "nexus/soleil/scan101.nxs", 257),
    ("diamond", "nexus/dls-i16/879486.nxs", 207),
    ("diamond", "nexus/dls-i16/782761.nxs", 189),
    ("diamond", "nexus/dls-i16/970792.nxs", 201),
    ("nxdata", "nexus/dls/336502.nxs", 3),
]


@pytest.mark.parametrize(("name", "file", "fields"), SHIPPED)
def test_shipped_mappings_go_out_and_back_on_real_files(name: str, file: str, fields: int, corpus: Path) -> None:
    from nxconvert.conversion import Plan, open_source
    from nxconvert.format import Report
    from nxconvert.location import Location
    from nxconvert.mapping.check import chosen
    from nxconvert.trial import out_and_back

    path = corpus / file
    if not path.exists():
        pytest.skip(f"{file} is not in the corpus")
    with open_source(Location(str(path)), Plan(), Report()) as tree:
        layout = chosen(tree, Report())
    assert layout is not None
    # Diamond's files have other NXdata beside measurement: auto takes each of them, and drops none
    assert layout.name == ("nxdata" if name == "diamond" else name)
    told = out_and_back(name, str(path))
    assert told.differences == []
    assert told.moved == []
    assert told.fields == fields


def test_help_loads_nothing_slow(run) -> None:
    code = (
        "import sys, nxconvert.cli.main; print([m for m in ('numpy', 'h5py', 'yaml', 'pydantic') if m in sys.modules])"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_draft_of_a_layout_without_classes(tmp_path: Path, run) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exchange/data"] = np.arange(24.0).reshape(4, 2, 3)
        file["exchange/theta"] = np.arange(4.0)
        file["exchange/title"] = "a tooth"
        file["process/name"] = "none"
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for scan in ("1.1", "2.1"):
            file[f"{scan}/instrument/positioners/chi"] = np.arange(5.0)
            file[f"{scan}/instrument/positioners/mu"] = np.arange(5.0)
            file[f"{scan}/instrument/positioners/ffz"] = 0.5
            file[f"{scan}/instrument/detector/data"] = np.ones((5, 2, 2))
    for name, records in (("a", 1), ("b", 2)):
        assert run("nxconvert", "mapping", "new", "--from", f"{name}.h5", "-o", f"{name}.yaml").returncode == 0
        done = run("nxconvert", "mapping", "test", f"{name}.yaml", f"{name}.h5")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith(f"the same: {records} record")
        assert done.stderr == ""


def test_a_draft_takes_each_dataset_once(tmp_path: Path, run) -> None:
    """Groups that hold links to the columns get rules for what they have besides; a title that is there twice, two."""
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        for path in ("e", "e/counters", "e/one", "e/two"):
            file.create_group(path).attrs["NX_class"] = "NXdata" if "/" in path else "NXentry"
        file["e/title"] = "outer"
        file["e/counters/title"] = "inner"
        for name in ("energy", "i0", "i1"):
            file[f"e/counters/{name}"] = np.arange(4.0)
        for group in ("one", "two"):
            file[f"e/{group}/energy"] = file["e/counters/energy"]
            file[f"e/{group}/{group}"] = np.ones(4)
    done = run("nxconvert", "mapping", "new", "--from", "a.nxs", "-o", "a.yaml")
    assert done.returncode == 0
    text = (tmp_path / "a.yaml").read_text()
    assert '{tree: "one:NXdata/one", field: "one/one"}' in text
    assert '{tree: "counters:NXdata/title", field: "counters/title"}' in text
    done = run("nxconvert", "mapping", "test", "a.yaml", "a.nxs")
    assert done.stdout == "the same: 1 record, 7 fields out and back\n"


def test_check_counts_constants(scan: Path, run) -> None:
    rule = '  - {tree: "SIXS:NXinstrument/mu:NXpositioner/offset", constant: 0.5}\n'
    for text, shown in ((rule, "offset (one value)"), (rule.replace("0.5", "0.75"), "1 of them not 0.75")):
        (scan.parent / "constant.yaml").write_text(SOLEIL + text)
        done = run("nxconvert", "mapping", "check", "constant.yaml", "--on", "scan.nxs")
        (line,) = [row for row in done.stdout.splitlines() if "offset ->" in row]
        assert shown in line
        assert "no rule takes" not in done.stdout


def test_the_full_report_lists_what_no_rule_takes(run, scan: Path) -> None:
    plain = json.loads(run("nxconvert", "convert", "scan.nxs", "a.csv", "--mapping", "soleil.yaml", "--json").stdout)
    assert "untaken" not in plain
    full = ("nxconvert", "convert", "scan.nxs", "b.csv", "--mapping", "soleil.yaml", "--report", "full")
    said = run(*full).stderr
    told = json.loads(run(*full, "--json", "--overwrite").stdout)
    with h5py.File(scan.parent / "scan.nxs") as file:
        every: list[str] = []
        file.visititems(lambda name, node: every.append(name) if isinstance(node, h5py.Dataset) else None)
    left = {place.partition("::/")[2] for place in told["untaken"]}
    assert left
    assert left < set(every)
    assert f"no rule of the mapping takes {'one dataset' if len(left) == 1 else f'{len(left)} datasets'}" in said
    assert run(*full[:-1], "all", "--overwrite").returncode == 2


def test_a_class_that_changes_on_the_way_is_told(run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        for path, kind in (("e", "NXentry"), ("e/o", "NXorientation"), ("e/t", "NXtranslation")):
            file.create_group(path).attrs["NX_class"] = kind
        file["e/o/value"], file["e/t/value"] = 1.0, 2.0
    rule = '{tree: "/{scan:NXentry}/{kind:NXorientation|NXtranslation}/{x}", field: "{kind}/{x}", each: record}'
    (tmp_path / "m.yaml").write_text(f"nxconvert: 1\nname: m\nrecord: [scan]\nrules:\n  - {rule}\n")
    done = run("nxconvert", "mapping", "test", "m.yaml", "a.nxs")
    assert done.returncode == 0
    assert "/e/t: its class NXtranslation came back as NXorientation" in done.stdout + done.stderr
