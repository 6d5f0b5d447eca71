"""The mappings of docs/how-to/two-beamlines.md: on the look-alikes of testdata, and on the beamlines' files if there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import CORPUS

from nxconvert.comparison import compare
from nxconvert.conversion import Plan, convert, layout_for, open_source
from nxconvert.format import Report, Tree
from nxconvert.location import Location
from nxconvert.mapping import load
from nxconvert.mapping.check import dry_run, obstacles
from nxconvert.trial import out_and_back
from nxconvert.validation import validate

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "how-to" / "two-beamlines.md"
FILES = {
    "dmc": [ROOT / "testdata" / "dmc.h5", CORPUS / "nexus" / "psi" / "dmc01.h5"],
    "i20": [ROOT / "testdata" / "i20.nxs", CORPUS / "nexus" / "dls" / "FeKedge_1_15.nxs"],
}
PLACES = {
    "dmc": {"two_theta": "data1/two_theta", "counts": "data1/counts"},
    "i20": {
        "energy": "counterTimer01/Energy",
        "mu": "counterTimer01/lnI0It",
        "I0": "counterTimer01/I0",
        "fluorescence": "FFI0/FFI0",
    },
}


def cases() -> list[object]:
    there = [(n, f, f.exists()) for n, files in FILES.items() for f in files]
    skip = pytest.mark.skip(reason="the beamline's file is not here")
    return [pytest.param(n, f, id=f"{n}-{f.stem}", marks=() if known else skip) for n, f, known in there]


@pytest.fixture
def mappings(tmp_path: Path) -> Path:
    block = re.compile(r"<!-- file: (\S+) -->\n```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
    for name, text in block.findall(PAGE.read_text("utf-8")):
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


@pytest.mark.parametrize(("name", "data"), cases())
def test_each_rule_finds_something_and_all_comes_back(mappings: Path, name: str, data: Path) -> None:
    layout = load(str(mappings / f"{name}.yaml"))
    assert obstacles(layout) == []
    with open_source(Location(str(data)), Plan(), Report()) as tree:
        assert isinstance(tree, Tree)
        found = dry_run(layout, tree, Report())
    assert all(f.objects for f in found.rules), [f.rule.file.tree for f in found.rules if not f.objects]
    assert not any(f.wrong for f in found.rules)
    told = out_and_back(str(mappings / f"{name}.yaml"), str(data))
    assert told.same, told.differences
    assert told.fields >= len(layout.rules) - 2


@pytest.mark.parametrize(("name", "data"), cases())
def test_the_table_and_the_way_back(mappings: Path, name: str, data: Path) -> None:
    plan = Plan(mapping=str(mappings / f"{name}.yaml"))
    table, back = mappings / "table.csv", mappings / "back.h5"
    roles = {"roles": "x=energy,signal=mu"} if name == "i20" else {}
    assert not convert([str(data)], str(table), Plan(mapping=plan.mapping, options=roles)).failed
    labels = table.read_text("utf-8").splitlines()[1].split(",")
    columns = dict(zip(labels, np.loadtxt(table, delimiter=",", skiprows=2, unpack=True), strict=True))
    assert not convert([str(table)], str(back), plan).failed
    with h5py.File(data) as truth, h5py.File(back) as file:
        for column, place in PLACES[name].items():
            wanted, found = truth["entry1"][place], file["entry1"][place]
            np.testing.assert_array_equal(columns[column].astype(wanted.dtype), wanted[()])
            np.testing.assert_array_equal(found[()], wanted[()])
            assert found.dtype == wanted.dtype
            units = wanted.attrs.get("units")
            assert found.attrs.get("units") == (units.decode() if isinstance(units, bytes) else units)
    assert validate(back).good
    assert validate(back).plots >= 1


@pytest.mark.parametrize(("name", "data"), cases())
def test_no_shipped_mapping_is_for_them(mappings: Path, name: str, data: Path) -> None:
    """What is chosen without the page takes the plots alone."""
    with open_source(Location(str(data)), Plan(), Report()) as tree:
        assert isinstance(tree, Tree)
        chosen = layout_for(tree, "auto", Report(), Location(str(data)))
        assert chosen.name == "nxdata"
        own = load(str(mappings / f"{name}.yaml"))
        left = {p for p in dry_run(chosen, tree, Report()).left if p not in dry_run(own, tree, Report()).left}
    assert len(left) >= 4


@pytest.mark.parametrize(("name", "data"), cases())
def test_a_draft_goes_out_and_back(tmp_path: Path, name: str, data: Path, run) -> None:
    done = run("nxconvert", "mapping", "new", "--from", data, "-o", "draft.yaml")
    assert done.returncode == 0, done.stderr
    done = run("nxconvert", "mapping", "test", "draft.yaml", data)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("the same: 1 record")


def test_the_look_alikes_are_those_of_the_script(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "testdata" / "make.py"), str(tmp_path)], check=True)
    for name in ("dmc.h5", "i20.nxs"):
        assert compare(str(ROOT / "testdata" / name), str(tmp_path / name)).equal
