"""Wrong answers are worse than none: tables whose columns cannot be told apart end in a question, never in a guess.

Each of the files below is converted into something that needs to know what its columns are: XDI, or a NeXus layout with
fixed names. Each must fail with an error that names the option which settles it, and leave nothing behind; and with
that option it must go on, as far as the table can at all.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from nxconvert.conversion import Plan, convert
from nxconvert.errors import UsageError
from nxconvert.format import Report
from nxconvert.mapping import shipped_names

XDI = "# Element.symbol: Fe\n# Element.edge: K\n# Mono.d_spacing: 3.1356\n"

FIXED = """nxconvert: 1
name: fixed
record: [scan]
under: "/{scan=entry:NXentry}"
rules:
  - {tree: "data:NXdata/{x=energy@axes}", field: energy, each: row}
  - {tree: "data:NXdata/{y=absorption@signal}", field: mu, each: row}
  - {tree: "notes:NXcollection/{note}", field: "{note}", each: record}
"""
"""A layout that gives what is the axis and what is the signal fixed names, as application definitions do."""


def rows(line: str, count: int = 12) -> str:
    """Repeat a line, with ``i`` as the number of the row."""
    return "".join(eval(f"f{line!r}", {"i": i}) + "\n" for i in range(count))


ROLES, LABELS, DECIMAL, DELIMITER = "--roles", "--labels", "--decimal", "--delimiter"
ENERGY = {"roles": "x=energy,signal=mu"}

# what is unclear: the text, the target, the option that the question names, the answer (None: the table cannot be it)
FILES: dict[str, tuple[str, str, str, dict[str, str] | None]] = {
    "no labels at all": (
        XDI + rows("{7100 + i} {1000 + i % 3} {900 + i % 5} {0.1 + i / 100:.3f}"),
        "xdi",
        ROLES,
        {"labels": "energy [eV],i0,i1,mu", **ENERGY},
    ),
    "whether I0 or I1 is the signal": (
        XDI + "# energy[eV] I0 I1\n" + rows("{7100 + i} {1000 + i % 3} {900 - i * 3}"),
        "xdi",
        ROLES,
        {"roles": "x=energy,signal=I1"},
    ),
    "an energy column that is only named so": (
        XDI + "energy [eV],mu\n" + rows("{7100 + i},{i / 10}"),
        "xdi",
        ROLES,
        ENERGY,
    ),
    "angle and energy both run": (
        XDI + "angle [deg],energy [eV],mu\n" + rows("{16 - i / 100:.2f},{7100 + i},{i / 10}"),
        "xdi",
        ROLES,
        ENERGY,
    ),
    "two candidates for x in a layout of fixed names": (
        "energy,theta,mu\n" + rows("{7100 - i},{10 + i},{i % 4}"),
        "fixed",
        ROLES,
        ENERGY,
    ),
    "the number of the point comes first": (
        XDI + "point energy[eV] mu\n" + rows("{i} {7100 + i} {i / 10}"),
        "xdi",
        ROLES,
        ENERGY,
    ),
    "x runs to and fro": (XDI + "energy[eV] mu\n" + rows("{7100 + i * 7 % 12} {i}"), "xdi", ROLES, ENERGY),
    "x stands still": (XDI + "energy[eV] mu\n" + rows("7112 {i}"), "xdi", ROLES, ENERGY),
    "x is the last column": (
        XDI + "mu,energy [eV]\n" + rows("{i * 5 % 7},{7100 + i / 10}"),
        "xdi",
        ROLES,
        ENERGY,
    ),
    "fewer labels than columns": (
        XDI + "energy mu\n" + rows("{7100 + i} {i} {i + 1}"),
        "xdi",
        LABELS,
        {"labels": "energy [eV],mu,i0", **ENERGY},
    ),
    "columns without names in a layout of fixed names": (
        "# taken on Monday\n" + rows("{7100 + i} {i / 10}"),
        "fixed",
        LABELS,
        {"labels": "energy,mu", **ENERGY},
    ),
    "names that the layout does not know": (
        "E I\n" + rows("{7100 + i} {i / 10}"),
        "fixed",
        LABELS,
        {"labels": "energy,mu", **ENERGY},
    ),
    "errors, or a second signal": (
        "energy mu dmu\n" + rows("{7100 + i} {i / 10} {i / 100}"),
        "fixed",
        ROLES,
        {"roles": "x=energy,signal=mu,errors=dmu"},
    ),
    "dates, of which nobody knows whether the day or the month comes first": (
        XDI + "date,energy [eV],mu\n" + rows("{i % 12 + 1:02d}/{i % 11 + 1:02d}/2024,{7100 + i},{i / 10}"),
        "xdi",
        ROLES,
        ENERGY,
    ),
    "one label for two columns": (
        XDI + "energy[eV] mu mu\n" + rows("{7100 + i} {i} {i + 1}"),
        "xdi",
        ROLES,
        {"labels": "energy [eV],mu,mu_ref", **ENERGY},
    ),
    "numbers that may be labels": (
        XDI + "0 1 2\n" + rows("{7100 + i} {i / 10} {i}"),
        "xdi",
        LABELS,
        {"labels": "4", "roles": "x=0,signal=1"},
    ),
    "commas between thousands, or decimal": (
        rows("1,{234 + i} 5,{678 + i}"),
        "h5",
        DECIMAL,
        {"decimal": ","},
    ),
    "commas between thousands, or decimal, with labels": (
        "energy;mu\n" + rows("7,{100 + i};1,{200 + i}"),
        "h5",
        DECIMAL,
        {"decimal": ","},
    ),
    "quoted numbers with commas": (
        "energy,mu,n\n" + rows('"7,{100 + i}","1,{200 + i}",{i}'),
        "h5",
        DECIMAL,
        {"decimal": ","},
    ),
    "two columns of whole numbers, or one of decimals": (
        rows("{i // 2},{i % 2 * 5}"),
        "h5",
        DELIMITER,
        {"delimiter": "comma"},
    ),
}


def test_there_are_twenty() -> None:
    assert len(FILES) == 20


def attempt(
    folder: Path, text: str, target: str, options: dict[str, str]
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    (folder / "table.txt").write_text(text)
    (folder / "fixed.yaml").write_text(FIXED)
    out = folder / ("out.xdi" if target == "xdi" else "out.h5")
    command = [sys.executable, "-m", "nxconvert.cli.main", "convert", "table.txt", out.name]
    command += ["--mapping", "fixed.yaml"] if target == "fixed" else []
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
    return out, done


@pytest.mark.parametrize("name", FILES)
def test_it_asks(tmp_path: Path, name: str) -> None:
    text, target, option, _ = FILES[name]
    out, done = attempt(tmp_path, text, target, {})
    assert done.returncode in (1, 2), done.stderr
    assert not out.exists()
    assert done.stdout == ""
    errors = re.findall(r"^error: .*\n  tip: .*$", done.stderr, re.MULTILINE)
    assert len(errors) == 1, done.stderr
    assert "table.txt" in errors[0]
    assert re.search(rf"{option}\b", errors[0].partition("tip:")[2]), errors[0]


@pytest.mark.parametrize(
    "name", [n for n, f in FILES.items() if f[3] is not None and f[3].get("roles") != "x=0,signal=1"]
)
def test_the_answer_settles_it(tmp_path: Path, name: str) -> None:
    text, target, _, answer = FILES[name]
    assert answer is not None
    out, done = attempt(tmp_path, text, target, answer)
    assert done.returncode == 0, done.stderr
    assert out.exists()


def test_what_was_answered_is_what_is_written(tmp_path: Path) -> None:
    text, target, _, answer = FILES["the number of the point comes first"]
    out, _ = attempt(tmp_path, text, target, answer or {})
    np.testing.assert_array_equal(np.loadtxt(out)[:, 0], 7100 + np.arange(12))
    text, target, _, answer = FILES["two candidates for x in a layout of fixed names"]
    out, _ = attempt(tmp_path, text, target, answer or {})
    with h5py.File(out) as file:
        data = file["entry/data"]
        assert data[data.attrs["axes"][0]][()].tolist() == [7100 - i for i in range(12)]


def test_the_label_of_two_columns_is_no_answer(tmp_path: Path) -> None:
    text, target, *_ = FILES["one label for two columns"]
    out, done = attempt(tmp_path, text, target, ENERGY)
    assert done.returncode == 2
    assert "'mu' is the label of the columns 2 and 3" in done.stderr
    assert "--labels" in done.stderr
    assert not out.exists()


def test_an_answer_that_makes_no_xdi_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    text, target, *_ = FILES["numbers that may be labels"]
    out, done = attempt(tmp_path, text, target, {"labels": "4", "roles": "x=0,signal=1"})
    assert done.returncode == 1
    assert "no column is named energy or angle" in done.stderr
    assert not out.exists()


DEFINED = """nxconvert: 1
name: defined
record: [scan]
under: "/{scan=entry:NXentry}"
rules:
  - {tree: "definition", constant: NXmine}
  - {tree: "data:NXdata/{x@axes}", field: "{x}", each: row}
  - {tree: "data:NXdata/{y@signal}", field: "{y}", each: row}
  - {tree: "data:NXdata/{column}", field: "{column}", each: row}
