"""A record to a pandas DataFrame and back: values, dtypes, missing values, units, header, key, roles."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nxconvert.array import TEXT, Values
from nxconvert.comparison import record_differences
from nxconvert.errors import InputError
from nxconvert.format import Holds
from nxconvert.record import Field, Record, by_name, plain
from nxconvert.testing import grid_records, records

TABLE = Holds(item_rank=0, kinds="biufcS")


def differences(a: Record, b: Record) -> list[str]:
    return [str(d) for d in record_differences(a, b)]


@given(records(TABLE))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_record_comes_back(record: Record) -> None:
    assert differences(record, Record.from_pandas(record.to_pandas())) == []


@given(grid_records(TABLE))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_grid_comes_back(record: Record) -> None:
    back = Record.from_pandas(record.to_pandas())
    assert back.grid
    assert differences(record, back) == []


@given(records(TABLE))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_attrs_are_plain_values(record: Record) -> None:
    """``pandas.concat`` compares attrs, ``to_parquet`` writes them as JSON."""
    frame = record.to_pandas()
    assert json.loads(json.dumps(frame.attrs)).keys() == frame.attrs.keys()
    if len(frame.columns):
        pd.concat([frame, frame])


def record(**columns: Any) -> Record:
    return Record({"scan": "1.1"}, by_name([Field(n, Values(v), per_row=True) for n, v in columns.items()]))


def test_what_pandas_gets() -> None:
    fields = [
        Field("x", Values(np.array([1.0, 2.0, 3.0])), per_row=True, attrs={"units": "mm"}),
        Field("n", Values(np.array([1, 2], np.int16)), per_row=True),
        Field("nan", Values(np.array([np.nan, 0.0, 2.0])), True, mask=Values(np.array([False, True, False]))),
        Field("ok", Values(np.array([True, False, True])), True, mask=Values(np.array([False, False, True]))),
        Field("who", Values(["a", "b"]), per_row=True),
        Field("big", Values(np.array([1, 2, 3], ">i4")), per_row=True),
        Field("image", Values(np.zeros((3, 2, 2))), per_row=True),
        Field("title", Values("a scan")),
        Field("motor/th", Values(np.float32(0.1)), attrs={"units": "deg"}),
        Field("gains", Values(np.arange(3))),
    ]
    frame = Record({"scan": "1.1"}, by_name(fields)).to_pandas()
    kinds = {"x": "float64", "n": "Int16", "nan": "Float64", "ok": "boolean", "who": "object", "big": "int32"}
    assert {n: str(t) for n, t in frame.dtypes.items()} == kinds
    assert frame["n"].isna().tolist() == [False, False, True]
    assert frame["nan"].isna().tolist() == [False, True, False]
    assert np.isnan(frame["nan"].to_numpy(dtype=float, na_value=0.0)[0])
    assert frame["who"].tolist() == ["a", "b", pd.NA]
    assert frame.attrs["key"] == {"scan": "1.1"}
    assert frame.attrs["units"] == {"x": "mm", "motor/th": "deg"}
    assert frame.attrs["header"] == {"title": "a scan", "motor/th": float(np.float32(0.1)), "gains": [0, 1, 2]}
    assert frame.attrs["left_out"] == ["image"]


def test_a_frame_of_nobody_but_pandas() -> None:
    frame = pd.DataFrame(
        {
            "int": pd.array([1, None, 3], dtype="Int32"),
            "float": [1.5, np.nan, 2.5],
            "text": ["a", None, "c"],
            "string": pd.array(["a", None, "c"], dtype="string"),
            "kind": pd.Categorical(["hot", "cold", "hot"]),
            "flag": pd.array([True, None, False], dtype="boolean"),
            7: [1, 2, 3],
        },
        index=pd.Index([10, 20, 30], name="point"),
    )
    frame.attrs = {"units": {"float": "mm"}, "header": {"title": "t", "range": np.array([0.0, 1.0])}}
    made = Record.from_pandas(frame)
    assert list(made.fields) == ["point", "int", "float", "text", "string", "kind", "flag", "7", "title", "range"]
    missing = {n: f.mask.read().tolist() for n, f in made.fields.items() if f.mask is not None}
    assert missing == {n: [False, True, False] for n in ("int", "text", "string", "flag")}
    assert {n: f.dtype for n, f in made.fields.items() if f.dtype != object} == {
        "point": np.int64,
        "int": np.int32,
        "float": np.float64,
        "flag": np.bool_,
        "7": np.int64,
        "range": np.float64,
    }
    assert made.fields["text"].dtype.metadata == made.fields["kind"].dtype.metadata == TEXT.metadata
    assert made.fields["float"].units == "mm"
    assert np.isnan(made.fields["float"].values.read()[1])
    assert plain(made.fields["title"].values) == "t"
    assert made.key == {}


def test_a_changed_column_keeps_its_new_type() -> None:
    frame = record(n=np.arange(3, dtype=np.int16), who=np.array([b"ab", b"c", b"d"])).to_pandas()
    frame["n"] = frame["n"] / 2
    frame.loc[1, "who"] = "longer"
    frame.attrs["units"]["n"] = "mm"
    made = Record.from_pandas(frame)
    assert made.fields["n"].dtype == np.float64
    assert made.fields["n"].values.read().tolist() == [0.0, 0.5, 1.0]
    assert made.fields["n"].units == "mm"
    assert made.fields["who"].values.read().tolist() == ["ab", "longer", "d"]


def test_fewer_rows_are_no_grid() -> None:
    grid = {"shape": [2, 2], "spans": {"x": [0, 1]}}
    whole = Record({}, by_name([Field("x", Values(np.arange(4.0)), per_row=True)]), grid=grid)
    frame = whole.to_pandas()
    assert Record.from_pandas(frame).grid == grid
    assert Record.from_pandas(frame[frame["x"] > 1]).grid is None


@pytest.mark.parametrize("column", [pd.to_datetime(["2026-01-01"]), [pd.Timedelta("1s")], [object()], [["a", 1]]])
def test_a_column_that_is_no_field_is_refused(column: Any) -> None:
    with pytest.raises(InputError, match="the column 'c' holds"):
        Record.from_pandas(pd.DataFrame({"c": column}))


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two fields are named"):
        Record.from_pandas(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_what_attrs_cannot_hold_is_said() -> None:
    odd = Field("odd", Values(np.zeros((), [("a", "f4")])))
    with pytest.warns(UserWarning, match="odd is not in the DataFrame"):
        frame = Record({}, by_name([odd, Field("x", Values([1.0]), per_row=True)])).to_pandas()
    assert "odd" not in frame.attrs["header"]


@given(st.integers(0, 3))
def test_no_columns_still_have_rows(rows: int) -> None:
    frame = record(image=np.zeros((rows, 2, 2))).to_pandas()
    assert frame.shape == (rows, 0)


@pytest.mark.parametrize("dtype", ["f2", "f4", "c8"])
def test_nan_beside_a_missing_value_stays_a_number(dtype: str) -> None:
    values = np.array([np.nan, 2, 3], dtype)
    column = Field("a", Values(values), per_row=True, mask=Values(np.array([False, True, False])))
    record = Record({}, {"a": column})
    assert differences(record, Record.from_pandas(record.to_pandas())) == []
