"""``file`` of a mapping: what the names of files say, in each direction, and in the names of outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import nxconvert
from nxconvert.conversion import Plan, convert
from nxconvert.errors import InputError
from nxconvert.format import Report
from nxconvert.mapping.filename import FilePattern
from nxconvert.mapping.load import compile_text, text_of
from nxconvert.packed.api import pack, restore

RULES = """
under: "/{scan=s1:NXentry}"
rules:
  - {tree: "title", field: title, each: record}
  - {tree: "sample:NXsample/name", field: sample, each: record}
  - {tree: "run", field: n, each: record, dtype: int32}
  - {tree: "{c}", field: "{c}", each: row}
"""


def mapping_file(folder: Path, pattern: str = "{sample}_{n:integer}", rules: str = RULES, key: str = "scan") -> str:
    path = folder / "m.yaml"
    path.write_text(f'nxconvert: 1\nname: mine\nrecord: [{key}]\nfile: "{pattern}"{rules}', "utf-8")
    return str(path)


def scan(path: Path, *entries: str, **more: Any) -> str:
    with h5py.File(path, "w") as file:
        for name in entries or ("s1",):
            entry = file.create_group(name)
            entry.attrs["NX_class"] = "NXentry"
            entry["x"] = [1.0, 2.5]
            for place, value in more.items():
                entry[place.replace("__", "/")] = value
            if "sample" in entry:
                entry["sample"].attrs["NX_class"] = "NXsample"
    return str(path)


def done(inputs: list[str], output: Path, plan: Plan) -> list[str]:
    """Convert; return what was warned of."""
    report = convert(inputs, str(output), plan, Report())
    assert report.failed == []
    assert report.losses == []
    return [str(n) for n in report.notices]


def test_the_name_goes_out_and_comes_back_under_any_name(tmp_path: Path) -> None:
    plan = Plan(mapping=mapping_file(tmp_path))
    data = scan(tmp_path / "my_LaB6_0007.h5")
    assert done([data], tmp_path / "any.csv", plan) == []
    with nxconvert.open(tmp_path / "any.csv") as records:
        fields = records[0].fields
        assert fields["sample"].values.read() == "my_LaB6"
        assert fields["n"].values.read() == 7
    assert done([str(tmp_path / "any.csv")], tmp_path / "back.h5", plan) == []
    with h5py.File(tmp_path / "back.h5") as file:
        assert file["s1/sample/name"].asstr()[()] == "my_LaB6"
        assert file["s1/sample"].attrs["NX_class"] == "NXsample"
        assert file["s1/run"][()] == 7
        assert file["s1/run"].dtype == np.int32
        assert file["s1/x"][()].tolist() == [1.0, 2.5]
    assert done([str(tmp_path / "back.h5")], tmp_path / "again.csv", plan) == []
    again = (tmp_path / "again.csv").read_text("utf-8")
    assert '"sample":"my_LaB6"' in again
    assert '"n":{"value":7, "dtype":"int32"}' in again


def test_the_name_of_a_plain_table_goes_into_the_tree(tmp_path: Path) -> None:
    (tmp_path / "Fe_12.csv").write_text("x\n1.5\n2.5\n")
    assert done([str(tmp_path / "Fe_12.csv")], tmp_path / "out.h5", Plan(mapping=mapping_file(tmp_path))) == []
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["s1/sample/name"].asstr()[()] == "Fe"
        assert file["s1/run"][()] == 12


def test_records_that_become_records_have_it_too(tmp_path: Path) -> None:
    (tmp_path / "Fe_12.csv").write_text("x\n1.5\n2.5\n")
    assert done([str(tmp_path / "Fe_12.csv")], tmp_path / "out.dat", Plan(mapping=mapping_file(tmp_path))) == []
    assert "# sample: Fe\n" in (tmp_path / "out.dat").read_text("utf-8")


def test_digits_stay_text_and_keep_their_zeros(tmp_path: Path) -> None:
    rules = RULES.replace(", dtype: int32", "")
    plan = Plan(mapping=mapping_file(tmp_path, "{sample}_{n:digits}", rules))
    done([scan(tmp_path / "a_b_0007.h5")], tmp_path / "out.csv", plan)
    assert '"n":"0007"' in (tmp_path / "out.csv").read_text("utf-8")


def test_a_number_of_the_name_has_the_units_of_its_rule(tmp_path: Path) -> None:
    rules = (
        '\nunder: "/{scan=s1:NXentry}"\nrules:\n  - {tree: T, field: T, each: record, units: {tree: K, field: mK}}\n'
    )
    rules += '  - {tree: "{c}", field: "{c}", each: row}\n'
    plan = Plan(mapping=mapping_file(tmp_path, "a_{T:float}mK", rules))
    done([scan(tmp_path / "a_1.5mK.h5")], tmp_path / "out.csv", plan)
    assert '"T":{"value":1.5, "dtype":"float64", "units":"mK"}' in (tmp_path / "out.csv").read_text("utf-8")
    done([str(tmp_path / "out.csv")], tmp_path / "back.h5", plan)
    with h5py.File(tmp_path / "back.h5") as file:
        assert file["s1/T"][()] == pytest.approx(0.0015, rel=1e-15)
        assert file["s1/T"].attrs["units"] == "K"


def test_another_name_is_a_warning_that_says_what_is_missing(tmp_path: Path) -> None:
    plan = Plan(mapping=mapping_file(tmp_path))
    told = done([scan(tmp_path / "other.h5", sample__name="Fe")], tmp_path / "out.csv", plan)
    like = f"no name like '{{sample}}_{{n:integer}}' of {plan.mapping}:4:7"
    assert told == [f"{tmp_path / 'other.h5'} has {like}, so nothing says n"]
    assert '"n"' not in (tmp_path / "out.csv").read_text("utf-8")


def test_it_is_an_error_when_strict(tmp_path: Path) -> None:
    data = scan(tmp_path / "other.h5")
    with pytest.raises(InputError, match="nothing says sample and n"):
        nxconvert.convert(data, tmp_path / "out.csv", mapping=mapping_file(tmp_path), strict=True)


def test_what_a_record_says_itself_counts_and_a_difference_is_told(tmp_path: Path) -> None:
    plan = Plan(mapping=mapping_file(tmp_path))
    data = scan(tmp_path / "Fe_1.h5", sample__name="Ni", run=np.int32(1))
    told = done([data], tmp_path / "out.csv", plan)
    assert told == [f"{data}::/s1 says that sample is Ni, the name of the file Fe: the former counts"]
    assert '"sample":"Ni"' in (tmp_path / "out.csv").read_text("utf-8")


def test_a_name_that_can_be_read_in_two_ways_is_no_guess(tmp_path: Path) -> None:
    rules = RULES.replace(", dtype: int32", "")
    data = scan(tmp_path / "my_LaB6_7.h5")
    report = convert([data], str(tmp_path / "out.csv"), Plan(mapping=mapping_file(tmp_path, "{sample}_{n}", rules)))
    ((_, error),) = report.failed
    assert "as sample=my, n=LaB6_7 and as sample=my_LaB6, n=7 by '{sample}_{n}'" in str(error)
    assert "{n:integer}" in getattr(error, "tip", "")
    assert not (tmp_path / "out.csv").exists()


def test_the_name_is_the_key_of_records_that_have_none(tmp_path: Path) -> None:
    rules = RULES.replace('  - {tree: "run", field: n, each: record, dtype: int32}\n', "")
    plan = Plan(mapping=mapping_file(tmp_path, "{sample}_{scan}", rules))
    for name in ("Fe_a", "Ni_b"):
        (tmp_path / f"{name}.csv").write_text("x\n1.5\n2.5\n")
    done([str(tmp_path / "Fe_a.csv"), str(tmp_path / "Ni_b.csv")], tmp_path / "out.h5", plan)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["a/sample/name"].asstr()[()] == "Fe"
        assert file["b/sample/name"].asstr()[()] == "Ni"
        assert "scan" not in file["a"]


def test_standard_input_has_no_name(run, tmp_path: Path) -> None:
    mapping_file(tmp_path, "{sample}", RULES.replace("field: n,", "field: n2,"))
    out = run("nxconvert", "convert", "--from", "csv", "--mapping", "m.yaml", "-", "out.h5", input="x\n1.5\n")
    assert out.returncode == 0, out.stderr
    assert "standard input has no name like '{sample}' of m.yaml:4:7, so nothing says sample" in out.stderr


# the names of outputs


def test_names_of_outputs_may_have_it(tmp_path: Path) -> None:
    plan = Plan(mapping=mapping_file(tmp_path), to_format="csv", name="{n:04d}-{sample}_{entry}{ext}")
    scan(tmp_path / "my_LaB6_7.h5", "s1", "s2")
    scan(tmp_path / "else.h5", sample__name="Fe", run=np.int32(12))
    (tmp_path / "out").mkdir()
    done([str(tmp_path / "my_LaB6_7.h5"), str(tmp_path / "else.h5")], tmp_path / "out", plan)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "0007-my_LaB6_s1.csv",
        "0007-my_LaB6_s2.csv",
        "0012-Fe_s1.csv",
    ]


def test_two_outputs_of_one_name_are_seen_before_anything_is_written(tmp_path: Path) -> None:
    plan = Plan(mapping=mapping_file(tmp_path), to_format="csv", name="{sample}{ext}")
    inputs = [scan(tmp_path / "Fe_1.h5"), scan(tmp_path / "Fe_2.h5")]
    (tmp_path / "out").mkdir()
    with pytest.raises(nxconvert.UsageError, match=r"Fe\.csv"):
        convert(inputs, str(tmp_path / "out"), plan)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_input_without_it_fails_alone(tmp_path: Path) -> None:
    plan = Plan(mapping=mapping_file(tmp_path), to_format="csv", name="{sample}{ext}")
    inputs = [scan(tmp_path / "other.h5"), scan(tmp_path / "Fe_2.h5")]
    (tmp_path / "out").mkdir()
    report = convert(inputs, str(tmp_path / "out"), plan)
    ((_, error),) = report.failed
    assert "nothing says sample, which the template '{sample}{ext}' has" in str(error)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["Fe.csv"]


# series


def series(folder: Path, *names: str, file: str = "{sample}_{T:integer}K_{n:digits}") -> str:
    (folder / "data").mkdir()
    for i, name in enumerate(names):
        tifffile.imwrite(folder / "data" / name, np.full((4, 5), i, np.uint16))
    text = text_of("series").replace("name: series\n", f'name: mine\nfile: "{file}"\n')
    rule = '  - {tree: "sample:NXsample/temperature", field: T, units: K, dtype: float32}\n'
    (folder / "m.yaml").write_text(text.replace("rules:\n", f"rules:\n{rule}"), "utf-8")
    return str(folder / "data")


def test_the_names_of_a_series_are_values_and_columns(tmp_path: Path) -> None:
    data = series(tmp_path, "La_B6_10K_0008.tif", "La_B6_10K_0009.tif", "La_B6_10K_0010.tif")
    report = pack([data], str(tmp_path / "out.h5"), mapping=str(tmp_path / "m.yaml"))
    assert report.notices == []
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["entry/sample/name"].asstr()[()] == "La_B6"
        assert file["entry/sample/temperature"][()] == 10
        assert file["entry/sample/temperature"].dtype == np.float32
        assert file["entry/sample/temperature"].attrs["units"] == "K"
        assert file["entry/header/n"].asstr()[()].tolist() == ["0008", "0009", "0010"]
    restore(str(tmp_path / "out.h5"), str(tmp_path / "back"))
    names = sorted(p.name for p in Path(data).iterdir())
    assert sorted(p.name for p in (tmp_path / "back").rglob("*.tif")) == names
    report = convert([str(tmp_path / "out.h5")], str(tmp_path / "out.csv"), Plan(mapping=str(tmp_path / "m.yaml")))
    assert [n for n in map(str, report.notices) if "left out of the table: data" not in n] == []
    rows = (tmp_path / "out.csv").read_text("utf-8").splitlines()[1:]
    assert [row.rpartition(",")[2] for row in rows] == ["n", "0008", "0009", "0010"]


def test_frames_whose_names_say_nothing_have_no_value(tmp_path: Path) -> None:
    data = series(tmp_path, "a_1.tif", "a_2.tif", "a_33.tif", file="{sample}_3{n:integer}")
    report = pack([data], str(tmp_path / "out.h5"), mapping=str(tmp_path / "m.yaml"))
    assert any("2 of 3 frames are of files whose names are not like '{sample}_3{n" in str(n) for n in report.notices)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["entry/header/n"].attrs["missing_rows"].tolist() == [0, 1]
        assert file["entry/header/n"][2] == 3


def test_two_ways_to_read_a_name_are_seen_before_a_frame_is_packed(tmp_path: Path) -> None:
    data = series(tmp_path, "a_b_1.tif", "a_b_2.tif", file="{sample}_{n}")
    with pytest.raises(InputError, match="can be read as sample=a, n=b_1 and as sample=a_b, n=1"):
        pack([data], str(tmp_path / "out.h5"), mapping=str(tmp_path / "m.yaml"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "m.yaml"]


# the pattern

WORD = st.text("ab_-.0159 é", min_size=1, max_size=8)


@given(st.lists(WORD, min_size=1, max_size=4), st.sampled_from(["_", "-", "_x", "."]))
def test_what_is_read_of_a_name_makes_that_name_again(words: list[str], between: str) -> None:
    names = [f"c{i}" for i in range(len(words))]
    pattern = FilePattern(between.join(f"{{{n}}}" for n in names))
    name = between.join(words)
    ways = ways_by_trial(name, between, len(words))
    if len(ways) > 1:
        with pytest.raises(InputError, match="can be read as"):
            pattern.match(f"{name}.h5")
    else:
        assert pattern.match(f"{name}.h5") == dict(zip(names, words, strict=True))
        assert ways == [tuple(words)]


def ways_by_trial(name: str, between: str, count: int) -> list[tuple[str, ...]]:
    """Return all ways to cut a name, by trying each of them."""
    if count == 1:
        return [(name,)] if name else []
    found = []
    for at in range(1, len(name)):
        if name.startswith(between, at):
            found += [(name[:at], *rest) for rest in ways_by_trial(name[at + len(between) :], between, count - 1)]
    return found


def test_many_ways_that_lead_nowhere_end_soon() -> None:
    pattern = FilePattern("_".join(f"{{c{i}}}" for i in range(12)) + "_{n:integer}")
    assert pattern.match("a" + "_a" * 120 + ".h5") is None


@pytest.mark.parametrize(
    ("pattern", "path", "said"),
    [
        ("{a}_{n:integer}", "x/Fe_007.edf.gz", {"a": "Fe", "n": 7}),
        ("{a}_{n:integer}", "Fe_-3.h5", {"a": "Fe", "n": -3}),
        ("{a}_{n:integer}", "Fe_7b.h5", None),
        ("{a}_{n:integer}", "Fe_" + "9" * 19 + ".h5", None),
        ("{a}_{n:integer}", "Fe_٣.h5", None),
        ("{T:float}K", "1.5e2K.h5", {"T": 150.0}),
        ("{p}/{a}_{n:digits}", "/data/ma123/Fe_007.h5", {"p": "ma123", "a": "Fe", "n": "007"}),
        ("raw/{a}", "/data/ma123/Fe.h5", None),
        ("{a}", "/data/x.y.h5", {"a": "x.y"}),
    ],
)
def test_names_and_what_they_say(pattern: str, path: str, said: dict[str, Any] | None) -> None:
    assert FilePattern(pattern).match(path) == said


# the tools


def test_check_says_where_it_goes_and_what_a_name_says(run, tmp_path: Path) -> None:
    mapping_file(tmp_path, "{sample}_{n:integer}_{who}")
    scan(tmp_path / "Fe_7_me.h5")
    out = run("nxconvert", "mapping", "check", "m.yaml", "--on", "Fe_7_me.h5")
    assert "of a file's name: sample -> sample:NXsample/name\n" in out.stdout
    assert "of a file's name: who -> no rule takes it on import\n" in out.stdout
    assert "the name says sample = Fe, n = 7, who = me\n" in out.stdout
    scan(tmp_path / "else.h5")
    told = json.loads(run("nxconvert", "mapping", "check", "m.yaml", "--on", "else.h5", "--json").stdout)
    assert told["file"] == {
        "pattern": "{sample}_{n:integer}_{who}",
        "fields": {"sample": "sample:NXsample/name", "n": "run", "who": None},
        "says": None,
    }


def test_what_no_rule_takes_of_a_name_is_a_loss_on_import(tmp_path: Path) -> None:
    (tmp_path / "Fe_7_me.csv").write_text("x\n1.5\n")
    plan = Plan(mapping=mapping_file(tmp_path, "{sample}_{n:integer}_{who}"))
    report = convert([str(tmp_path / "Fe_7_me.csv")], str(tmp_path / "out.h5"), plan)
    assert [loss.what for loss in report.losses] == ["who"]


def test_a_trial_takes_it_out_and_back(run, tmp_path: Path) -> None:
    mapping_file(tmp_path)
    scan(tmp_path / "my_LaB6_0007.h5")
    out = run("nxconvert", "mapping", "test", "m.yaml", "my_LaB6_0007.h5")
    assert out.returncode == 0, out.stdout
    assert "the same" in out.stdout


def test_shipped_mappings_take_nothing_of_names() -> None:
    assert compile_text(text_of("series"), "series.yaml").file is None