"""


@pytest.mark.parametrize("name", ["defined.yaml", "nxxas", "nxcansas", "nxazint1d"])
def test_what_an_application_definition_is_made_of_must_be_stated(tmp_path: Path, name: str) -> None:
    """Whatever names the columns have: a plot of I0 in an NXxas would be a wrong one."""
    if not name.endswith(".yaml") and name not in shipped_names():
        pytest.skip(f"{name} is not shipped")
    (tmp_path / "defined.yaml").write_text(DEFINED)
    (tmp_path / "table.txt").write_text("energy[eV] i0 mu\n" + rows("{7100 + i} {1000 - i} {i / 10}"))
    mapping = str(tmp_path / name) if name.endswith(".yaml") else name
    with pytest.raises(UsageError, match=r"nothing states what its columns|takes none of its columns") as caught:
        convert([str(tmp_path / "table.txt")], str(tmp_path / "a.h5"), Plan(mapping=mapping))
    assert "--roles" in caught.value.tip
    assert not (tmp_path / "a.h5").exists()
    if name == "defined.yaml":
        plan = Plan(mapping=mapping, options=ENERGY)
        assert not convert([str(tmp_path / "table.txt")], str(tmp_path / "a.h5"), plan).failed


# A guess stays one, wherever it goes


@pytest.mark.parametrize("through", ["a.h5", "a.csv", "a.dat", "a.spec"])
def test_a_guess_is_not_forgotten_on_the_way(tmp_path: Path, through: str) -> None:
    text, *_ = FILES["an energy column that is only named so"]
    (tmp_path / "table.txt").write_text(text)
    to = {"a.dat": "plain", "a.spec": "spec"}.get(through)
    report = convert([str(tmp_path / "table.txt")], str(tmp_path / through), Plan(to_format=to))
    assert not report.failed
    mapping = "records" if through == "a.h5" else "auto"
    report = convert([str(tmp_path / through)], str(tmp_path / "a.xdi"), Plan(mapping=mapping))
    assert "nothing states which of its columns" in str(report.failed[0][1])
    assert not (tmp_path / "a.xdi").exists()
    plan = Plan(mapping=mapping, options=ENERGY)
    assert not convert([str(tmp_path / through)], str(tmp_path / "a.xdi"), plan).failed
    assert not convert([str(tmp_path / "a.xdi")], str(tmp_path / "b.h5")).failed
    with h5py.File(tmp_path / "b.h5") as file:
        file.visititems(lambda _, node: pytest.fail("it was stated") if "guessed_role" in node.attrs else None)


def test_a_guess_is_marked_in_nexus(tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text("E I more\n1 2 3\n2 3 4\n3 5 5\n")
    convert([str(tmp_path / "table.txt")], str(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "a.h5") as file:
        data = file["entry/data"]
        assert {n: data[n].attrs["guessed_role"] for n in data} == {"E": "axis", "I": "signal", "more": "none"}
        assert data.attrs["signal"] == "I"  # it can be plotted all the same
    convert([str(tmp_path / "table.txt")], str(tmp_path / "b.h5"), Plan(options={"roles": "x=E,signal=more"}))
    with h5py.File(tmp_path / "b.h5") as file:
        assert not any("guessed_role" in node.attrs for node in file["entry/data"].values())
        assert file["entry/data"].attrs["signal"] == "more"


def test_roles_are_stated_of_spec_too(tmp_path: Path) -> None:
    (tmp_path / "a.spec").write_text("#F a\n\n#S 1 ascan en 7 8 2\n#N 3\n#L en  I0  mu\n7 5 1.5\n8 5 2.5\n\n")
    report = Report()
    convert([str(tmp_path / "a.spec")], str(tmp_path / "a.h5"), Plan(options={"roles": "x=en,signal=I0"}), report)
    assert not report.failed
    with h5py.File(tmp_path / "a.h5") as file:
        found = [g for g in file.values() if "data" in g and g.attrs.get("NX_class") == "NXentry"]
        assert found[0]["data"].attrs["signal"] == "I0"


# What is clear must not ask

CLEAR = {
    "decimal commas": "0,5 1,25\n1,0 2,5\n",
    "decimal commas of three digits": "0,500 1,250\n1,000 2,500\n",
    "a large number without a comma": "1,234 12345\n1,235 12346\n",
    "two columns of whole numbers with labels": "x,y\n0,5\n1,7\n2,9\n",
    "three columns of whole numbers": "1,2,3\n2,3,4\n3,4,6\n",
    "counts of different lengths": "0,5\n1,17\n2,9\n",
    "a first row that goes on": "0 1 2\n1 2 3\n2 3 4\n3 4 5\n",
    "semicolons and commas": "1,5;2,5\n2,5;3,5\n",
}


@pytest.mark.parametrize("name", CLEAR)
def test_what_is_clear_is_not_asked(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text(CLEAR[name])
    assert convert([str(tmp_path / "a.txt")], str(tmp_path / "a.h5")).failed == []
