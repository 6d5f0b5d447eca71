"""NeXus -> CSV -> NeXus gives back equal values, dtypes, units and names."""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import numpy as np
from conftest import needs_corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nxconvert.conversion import Plan, convert

names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=12).filter(
    lambda s: s.strip(". ") == s and s not in ("title", "x", "y")
)
units = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8))
numbers = st.sampled_from(["f8", "f4", "f2", "i1", "u1", "<i4", ">i4", "u8", "i8", ">f8", "?", "c16"])


@st.composite
def columns(draw: st.DrawFn) -> dict[str, tuple[np.ndarray, str | None]]:
    rows = draw(st.integers(1, 5))
    out: dict[str, tuple[np.ndarray, str | None]] = {}
    for name in draw(st.lists(names, max_size=4, unique_by=str.casefold)):
        length = draw(st.integers(0, rows))
        if draw(st.integers(0, 5)) == 0:
            cells = draw(
                st.lists(
                    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
                    min_size=length,
                    max_size=length,
                )
            )
            array = np.array(cells, dtype=h5py.string_dtype())
        else:
            array = draw(hnp.arrays(np.dtype(draw(numbers)), length))
        out[name] = (array, draw(units))
    out["x"] = (np.arange(rows, dtype=np.float64), "mm")
    out["y"] = (draw(hnp.arrays(np.float64, rows)), "counts")
    return out


@given(columns(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nxdata_comes_back(fields: dict[str, tuple[np.ndarray, str | None]], title: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        a, table, b = Path(folder) / "a.h5", Path(folder) / "t.csv", Path(folder) / "b.h5"
        with h5py.File(a, "w") as f:
            f.create_group("entry").attrs["NX_class"] = "NXentry"
            f["entry/title"] = title
            data = f.create_group("entry/data")
            data.attrs.update({"NX_class": "NXdata", "signal": "y", "axes": "x"})
            for name, (array, unit) in fields.items():
                data[name] = array
                if unit is not None:
                    data[name].attrs["units"] = unit
        convert([str(a)], str(table))
        convert([str(table)], str(b))
        with h5py.File(a) as f, h5py.File(b) as g:
            assert g["entry/title"].asstr()[()] == title
            assert g["entry/data"].attrs["signal"] == "y"
            assert set(g["entry/data"]) == set(f["entry/data"])
            for name in f["entry/data"]:
                same(f["entry/data"][name], g["entry/data"][name])


def same(a: h5py.Dataset, b: h5py.Dataset) -> None:
    assert (a.shape, a.dtype) == (b.shape, b.dtype), a.name
    assert h5py.check_string_dtype(a.dtype) == h5py.check_string_dtype(b.dtype)
    assert dict(a.attrs) == dict(b.attrs)
    x, y = a[()], b[()]
    if a.dtype.kind in "fc":
        assert np.array_equal(np.isnan(x), np.isnan(y))
        x, y = np.nan_to_num(x, nan=0, posinf=None), np.nan_to_num(y, nan=0, posinf=None)
    assert x.tobytes() == y.tobytes() if a.dtype != object else np.array_equal(x, y), a.name


@needs_corpus
def test_fe_foil_comes_back_bit_by_bit(corpus: Path, tmp_path: Path) -> None:
    """20 scans of a real file, 4,510 datasets: values, dtypes, kinds of text, units."""
    source = corpus / "bliss/Fe_foil_0001/Fe_foil_0001.h5"
    report = convert([str(source)], f"{tmp_path}/out/", Plan(to_format="csv"))
    assert len(report.outputs) == 20
    assert not report.failed
    assert not report.losses
    convert(report.outputs, str(tmp_path / "back.h5"))
    count = 0
    with h5py.File(source) as f, h5py.File(tmp_path / "back.h5") as g:
        for scan in f:
            for group in ("measurement", "instrument/positioners", "instrument/positioners_start"):
                assert set(f[scan][group]) == set(g[scan][group])
                for name in f[scan][group]:
                    same(f[scan][group][name], g[scan][group][name])
                    count += 1
            for name in ("title", "start_time", "end_time", "sample/name"):
                same(f[scan][name], g[scan][name])
                count += 1
    assert count > 4500
