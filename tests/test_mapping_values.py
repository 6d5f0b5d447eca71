"""What rules state of values: guards, dtype, units, scale, names of numbers, constants; out and back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nxconvert.array import Values
from nxconvert.conversion import Plan, convert
from nxconvert.errors import InputError
from nxconvert.format import Report
from nxconvert.mapping import Rule
from nxconvert.mapping.load import compile_text
from nxconvert.mapping.stated import exported, imported
from nxconvert.record import Field
from nxconvert.trial import out_and_back

HEAD = 'nxconvert: 1\nname: mine\nrecord: [scan]\nunder: "/{scan=s1:NXentry}"\nrules:\n'


def write(path: Path, **datasets: Any) -> Path:
    """Write an entry; a value may be a pair with its units."""
    with h5py.File(path, "w") as file:
        entry = file.create_group("s1")
        entry.attrs["NX_class"] = "NXentry"
        for name, value in datasets.items():
            values, units = value if isinstance(value, tuple) else (value, "")
            entry[name] = values
            if units:
                entry[name].attrs["units"] = units
    return path


def both_ways(tmp_path: Path, rules: str, **datasets: Any) -> tuple[str, h5py.File, Report]:
    """Convert to CSV and back; return the text, the file that came back and the report."""
    (tmp_path / "m.yaml").write_text(HEAD + rules, "utf-8")
    data = write(tmp_path / "a.h5", **datasets)
    plan, report = Plan(mapping=str(tmp_path / "m.yaml"), overwrite=True), Report()
    convert([str(data)], str(tmp_path / "a.csv"), plan, report)
    convert([str(tmp_path / "a.csv")], str(tmp_path / "b.h5"), plan, report)
    assert report.failed == []
    return (tmp_path / "a.csv").read_text("utf-8"), h5py.File(tmp_path / "b.h5"), report


def columns(text: str) -> list[list[str]]:
    lines = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    return lines[1:]


def test_units_are_converted_and_come_back(tmp_path: Path) -> None:
    rules = "  - {tree: angle, field: angle, each: row, units: {tree: rad, field: deg}}\n"
    text, back, report = both_ways(tmp_path, rules, angle=([0.0, math.pi / 2, math.pi], "rad"))
    with back:
        assert [float(row[0]) for row in columns(text)] == [0.0, 90.0, 180.0]
        assert "deg" in text
        assert back["s1/angle"].attrs["units"] == "rad"
        np.testing.assert_allclose(back["s1/angle"][()], [0.0, math.pi / 2, math.pi], rtol=5e-16)
    assert any("converted from rad to deg: exact to 2 ulp" in n for n in report.remarks)
    assert report.notices == []  # --strict does not mind what the mapping states


def test_units_that_are_the_same_cost_no_bit(tmp_path: Path) -> None:
    rules = '  - {tree: "{c}", field: "{c}", each: row, units: mm}\n'
    _, back, report = both_ways(tmp_path, rules, x=([0.1, 0.2], "mm"), y=([1.0, 2.5], "m"), z=([1, 2], "millimeter"))
    with back:
        assert back["s1/x"][()].tolist() == [0.1, 0.2]
        assert back["s1/y"][()].tolist() == [1000.0, 2500.0]
        assert back["s1/z"].dtype == np.int64
        assert {back[f"s1/{n}"].attrs["units"] for n in "xyz"} == {"mm"}
    assert len(report.remarks) == 1


def test_units_of_another_quantity_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(HEAD + "  - {tree: x, field: x, units: mm}\n")
    data = write(tmp_path / "a.h5", x=([1.0], "deg"))
    report = convert([str(data)], str(tmp_path / "a.csv"), Plan(mapping=str(tmp_path / "m.yaml")))
    assert "deg cannot be converted to mm: they measure different things" in str(report.failed[0][1])
    assert not (tmp_path / "a.csv").exists()


def test_scaled_integers_come_back_as_they_were(tmp_path: Path) -> None:
    rules = "  - {tree: t, field: t, each: row, scale: 0.1, offset: -20, dtype: int16}\n"
    values = np.array([0, 1, -32768, 32767, 7], dtype=np.int16)
    text, back, _ = both_ways(tmp_path, rules, t=values)
    with back:
        assert float(columns(text)[4][0]) == pytest.approx(-19.3)
        assert back["s1/t"].dtype == np.int16
        assert back["s1/t"][()].tolist() == values.tolist()


def test_a_value_that_is_no_such_integer_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(HEAD + "  - {tree: n, field: n, each: row, dtype: int16}\n")
    (tmp_path / "a.csv").write_text("n\n1\n70000\n")
    report = convert([str(tmp_path / "a.csv")], str(tmp_path / "b.h5"), Plan(mapping=str(tmp_path / "m.yaml")))
    assert "n has 70000, which is no int16" in str(report.failed[0][1])
    assert not (tmp_path / "b.h5").exists()


def test_numbers_have_names(tmp_path: Path) -> None:
    rules = "  - {tree: image_key, field: role, each: row, dtype: uint8, values: {projection: 0, flat: 1, dark: 2}}\n"
    text, back, report = both_ways(tmp_path, rules, image_key=np.array([2, 1, 0, 0], dtype=np.uint8))
    with back:
        assert [row[0] for row in columns(text)] == ["dark", "flat", "projection", "projection"]
        assert back["s1/image_key"].dtype == np.uint8
        assert back["s1/image_key"][()].tolist() == [2, 1, 0, 0]
    assert report.notices == []


def test_a_number_or_a_name_that_is_not_listed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        HEAD + "  - {tree: key, field: role, each: row, values: {flat: 1, dark: 2}}\n  - {tree: i, field: i}\n"
    )
    plan = Plan(mapping=str(tmp_path / "m.yaml"))
    report = convert([str(write(tmp_path / "a.h5", key=[1, 3]))], str(tmp_path / "a.csv"), plan)
    assert "3 has no name in values:" in str(report.failed[0][1])
    (tmp_path / "b.csv").write_text("i,role\n0,flat\n1,drak\n")
    report = convert([str(tmp_path / "b.csv")], str(tmp_path / "b.h5"), plan)
    error = report.failed[0][1]
    assert isinstance(error, InputError)
    assert "'drak' is not one of the values: of role" in error.message
    assert error.tip == "did you mean 'dark'?"


def test_constants_are_written_and_checked(tmp_path: Path) -> None:
    rules = (
        "  - {tree: definition, constant: NXmine}\n"
        "  - {tree: number, constant: 3, dtype: int32}\n"
        '  - {tree: "detector:NXdetector/distance", constant: 0.5, units: m}\n'
        '  - {tree: "detector:NXdetector/@kind", constant: true}\n'
        "  - {tree: x, field: x, each: row}\n"
    )
    _, back, report = both_ways(tmp_path, rules, x=[1.0, 2.0], definition="NXmine", number=4)
    with back:
        assert back["s1/definition"].asstr()[()] == "NXmine"
        assert back["s1/number"].dtype == np.int32
        assert back["s1/number"][()] == 3
        assert back["s1/detector/distance"][()] == 0.5
        assert back["s1/detector/distance"].attrs["units"] == "m"
        assert back["s1/detector"].attrs["kind"]
    assert len(report.notices) == 1
    assert "/s1/number is not 3" in str(report.notices[0])
    told = out_and_back(str(tmp_path / "m.yaml"), str(tmp_path / "a.h5"))
    assert [(d.where, d.kind) for d in told.differences] == [("/s1/number", "constant")]


def test_constants_may_be_lists(tmp_path: Path) -> None:
    rules = (
        "  - {tree: origin, constant: [0, 0], dtype: int32}\n"
        "  - {tree: offset, constant: [0, 0.5, 1], units: mm}\n"
        "  - {tree: parts, constant: [gas, liquid]}\n"
        '  - {tree: "detector:NXdetector/@vector", constant: [0, 0, -1]}\n'
        '  - {tree: "x/@vector", constant: [1, 0, 0]}\n'
        '  - {tree: "x/@names", constant: [a, b]}\n'
        "  - {tree: x, field: x, each: row}\n"
    )
    given = {"origin": np.zeros(2, "u1"), "offset": [0, 0.5, 2], "parts": "gas"}
    _, back, report = both_ways(tmp_path, rules, x=[1.0, 2.0], **given)
    with back:
        assert (back["s1/origin"].dtype, back["s1/origin"][()].tolist()) == (np.int32, [0, 0])
        assert (back["s1/offset"].dtype, back["s1/offset"][()].tolist()) == (np.float64, [0, 0.5, 1])
        assert back["s1/offset"].attrs["units"] == "mm"
        assert back["s1/parts"].asstr()[()].tolist() == ["gas", "liquid"]
        assert back["s1/detector"].attrs["vector"].tolist() == [0, 0, -1]
        assert back["s1/x"].attrs["vector"].dtype == np.int64
        assert back["s1/x"].attrs["vector"].tolist() == [1, 0, 0]
        assert back["s1/x"].attrs["names"].tolist() == ["a", "b"]
    told = [str(n) for n in report.notices]
    assert len(told) == 2
    assert "/s1/offset is not [0, 0.5, 1], as" in told[0], "the values differ"
    assert "/s1/parts is not ['gas', 'liquid'], as" in told[1], "one of two is not both"
    (tmp_path / "b.h5").rename(tmp_path / "c.h5")
    assert out_and_back(str(tmp_path / "m.yaml"), str(tmp_path / "c.h5")).differences == []


def test_a_constant_attribute_of_what_is_not_there_is_not_written(tmp_path: Path) -> None:
    rules = (
        "  - {tree: x, field: x, each: row}\n"
        "  - {tree: y, field: y, each: row}\n"
        '  - {tree: "sample:NXsample/{c}", field: "sample/{c}", each: record}\n'
        '  - {tree: "y/@vector", constant: [1, 0, 0]}\n'
        '  - {tree: "sample:NXsample/tilt/@vector", constant: [0, 1, 0]}\n'
    )
    _, back, _ = both_ways(tmp_path, rules, x=[1.0, 2.0])
    with back:
        assert list(back["s1"]) == ["x"]


def test_guards_share_a_path(tmp_path: Path) -> None:
    rules = (
        '  - {tree: "{c}", field: "{c}", each: row, rank: 1}\n'
        '  - {tree: "{c}", field: "note/{c}", each: record, dtype: text}\n'
        '  - {tree: "{c}", field: "header/{c}", each: record, dtype: number, rank: 0}\n'
    )
    _, back, _ = both_ways(tmp_path, rules, x=[1.0, 2.0], title="a", n=3, m=[[1, 2], [3, 4]])
    with back:
        assert set(back["s1"]) == {"x", "title", "n"}
        assert back["s1/n"].dtype == np.int64
    told = out_and_back(str(tmp_path / "m.yaml"), str(tmp_path / "a.h5"))
    assert told.differences == []
    assert told.fields == 3


@pytest.mark.parametrize(
    "stated", ["scale: 0.1, offset: 3", "units: {tree: rad, field: deg}", "scale: 3, units: {tree: mm, field: m}"]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_trial_lets_two_ulp_pass(stated: str, dtype: type, tmp_path: Path) -> None:
    unit = "rad" if "rad" in stated else "mm" if "mm" in stated else ""
    (tmp_path / "m.yaml").write_text(HEAD + f"  - {{tree: x, field: x, each: row, {stated}}}\n")
    data = write(tmp_path / "a.h5", x=(np.linspace(0.1, 7, 500, dtype=dtype), unit))
    told = out_and_back(str(tmp_path / "m.yaml"), str(data))
    assert told.differences == []
    assert any("exact to 2 ulp" in n for n in told.notices)


def test_the_trial_says_that_a_dtype_must_be_stated(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(HEAD + "  - {tree: x, field: x, each: row, scale: 0.1}\n")
    told = out_and_back(str(tmp_path / "m.yaml"), str(write(tmp_path / "a.h5", x=np.arange(3, dtype=np.int32))))
    assert [str(d.kind) for d in told.differences] == ["type"]
    assert told.differences[0].note == "state dtype: int32"


def rule(stated: str) -> Rule:
    return compile_text(HEAD + f"  - {{tree: x, field: x, each: row, {stated}}}\n", "m.yaml").rules[0]


def test_integers_that_arithmetic_would_round_are_an_error() -> None:
    there = exported(
        rule("scale: 0.5, dtype: int64"), Field("x", Values(np.array([2**53 + 1])), per_row=True), Report()
    )
    with pytest.raises(InputError, match="beyond 2"):
        there.values.read()


def test_what_is_missing_is_not_looked_at() -> None:
    made = rule("values: {dark: 2}")
    f = Field("x", Values(np.array([2, 99])), per_row=True, mask=Values(np.array([False, True])))
    there = exported(made, f, Report())
    assert there.values.read().tolist() == ["dark", ""]
    assert imported(made, there, Report()).values.read().tolist() == [2, 0]


NUMBERS = st.floats(-1e9, 1e9).filter(lambda v: v == 0 or abs(v) > 1e-9)
UNITS = [("rad", "deg"), ("mm", "m"), ("m", "mm"), ("eV", "keV"), ("angstrom", "nm"), ("s", "min"), ("um", "inch")]


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, st.integers(1, 5), elements=NUMBERS), st.sampled_from(UNITS))
def test_units_out_and_back_within_two_ulp(values: np.ndarray, units: tuple[str, str]) -> None:
    made = rule(f"units: {{tree: {units[0]}, field: {units[1]}}}")
    there = exported(made, Field("x", Values(values), per_row=True, attrs={"units": units[0]}), Report())
    assert there.units == units[1]
    back = imported(made, there, Report())
    assert back.units == units[0]
    assert np.all(np.abs(back.values.read() - values) <= 2 * np.spacing(np.abs(values)))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int32, st.integers(1, 5)),
    st.floats(1e-3, 1e3),
    st.floats(-1e3, 1e3),
)
def test_scaled_integers_out_and_back_exactly(values: np.ndarray, scale: float, offset: float) -> None:
    made = rule(f"dtype: int32, scale: {scale!r}, offset: {offset!r}")
    there = exported(made, Field("x", Values(values), per_row=True), Report())
    back = imported(made, there, Report()).values.read()
    assert back.dtype == np.int32
    assert np.array_equal(back, values)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(st.sampled_from([np.uint8, np.int16, np.uint32, np.float32]), st.integers(1, 5)))
def test_a_dtype_is_exact_or_an_error(values: np.ndarray) -> None:
    for dtype in ("int8", "uint16", "int64", "uint64", "float32", "float64"):
        try:
            back = imported(rule(f"dtype: {dtype}"), Field("x", Values(values), per_row=True), Report()).values.read()
        except InputError:
            continue
        assert back.dtype == np.dtype(dtype)
        assert all(a == b or (a != a and b != b) for a, b in zip(values.tolist(), back.tolist(), strict=True))


def test_what_is_absent_may_follow_from_other_fields(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        HEAD + "  - {tree: frames, field: data, each: row}\n"
        "  - {tree: pixel, field: pixel, each: record, units: {tree: um, field: mm}}\n"
        "  - {tree: size, field: size, each: record, dtype: int32, absent: {shape: data}}\n"
        "  - {tree: origin, field: origin, each: record, absent: {origin: data}}\n"
        "  - {tree: width, field: width, each: record, absent: {field: pixel}}\n"
        "  - {tree: metres, field: metres, each: record, units: m, absent: {field: pixel}}\n"
        "  - {tree: axis, field: axis, each: record, absent: [0, 0.5, 1]}\n"
        "  - {tree: parts, field: parts, each: record, absent: [a, b]}\n"
        "  - {tree: gone, field: gone, each: record, absent: {shape: nothing}}\n"
        "  - {tree: rows, field: rows, each: record, absent: {field: data}}\n"
        '  - {tree: "frames/@size", field: size_of_frames, each: record, absent: {shape: data}}\n'
        '  - {tree: "frames/@gone", field: gone_of_frames, each: record, absent: {field: nothing}}\n',
        "utf-8",
    )
    plan, report = Plan(mapping=str(tmp_path / "m.yaml")), Report()
    with h5py.File(write(tmp_path / "a.h5", frames=np.zeros((4, 2, 3), "u2"), pixel=(75.0, "um")), "a") as file:
        file["s1/frames"].attrs["interpretation"] = "image"
    convert([str(tmp_path / "a.h5")], str(tmp_path / "a.tif"), plan, report)
    convert([str(tmp_path / "a.tif")], str(tmp_path / "b.h5"), plan, report)
    assert (report.failed, report.losses) == ([], [])
    with h5py.File(tmp_path / "b.h5") as file:
        entry = file["s1"]
        assert sorted(entry) == ["axis", "frames", "metres", "origin", "parts", "pixel", "size", "width"]
        assert (entry["size"].dtype, entry["size"][()].tolist()) == (np.int32, [2, 3])
        assert entry["origin"][()].tolist() == [0, 0]
        assert (entry["width"][()], entry["width"].attrs["units"]) == (75.0, "um")
        assert (entry["metres"][()], entry["metres"].attrs["units"]) == (pytest.approx(75e-6), "m")
        assert entry["axis"][()].tolist() == [0, 0.5, 1]
        assert entry["parts"].asstr()[()].tolist() == ["a", "b"]
        assert entry["frames"].attrs["size"].tolist() == [2, 3]
        assert "gone" not in entry["frames"].attrs
    assert out_and_back(str(tmp_path / "m.yaml"), str(tmp_path / "b.h5")).differences == []


def test_what_a_record_has_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        HEAD + "  - {tree: x, field: x, each: row}\n  - {tree: n, field: n, each: record, absent: [0, 0]}\n"
    )
    (tmp_path / "a.csv").write_text("# n: 3\nx\n1\n2\n")
    convert([str(tmp_path / "a.csv")], str(tmp_path / "a.h5"), Plan(mapping=str(tmp_path / "m.yaml")))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["s1/n"][()] == 3
