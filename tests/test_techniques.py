"""The mappings of techniques: trees and text go out and come back, exactly, and what they write is what others read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import needs_corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nxconvert import registry
from nxconvert.array import Values, decode, is_text
from nxconvert.conversion import Plan, convert, open_records
from nxconvert.errors import NxconvertError
from nxconvert.format import Policy, Report, Tree
from nxconvert.location import Location
from nxconvert.mapping import shipped_names
from nxconvert.mapping.check import chosen, obstacles
from nxconvert.mapping.load import compile_text, text_of
from nxconvert.record import Record
from nxconvert.trial import out_and_back
from nxconvert.validation import validate

TECHNIQUES = ("nxxas", "nxcansas", "nxazint1d", "nxmx", "spec")
XDI = """\
# XDI/1.0 GSE/1.0
# Column.1: energy eV
# Column.2: i0
# Column.3: itrans
# Column.4: mutrans
# Element.symbol: Fe
# Element.edge: K
# Scan.edge_energy: 7112.0
# Mono.name: Si 111
# Mono.d_spacing: 3.13553
# Facility.name: APS
# Facility.xray_source: undulator
# Facility.energy: 7.00 GeV
# Beamline.name: 13ID
# Scan.start_time: 2001-06-26T22:27:31
# Sample.name: iron foil
# Sample.prep: rolled
# ///
# room temperature
# ---
# energy i0 itrans mutrans
 7100.0 1000.0 904.8374180359595 0.1
 7112.3 1001.5 818.7307530779818 0.2
 7125.0 1002.0 740.8182206817179 0.30000000000000004
"""


def records(path: Path, mapping: str = "auto") -> list[Record]:
    with open_records(Location(str(path)), Plan(mapping=mapping), Report()) as found:
        return [
            r.with_fields([replace(f, values=Values(f.values.read(), f.dtype)) for f in r.fields.values()])
            for r in found
        ]


def go(source: Path, target: Path, mapping: str = "auto", **options: Any) -> Report:
    """Convert, and raise what went wrong."""
    report = convert([str(source)], str(target), Plan(mapping=mapping, overwrite=True, options=options))
    if report.failed:
        raise report.failed[0][1]
    assert not report.losses
    return report


def assert_same(a: Record, b: Record, added: tuple[str, ...] = (), units: tuple[str, ...] = ()) -> None:
    """Compare two records bit by bit; ``added`` are header values, ``units`` fields whose units are, that B may add."""
    assert [*a.fields] == [n for n in a.fields if n in b.fields], "nothing is missing"
    assert set(b.fields) - set(a.fields) <= set(added)
    for name, f in a.fields.items():
        other = b.fields[name]
        assert (f.per_row, f.shape) == (other.per_row, other.shape), name
        x, y = f.values.read(), other.values.read()
        if is_text(f.dtype):
            assert decode(x).tolist() == decode(y).tolist(), name
        else:
            assert f.dtype == other.dtype, name
            assert x.tobytes() == y.tobytes(), name
        assert f.units == other.units or name in units, name


def wrong(path: Path) -> list[str]:
    """Say what programs would stumble over."""
    return [str(p) for p in validate(path).problems if p.grave]


def values_of(path: Path, where: str) -> Any:
    with h5py.File(path) as f:
        found = f[where][()]
        return found.decode() if isinstance(found, bytes) else found


def group(parent: h5py.Group, name: str, nx_class: str, **attrs: Any) -> h5py.Group:
    made = parent.create_group(name)
    made.attrs["NX_class"] = nx_class
    made.attrs.update(attrs)
    return made


def dataset(parent: h5py.Group, name: str, values: Any, units: str = "", **attrs: Any) -> h5py.Dataset:
    parent[name] = values
    if units:
        parent[name].attrs["units"] = units
    parent[name].attrs.update(attrs)
    return parent[name]


def floats(dtype: str = "f8") -> np.ndarray:
    """Numbers whose last bits matter."""
    return np.array([1 / 3, np.pi, 2.5e-7, 1e21], dtype=dtype)


# -- the mappings themselves


@pytest.mark.parametrize("name", TECHNIQUES)
def test_it_is_right_and_goes_both_ways(name: str) -> None:
    """Shipped mappings are loaded unchecked, so this checks them; roles of a plot come back at the places of others."""
    assert name in shipped_names()
    layout = compile_text(text_of(name), name)
    assert [o.why for o in obstacles(layout) if not o.elsewhere] == []


def chooses(path: Path) -> str:
    place = Location(str(path))
    format = registry.detect(place, registry.head(place))
    assert format.open is not None
    with format.open(place, Policy(), Report()) as source:
        assert isinstance(source, Tree)
        layout = chosen(source, Report())
    return layout.name if layout else ""


# -- X-ray absorption


def nxxas(path: Path, dtype: str = "f8", *, name: str = "intensity") -> Path:
    """Write a spectrum as the definition has it."""
    with h5py.File(path, "w") as f:
        entry = group(f, "Fe_foil", "NXentry", default="plot")
        dataset(entry, "definition", "NXxas")
        dataset(entry, "is_experimental", np.bool_(True))
        dataset(entry, "energy", np.linspace(7e3, 7.4e3, 4).astype(dtype), "eV")
        dataset(entry, "intensity", floats(dtype))
        group(entry, "element", "NXelement")
        dataset(entry["element"], "symbol", "Fe")
        dataset(entry["element"], "name", "iron")
        dataset(group(entry, "edge", "NXabsorption_edge"), "name", "K")
        dataset(group(entry, "sample", "NXsample"), "name", "iron foil")
        mono = group(group(entry, "instrument", "NXinstrument"), "monochromator", "NXmonochromator")
        dataset(group(mono, "crystal", "NXcrystal"), "d_spacing", 3.13553, "angstrom")
        dataset(group(entry["instrument"], "i0", "NXdetector"), "data", np.arange(4, dtype="u4"))
        plot = group(entry, "plot", "NXdata", signal=name, axes=["energy"])
        plot["energy"] = entry["energy"]
        plot[name] = entry["intensity"]
    return path


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_nxxas_goes_to_xdi_and_back(tmp_path: Path, dtype: str) -> None:
    source = nxxas(tmp_path / "a.h5", dtype)
    assert chooses(source) == "nxxas"
    assert out_and_back("nxxas", str(source)).differences == []
    go(source, tmp_path / "a.xdi", "nxxas")
    header, labels, rows = spectrum_of(tmp_path / "a.xdi")
    assert labels == ["energy", "intensity", "i0"]
    assert (header["element.symbol"], header["element.edge"], header["column.1"]) == ("Fe", "K", "energy eV")
    assert rows[:, 1].astype(dtype).tobytes() == floats(dtype).tobytes()
    go(tmp_path / "a.xdi", tmp_path / "b.h5")
    with h5py.File(source) as a, h5py.File(tmp_path / "b.h5") as b:
        for where in ("energy", "intensity", "instrument/i0/data", "element/symbol", "element/name", "edge/name"):
            one, other = a["Fe_foil"][where], b["Fe_foil"][where]
            assert one.dtype == other.dtype or one.dtype.kind == "O"
            assert np.asarray(one[()]).tolist() == np.asarray(other[()]).tolist()
            assert one.attrs.get("units") == other.attrs.get("units")
    assert wrong(tmp_path / "b.h5") == []


def test_xdi_becomes_valid_nxxas_and_the_same_xdi_again(tmp_path: Path) -> None:
    (tmp_path / "a.xdi").write_text(XDI)
    go(tmp_path / "a.xdi", tmp_path / "a.h5", "nxxas")
    assert wrong(tmp_path / "a.h5") == []
    with h5py.File(tmp_path / "a.h5") as f:
        entry = f["entry"]
        assert entry["intensity"] == entry["columns/mutrans"] == entry["data/mutrans"], "one dataset, by its names"
        assert entry["data"].attrs["signal"] == "mutrans"
        assert entry["element/symbol"][()] == entry["element/name"][()] == b"Fe"
        assert entry["definition"][()] == b"NXxas"
        assert entry["sample/name"][()] == b"iron foil"
        assert entry["instrument/source/name"][()] == b"APS"
        crystal = entry["instrument/monochromator/crystal/d_spacing"]
        assert (crystal[()], crystal.attrs["units"]) == (3.13553, "angstrom")
        assert (entry["edge/energy"][()], entry["edge/energy"].attrs["units"]) == (7112.0, "eV")
    go(tmp_path / "a.h5", tmp_path / "b.xdi", "nxxas")
    (a,), (b,) = records(tmp_path / "a.xdi"), records(tmp_path / "b.xdi")
    assert_same(a, b, ("definition", "is_experimental"), ("Mono.d_spacing", "Scan.edge_energy"))
    ours, theirs = spectrum_of(tmp_path / "b.xdi"), spectrum_of(tmp_path / "a.xdi")
    assert theirs[0].items() - ours[0].items() <= {("column.2", "i0"), ("column.3", "itrans"), ("column.4", "mutrans")}
    assert sorted(ours[1]) == sorted(theirs[1])


@pytest.mark.parametrize("time", ["2001-06-26T22:27:31", "2001-06-26T22:27:31+02:00", "2001-06-26T22:27:31.5Z"])
def test_times_get_no_zone_and_lose_none(time: str, tmp_path: Path) -> None:
    (tmp_path / "a.xdi").write_text(XDI.replace("2001-06-26T22:27:31", f"{time}\n# Scan.end_time: {time}"))
    go(tmp_path / "a.xdi", tmp_path / "a.h5", "nxxas")
    assert values_of(tmp_path / "a.h5", "entry/start_time") == values_of(tmp_path / "a.h5", "entry/end_time") == time
    go(tmp_path / "a.h5", tmp_path / "b.xdi", "nxxas")
    header, _, _ = spectrum_of(tmp_path / "b.xdi")
    assert header["scan.start_time"] == header["scan.end_time"] == time


def test_several_spectra_are_kept_apart(tmp_path: Path) -> None:
    with h5py.File(nxxas(tmp_path / "a.h5"), "a") as f:
        entry = f["Fe_foil"]
        del entry["intensity"], entry["plot"]["intensity"]
        dataset(entry, "intensity", np.arange(12.0).reshape(3, 4))
        dataset(entry["sample"], "temperature", [10.0, 20.0, 30.0], "K")
        plot = entry["plot"]
        plot.attrs.update({"axes": ["temperature", "energy"], "temperature_indices": 0, "energy_indices": 1})
        plot["intensity"], plot["temperature"] = entry["intensity"], entry["sample/temperature"]
        del entry["instrument/i0"]
    assert out_and_back("nxxas", str(tmp_path / "a.h5")).differences == []
    report = go(tmp_path / "a.h5", tmp_path / "a.xdi")
    assert any("3 spectra" in str(n) for n in report.notices)
    header, labels, rows = spectrum_of(tmp_path / "a.xdi")
    assert (header["element.symbol"], labels) == ("Fe", ["energy", "temperature", "intensity"])
    assert rows[:, 1:].tolist() == [[10.0 * (1 + i // 4), i] for i in range(12)]
    go(tmp_path / "a.xdi", tmp_path / "b.h5")
    for name in ("energy", "intensity"):
        a, b = (values_of(p, f"Fe_foil/{name}") for p in (tmp_path / "a.h5", tmp_path / "b.h5"))
        assert a.tolist() == b.tolist()


def test_the_definition_of_old(tmp_path: Path) -> None:
    """NXxas once was the energy of the monochromator against what two detectors counted."""
    with h5py.File(tmp_path / "a.h5", "w") as f:
        entry = group(f, "entry", "NXentry")
        dataset(entry, "definition", "NXxas")
        instrument = group(entry, "instrument", "NXinstrument")
        dataset(group(instrument, "monochromator", "NXmonochromator"), "energy", np.linspace(7e3, 7.4e3, 4), "eV")
        dataset(group(instrument, "incoming_beam", "NXdetector"), "data", np.arange(4))
        dataset(group(instrument, "absorbed_beam", "NXdetector"), "data", floats())
        plot = group(entry, "data", "NXdata", signal="absorbed_beam", axes="energy")
        plot["energy"], plot["absorbed_beam"] = instrument["monochromator/energy"], instrument["absorbed_beam/data"]
    (record,) = records(tmp_path / "a.h5", "nxxas")
    assert [f.name for f in record.columns] == ["energy", "absorbed_beam", "incoming_beam"], "each once"
    assert out_and_back("nxxas", str(tmp_path / "a.h5")).differences == []


def spectrum_of(path: Path) -> tuple[dict[str, str], list[str], np.ndarray]:
    """Read XDI as the specification says, without any of our code."""
    lines = path.read_text("utf-8").splitlines()
    assert lines[0].split()[1] == "XDI/1.0"
    end = next(i for i, line in enumerate(lines) if line.startswith("#") and set(line[1:].strip()) == {"-"})
    stop = next((i for i, line in enumerate(lines) if line.startswith("#") and set(line[1:].strip()) == {"/"}), end)
    header = {}
    for line in lines[1:stop]:
        assert line.startswith("#")
        assert len(line) <= 2048
        name, _, value = line[1:].partition(":")
        family, _, key = name.strip().partition(".")
        assert family[0].isalpha()
        assert key
        assert name.strip().casefold() not in header, "a field stands there once"
        header[name.strip().casefold()] = value.strip()
    labels = lines[end + 1].lstrip("# ").split()
    rows = np.array([[float(cell) for cell in line.split()] for line in lines[end + 2 :] if line.strip()])
    assert rows.shape[1] == len(labels)
    assert np.isfinite(rows).all()
    assert header["column.1"].split()[0] in ("energy", "angle")
    for required in ("element.symbol", "element.edge", "mono.d_spacing"):
        assert header[required]
    return header, labels, rows


@pytest.mark.parametrize("target", ["a.xdi", "a.h5"])
@pytest.mark.parametrize("labels", ["energy [eV],mutrans", "energy [eV],I0,I1", "E,mu"])
def test_a_table_without_stated_roles_becomes_neither(tmp_path: Path, labels: str, target: str) -> None:
    rows = "".join(f"{7100 + i},{','.join(['0.1'] * labels.count(','))}\n" for i in range(5))
    demanded = "# Element.symbol: Fe\n# Element.edge: K\n# Mono.d_spacing: 3.1356\n"
    (tmp_path / "a.csv").write_text(f"{demanded}{labels}\n{rows}")
    with pytest.raises(NxconvertError) as caught:
        go(tmp_path / "a.csv", tmp_path / target, "nxxas")
    assert "--roles" in caught.value.tip
    assert not (tmp_path / target).exists()


@needs_corpus
@pytest.mark.parametrize(
    "name", ["co_metal_rt", "cu_metal_10K", "cu_metal_rt", "fe2o3_rt", "se_na2so4_rt", "zn_znse_rt"]
)
def test_files_of_the_xdi_working_group(corpus: Path, tmp_path: Path, name: str) -> None:
    source = corpus / "xas" / "xdi" / f"{name}.xdi"
    go(source, tmp_path / "a.h5", "nxxas")
    assert chooses(tmp_path / "a.h5") == "nxxas"
    assert out_and_back("nxxas", str(tmp_path / "a.h5")).differences == []
    go(tmp_path / "a.h5", tmp_path / "b.xdi")
    (a,), (b,) = records(source), records(tmp_path / "b.xdi")
    assert_same(a, b, ("definition", "is_experimental"), ("Mono.d_spacing", "Scan.edge_energy"))
    spectrum_of(tmp_path / "b.xdi")


# -- small-angle scattering


def nxcansas(path: Path, nx: bool = True, dtype: str = "f8", rank: int = 1) -> Path:
    """Write a file as NXcanSAS has it; ``nx`` with classes of NeXus, otherwise with those of canSAS alone."""

    def made(parent: h5py.Group, name: str, sas: str, nx_class: str, **attrs: Any) -> h5py.Group:
        here = parent.create_group(name)
        here.attrs.update({"canSAS_class": sas, **({"NX_class": nx_class} if nx else {}), **attrs})
        return here

    with h5py.File(path, "w") as f:
        entry = made(f, "sasentry01", "SASentry", "NXentry", version="1.1", default="sasdata01")
        for name, text in {"definition": "NXcanSAS", "title": "silica", "run": "4711"}.items():
            dataset(entry, name, text)
        axes, indices = ("Q", [0]) if rank == 1 else ("Q,Q", [0, 1])
        data = made(entry, "sasdata01", "SASdata", "NXdata", signal="I", I_axes=axes, Q_indices=indices)
        shape = (4,) * rank
        for name in ("Q",) if rank == 1 else ("Qx", "Qy"):
            values = np.broadcast_to(np.sort(floats(dtype)), shape)
            dataset(data, name, values, "1/angstrom", **({"resolutions": "Qdev"} if name == "Q" else {}))
        dataset(data, "I", np.broadcast_to(floats(dtype), shape), "1/cm", uncertainties="Idev")
        dataset(data, "Idev", np.full(shape, 0.125, dtype), "1/cm")
        if rank == 1:
            dataset(data, "Qdev", np.full(shape, 0.01, dtype), "1/angstrom")
        dataset(made(entry, "sassample", "SASsample", "NXsample"), "name", "silica")
        dataset(entry["sassample"], "thickness", np.float32(1.5), "mm")
        instrument = made(entry, "sasinstrument", "SASinstrument", "NXinstrument")
        dataset(instrument, "name", "SANS2D")
        dataset(made(instrument, "sasdetector01", "SASdetector", "NXdetector"), "SDD", np.float32(4385.28), "mm")
        dataset(made(instrument, "sassource", "SASsource", "NXsource"), "radiation", "neutron")
        dataset(made(entry, "sasprocess01", "SASprocess", "NXprocess"), "name", "Mantid")
    return path


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("nx", [True, False], ids=["NX_class", "canSAS_class only"])
@pytest.mark.parametrize("ending", ["csv", "dat", "xye"])
def test_nxcansas_goes_to_columns_and_back(tmp_path: Path, nx: bool, dtype: str, ending: str) -> None:
    source = nxcansas(tmp_path / "a.h5", nx, dtype)
    assert chooses(source) == "nxcansas"
    assert out_and_back("nxcansas", str(source)).differences == []
    go(source, tmp_path / f"a.{ending}", "nxcansas")
    assert not any("comes back as" in n for n in out_and_back("nxcansas", str(source)).notices)
    if ending != "csv":
        assert np.loadtxt(tmp_path / f"a.{ending}")[:, 1].astype(dtype).tobytes() == floats(dtype).tobytes()
    go(tmp_path / f"a.{ending}", tmp_path / "b.h5")
    assert wrong(tmp_path / "b.h5") == []
    with h5py.File(source) as a, h5py.File(tmp_path / "b.h5") as b:

        def compare(name: str, one: Any) -> None:
            other = b[name]
            assert other.attrs.get("canSAS_class") == one.attrs.get("canSAS_class") or "/" in name
            if isinstance(one, h5py.Dataset):
                assert np.asarray(one[()]).tolist() == np.asarray(other[()]).tolist(), name
                assert one.dtype == other.dtype or one.dtype.kind == "O", name
                assert dict(one.attrs) == dict(other.attrs), name

        a.visititems(compare)
        data = b["sasentry01/sasdata01"].attrs
        assert (data["signal"], data["I_axes"], list(data["Q_indices"])) == ("I", "Q", [0])
        assert (data["NX_class"], data["canSAS_class"]) == ("NXdata", "SASdata")
        assert b["sasentry01"].attrs["canSAS_class"] == "SASentry"


def test_images_of_nxcansas_come_back(tmp_path: Path) -> None:
    source = nxcansas(tmp_path / "a.h5", rank=2)
    assert out_and_back("nxcansas", str(source)).differences == []
    go(source, tmp_path / "a.csv", "nxcansas")
    go(tmp_path / "a.csv", tmp_path / "b.h5")
    for name in ("I", "Idev", "Qx", "Qy"):
        here = f"sasentry01/sasdata01/{name}"
        assert values_of(source, here).tobytes() == values_of(tmp_path / "b.h5", here).tobytes()
    with h5py.File(tmp_path / "b.h5") as f:
        assert f["sasentry01/sasdata01"].attrs["I_axes"] == "Q,Q"


def test_three_columns_become_valid_nxcansas_when_their_roles_are_stated(tmp_path: Path) -> None:
    rows = "0.01,10,0.1\n0.02,9,0.2\n0.03,8.5,0.3\n"
    (tmp_path / "a.csv").write_text(f"q [1/angstrom],I [1/cm],sigma [1/cm]\n{rows}")
    with pytest.raises(NxconvertError) as caught:
        go(tmp_path / "a.csv", tmp_path / "a.h5", "nxcansas")
    assert "--roles" in caught.value.tip
    go(tmp_path / "a.csv", tmp_path / "a.h5", "nxcansas", roles="x=q,signal=I,errors=sigma")
    assert wrong(tmp_path / "a.h5") == []
    with h5py.File(tmp_path / "a.h5") as f:
        data = f["sasentry01/sasdata01"]
        assert sorted(data) == ["I", "Idev", "Q"]
        assert data["I"].attrs["uncertainties"] == "Idev"
        assert (data["Q"].attrs["units"], data["I"].attrs["units"]) == ("1/angstrom", "1/cm")
        assert data.attrs["I_axes"] == "Q"


def test_masks_and_resolutions_of_nxcansas_are_named(tmp_path: Path) -> None:
    rows = "0.01,10,0.001,0\n0.02,9,0.002,0\n0.03,8.5,0.003,1\n"
    (tmp_path / "a.csv").write_text(f"Q [1/angstrom],I [1/cm],Qdev [1/angstrom],mask\n{rows}")
    go(tmp_path / "a.csv", tmp_path / "a.h5", "nxcansas", roles="x=Q,signal=I")
    with h5py.File(tmp_path / "a.h5") as f:
        data = f["sasentry01/sasdata01"]
        assert (data.attrs["mask"], data["mask"][()].tolist()) == ("mask", [0, 0, 1])
        assert data["Q"].attrs["resolutions"] == "Qdev"
    (record,) = records(tmp_path / "a.h5")
    assert "data@mask" not in record.fields, "the mapping says it"
    assert out_and_back("nxcansas", str(tmp_path / "a.h5")).differences == []
    with h5py.File(tmp_path / "a.h5", "a") as f:
        data = f["sasentry01/sasdata01"]
        data.move("mask", "bad")
        data.attrs["mask"], data["Q"].attrs["resolutions"] = "bad", ["dQw", "dQl"]
    assert out_and_back("nxcansas", str(tmp_path / "a.h5")).differences == []
    go(tmp_path / "a.h5", tmp_path / "b.csv")
    go(tmp_path / "b.csv", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as f:
        data = f["sasentry01/sasdata01"]
        assert data.attrs["mask"] == "bad", "what the file says counts"
        assert data["Q"].attrs["resolutions"].tolist() == ["dQw", "dQl"]


def test_what_is_not_there_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Q [1/angstrom],I [1/cm]\n0.01,10\n0.02,9\n")
    go(tmp_path / "a.csv", tmp_path / "a.h5", "nxcansas", roles="x=Q,signal=I")
    with h5py.File(tmp_path / "a.h5") as f:
        data = f["sasentry01/sasdata01"]
        assert "mask" not in data.attrs
        assert "resolutions" not in data["Q"].attrs


@needs_corpus
def test_nxcansas_of_several_programs(corpus: Path) -> None:
    files = [p for p in sorted((corpus / "nxcansas").iterdir()) if p.suffix in (".h5", ".hdf")]
    assert len(files) == 7
    for path in files:
        assert chooses(path) == "nxcansas"
        assert out_and_back("nxcansas", str(path)).differences == [], path.name


# -- powder


def nxazint1d(path: Path, patterns: int = 0) -> Path:
    with h5py.File(path, "w") as f:
        entry = group(f, "entry", "NXentry", default="data")
        dataset(entry, "definition", "NXazint1d")
        for name in ("solid_angle_applied", "polarization_applied", "normalization_applied"):
            dataset(entry, name, np.bool_(name[0] == "s"))
        instrument = group(entry, "instrument", "NXinstrument")
        dataset(instrument, "name", "DanMAX")
        mono = group(instrument, "monochromator", "NXmonochromator")
        dataset(mono, "wavelength", 0.354, "angstrom")
        dataset(mono, "energy", 35.0, "keV")
        source = group(instrument, "source", "NXsource")
        for name, text in {"name": "MAX IV", "type": "Synchrotron X-ray Source", "probe": "x-ray"}.items():
            dataset(source, name, text)
        process = group(entry, "reduction", "NXprocess")
        for name in ("program", "version", "date", "reference"):
            dataset(process, name, f"the {name}")
        dataset(group(process, "input", "NXparameters"), "poni", "Distance: 0.2")
        axes = ["radial_axis"] if not patterns else [".", "radial_axis"]
        data = group(entry, "data", "NXdata", signal="I", axes=axes, interpretation="spectrum")
        shape = (patterns, 4) if patterns else (4,)
        intensity = np.broadcast_to(floats("f4"), shape)
        dataset(data, "I", intensity, "arbitrary units", long_name="intensity")
        dataset(data, "I_errors", np.sqrt(intensity), "arbitrary units")
        dataset(data, "radial_axis", np.sort(floats()), "degree", long_name="2theta")
        dataset(data, "radial_axis_edges", np.arange(5.0), "degree")
        dataset(data, "norm", np.arange(4.0))
    return path


@pytest.mark.parametrize("patterns", [0, 1, 3])
def test_nxazint1d_comes_back(tmp_path: Path, patterns: int) -> None:
    source = nxazint1d(tmp_path / "a.h5", patterns)
    assert chooses(source) == "nxazint1d"
    assert wrong(source) == []
    assert out_and_back("nxazint1d", str(source)).differences == []


@pytest.mark.parametrize("ending", ["xy", "xye", "csv"])
def test_a_pattern_goes_to_text_and_back(tmp_path: Path, ending: str) -> None:
    source = nxazint1d(tmp_path / "a.h5")
    go(source, tmp_path / f"a.{ending}")
    if ending != "csv":
        x, y, e = np.loadtxt(tmp_path / f"a.{ending}", usecols=(0, 1, 2), unpack=True)
        assert x.tobytes() == np.sort(floats()).tobytes()
        assert y.astype("f4").tobytes() == floats("f4").tobytes()
        assert e.astype("f4").tobytes() == np.sqrt(floats("f4")).tobytes()
    go(tmp_path / f"a.{ending}", tmp_path / "b.h5")
    assert wrong(tmp_path / "b.h5") == []
    with h5py.File(source) as a, h5py.File(tmp_path / "b.h5") as b:

        def compare(name: str, one: Any) -> None:
            if isinstance(one, h5py.Dataset):
                assert np.asarray(one[()]).tolist() == np.asarray(b[name][()]).tolist(), name
                assert one.dtype == b[name].dtype or one.dtype.kind == "O", name
                assert dict(one.attrs) == dict(b[name].attrs), name

        a.visititems(compare)


def test_chi_has_four_lines_and_two_columns(tmp_path: Path) -> None:
    source = nxazint1d(tmp_path / "a.h5")
    report = convert([str(source)], str(tmp_path / "a.chi"), Plan())
    assert {x.what for x in report.losses} == {"I_errors", "norm"}, "what it has no place for is told"
    lines = (tmp_path / "a.chi").read_text().splitlines()
    assert lines[1] == "2-Theta Angle (Degrees)"
    assert lines[2].startswith("I (")
    assert int(lines[3]) == len(lines) - 4 == 4
    assert np.loadtxt(tmp_path / "a.chi", skiprows=4)[:, 0].tobytes() == np.sort(floats()).tobytes()
    go(tmp_path / "a.chi", tmp_path / "b.h5")
    for name in ("data/I", "data/radial_axis", "instrument/name", "reduction/input/poni"):
        a, b = (values_of(p, f"entry/{name}") for p in (source, tmp_path / "b.h5"))
        assert np.asarray(a).tolist() == np.asarray(b).tolist()
        assert np.asarray(a).dtype == np.asarray(b).dtype


PYFAI = """\
# == pyFAI calibration ==
# Distance Sample to Detector: 0.208651380603 m
# Wavelength: 4.066e-11 m
# --> pattern.xy
#       {axis}             I{errors}
"""


@pytest.mark.parametrize(("label", "units"), [("2th_deg", "deg"), ("q_nm^-1", "1/nm"), ("q_A^-1", "1/angstrom")])
@pytest.mark.parametrize("errors", ["", "          sigma"])
def test_the_labels_of_pyfai_state_what_the_columns_are(tmp_path: Path, label: str, units: str, errors: str) -> None:
    row = "  1.589844e-0{i}    2.783654e+01" + ("    5.276035e+00" if errors else "") + "\n"
    text = PYFAI.format(axis=label, errors=errors) + "".join(row.format(i=9 - i) for i in range(4))
    (tmp_path / "a.xye").write_text(text)
    go(tmp_path / "a.xye", tmp_path / "a.h5", "nxazint1d")
    with h5py.File(tmp_path / "a.h5") as f:
        data = f["entry/data"]
        assert (data.attrs["signal"], list(data.attrs["axes"])) == ("I", ["radial_axis"])
        assert data["radial_axis"].attrs["units"] == units
        assert data["radial_axis"][0] == 1.589844e-9
        assert ("I_errors" in data) == bool(errors)
        assert "Wavelength" in f["entry/reduction/input"]


def test_two_columns_that_say_nothing_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.xy").write_text("".join(f"{i} {i * i}\n" for i in range(9)))
    with pytest.raises(NxconvertError) as caught:
        go(tmp_path / "a.xy", tmp_path / "a.h5", "nxazint1d")
    assert "--roles" in caught.value.tip
    with pytest.raises(NxconvertError) as caught:
        go(tmp_path / "a.xy", tmp_path / "a.chi")
    assert "--roles" in caught.value.tip


FIT2D = """\
LaB6_p49_001.tif
2-Theta Angle (Degrees)

          3
 1.0486433E-02  2.7862846E+01
 3.1459302E-02  2.8738375E+01
 5.2432168E-02  3.0297205E+01
"""


def test_chi_of_fit2d(tmp_path: Path) -> None:
    (tmp_path / "a.chi").write_text(FIT2D)
    go(tmp_path / "a.chi", tmp_path / "a.h5", "nxazint1d")
    with h5py.File(tmp_path / "a.h5") as f:
        assert f["entry/title"][()] == b"LaB6_p49_001.tif"
        assert f["entry/data/radial_axis"].attrs["units"] == "deg"
        assert f["entry/data/radial_axis"][1] == 3.1459302e-2


@pytest.mark.parametrize("cut", [len(FIT2D) - 3, len(FIT2D) - 31])
def test_chi_that_was_cut_is_no_pattern(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.chi").write_text(FIT2D[:cut].replace("          3", "          4"))
    with pytest.raises(NxconvertError, match="says that it has 4"):
        go(tmp_path / "a.chi", tmp_path / "a.h5", "nxazint1d")


# -- crystallography

MINI = """\
# Detector: PILATUS 300K, S/N 3-0104, Diamond
# 2011-07-14T12:45:19.719
# Pixel_size 172e-6 m x 173e-6 m
# Silicon sensor, thickness 0.000320 m
# Exposure_time 0.5000000 s
# Exposure_period 0.5050000 s
# Tau = 125.0e-09 s
# Count_cutoff 1541621 counts
# Threshold_setting: 9000 eV
# Gain_setting: low gain (vrf = -0.300)
# Wavelength 0.68937 A
# Detector_distance 0.10000 m
# Beam_xy (200.50, 100.25) pixels
# Flux 0
# Start_angle {angle:.4f} deg.
# Angle_increment 0.5000 deg.
# Phi {angle:.4f} deg.
# Phi_increment 0.5000 deg.
# Chi -10.0000 deg.
"""
PLACES = {
    "instrument/beam/incident_wavelength": (0.68937, "angstrom"),
    "instrument/detector/distance": (0.1, "m"),
    "instrument/detector/beam_center_x": (200.5, "pixels"),
    "instrument/detector/beam_center_y": (100.25, "pixels"),
    "instrument/detector/x_pixel_size": (0.000172, "m"),
    "instrument/detector/count_time": (0.5, "s"),
    "instrument/detector/frame_time": (0.505, "s"),
    "instrument/detector/sensor_thickness": (0.00032, "m"),
    "instrument/detector/threshold_energy": (9000, "eV"),
    "instrument/detector/saturation_value": (1541621, "counts"),
    "instrument/detector/module/fast_pixel_direction": (0.000172, "m"),
    "instrument/detector/module/slow_pixel_direction": (0.000173, "m"),
    "sample/goniometer/phi_increment_set": (0.5, "deg"),
    "sample/goniometer/chi": (-10.0, "deg"),
}
MODULE = tuple(
    f"module/{name}" for name in ("data_origin", "data_size", "fast_pixel_direction", "slow_pixel_direction")
)
"""What the definition wants of a detector of one module, and follows from its frames and pixels."""


def cbf(path: Path, angle: float = 9.5) -> np.ndarray:
    fabio = pytest.importorskip("fabio")
    frame = np.random.default_rng(3).poisson(9, (20, 30)).astype(np.int32)
    header = {"_array_data.header_convention": '"PILATUS_1.2"', "_array_data.header_contents": MINI.format(angle=angle)}
    fabio.cbfimage.CbfImage(data=frame, header=header).write(str(path))
    return frame


def test_cbf_becomes_nxmx_and_cbf_again(tmp_path: Path) -> None:
    frame = cbf(tmp_path / "a.cbf")
    go(tmp_path / "a.cbf", tmp_path / "a.h5", "nxmx")
    assert chooses(tmp_path / "a.h5") == "nxmx"
    with h5py.File(tmp_path / "a.h5") as f:
        entry = f["entry"]
        for where, (value, units) in PLACES.items():
            assert (entry[where][()], entry[where].attrs["units"]) == (value, units), where
        assert entry["instrument/detector/sensor_material"][()] == b"Silicon"
        module = entry["instrument/detector/module"]
        assert (module["data_origin"][()].tolist(), module["data_size"][()].tolist()) == ([0, 0], [20, 30])
        for name in ("fast_pixel_direction", "slow_pixel_direction"):
            assert dict(module[name].attrs) == {"units": "m", "transformation_type": "translation"}, "no way is made up"
        assert sorted(entry["sample/goniometer"]) == ["chi", "phi", "phi_increment_set"]
        assert entry["sample/goniometer/phi"].attrs["transformation_type"] == "rotation"
        assert "transformations" not in entry["instrument/detector"]
        assert (entry["data/data"][0] == frame).all()
    assert not any("NXdetector_module" in w or "pixel_direction" in w for w in wrong(tmp_path / "a.h5"))
    assert out_and_back("nxmx", str(tmp_path / "a.h5")).differences == []
    go(tmp_path / "a.h5", tmp_path / "b.cbf")
    (a,), (b,) = records(tmp_path / "a.cbf"), records(tmp_path / "b.cbf")
    assert_same(a, b, ("sample", *MODULE))
    header = (tmp_path / "b.cbf").read_bytes().partition(b"--CIF-BINARY")[0].decode()
    assert {"# Beam_xy (200.5, 100.25) pixels", "# Pixel_size 0.000172 m x 0.000173 m"} <= set(header.splitlines())


def test_a_packed_series_has_angles_by_frame(tmp_path: Path) -> None:
    from nxconvert import pack

    folder = tmp_path / "series"
    folder.mkdir()
    frames = [cbf(folder / f"s_{i:04d}.cbf", 9.5 + i / 2) for i in range(3)]
    pack(str(folder), str(tmp_path / "a.h5"), mapping="nxmx")
    with h5py.File(tmp_path / "a.h5") as f:
        (entry,) = [g for g in f.values() if g.attrs.get("NX_class") == "NXentry"]
        assert entry["sample/goniometer/phi"][()].tolist() == [9.5, 10.0, 10.5]
        assert entry["sample/goniometer/phi"].attrs["units"] == "deg"
        assert entry["instrument/beam/incident_wavelength"][()] == 0.68937
        assert (entry["data/data"][()] == np.array(frames)).all()
    assert out_and_back("nxmx", str(tmp_path / "a.h5")).differences == []


@needs_corpus
@pytest.mark.parametrize("name", ["LAOS3_05461", "omega_scan", "phi_scan_001"])
def test_cbf_of_detectors(corpus: Path, tmp_path: Path, name: str) -> None:
    source = corpus / "images" / "cbf" / f"{name}.cbf"
    go(source, tmp_path / "a.h5", "nxmx")
    assert out_and_back("nxmx", str(tmp_path / "a.h5")).differences == []
    go(tmp_path / "a.h5", tmp_path / "b.cbf")
    (a,), (b,) = records(source), records(tmp_path / "b.cbf")
    assert_same(a, b, ("sample", *MODULE))


def nxmx(path: Path) -> Path:
    """Write a file as programs do that know the geometry, with a module that is not the first of its detector."""
    with h5py.File(path, "w") as f:
        entry = group(f, "entry", "NXentry", default="data")
        dataset(entry, "definition", "NXmx")
        dataset(group(entry, "source", "NXsource"), "name", "ESRF")
        instrument = group(entry, "instrument", "NXinstrument")
        dataset(instrument, "name", "ID23-1", short_name="MASSIF")
        dataset(instrument, "time_zone", "+01:00")
        detector = group(instrument, "detector", "NXdetector")
        dataset(detector, "x_pixel_size", 75e-6, "m")
        dataset(detector, "depends_on", "/entry/instrument/detector/transformations/det_z")
        made = group(detector, "transformations", "NXtransformations")
        dataset(made, "det_z", 0.2, "m", vector=[0.0, 0.0, 1.0], transformation_type="translation", depends_on=".")
        module = group(detector, "module", "NXdetector_module")
        dataset(module, "data_origin", np.array([8, 0], "i4"))
        dataset(module, "data_size", np.array([4, 6], "i4"))
        about = {"transformation_type": "translation", "depends_on": "module_offset", "offset": [0.0, 0.0, 0.0]}
        dataset(module, "fast_pixel_direction", 75e-6, "m", vector=[-1, 0, 0], **about)
        dataset(module, "slow_pixel_direction", 75e-6, "m", vector=[0, -1, 0], **about)
        dataset(module, "module_offset", 0.0, "m", vector=[0, 0, 1], **{**about, "depends_on": "../depends_on"})
        sample = group(entry, "sample", "NXsample")
        dataset(sample, "name", "lysozyme")
        dataset(sample, "temperature", 100.0, "K")
        dataset(sample, "depends_on", "/entry/sample/transformations/omega")
        axes = group(sample, "transformations", "NXtransformations")
        dataset(axes, "omega", np.arange(3.0), "deg", vector=[1, 0, 0], transformation_type="rotation", depends_on=".")
        data = group(entry, "data", "NXdata", signal="data")
        dataset(data, "data", np.arange(3 * 12 * 6, dtype="u2").reshape(3, 12, 6))
    return path


def test_the_geometry_of_nxmx_comes_back(tmp_path: Path) -> None:
    source = nxmx(tmp_path / "a.h5")
    assert chooses(source) == "nxmx"
    assert out_and_back("nxmx", str(source)).differences == []
    go(source, tmp_path / "a.tif", "nxmx")
    go(tmp_path / "a.tif", tmp_path / "b.h5", "nxmx")
    with h5py.File(source) as a, h5py.File(tmp_path / "b.h5") as b:

        def compare(name: str, one: Any) -> None:
            if isinstance(one, h5py.Dataset):
                assert one.dtype == b[name].dtype or one.dtype.kind == "O", name
                assert np.asarray(one[()]).tolist() == np.asarray(b[name][()]).tolist(), name
            for key, value in one.attrs.items() if isinstance(one, h5py.Dataset) else ():
                assert np.array_equal(value, b[name].attrs[key]), (name, key)

        a.visititems(compare)


# -- SPEC

SPEC = """\
#F test.spec
#E 1000000000
#D Sun Sep 09 01:46:40 2001
#C a comment of the file
#O0 th  two theta  chi

#S 1 ascan th 0 1 2 1
#D Sun Sep 09 01:46:41 2001
#T 1  (Seconds)
#Q 1 0 0
#P0 0.5 1.25 90
#@MCA %3C
#@CHANN 3 0 2 1
#N 3
#L th  Epoch  I0
0 1.5 3
@A 1 2 3
0.5 2.5 0.1
@A 4 5 6
1 3.5 1e9
@A 7 8 9

#S 2 ct 1
#D Sun Sep 09 01:47:41 2001
#P0 0.5 1.25 90
#N 2
#L Epoch  I0
60 7

"""


def test_spec_becomes_nexus_and_spec_again(tmp_path: Path) -> None:
    (tmp_path / "a.spec").write_text(SPEC)
    go(tmp_path / "a.spec", tmp_path / "a.h5", "spec")
    assert chooses(tmp_path / "a.h5") == "spec"
    with h5py.File(tmp_path / "a.h5") as f:
        assert sorted(k for k in f if f[k].attrs["NX_class"] == b"NXentry" or f[k].attrs["NX_class"] == "NXentry") == [
            "1.1",
            "2.1",
        ]
        entry = f["1.1"]
        assert entry["title"][()] == b"ascan th 0 1 2 1"
        assert entry["measurement/I0"][()].tolist() == [3, 0.1, 1e9]
        assert entry["instrument/positioners/two theta"][()] == 1.25
        assert entry["instrument/mca/data"][()].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
        assert entry["spec/Q"][()] == b"1 0 0"
        assert (entry["plot"].attrs["signal"], list(entry["plot"].attrs["axes"])) == ("I0", ["th"])
    assert out_and_back("spec", str(tmp_path / "a.h5")).differences == []
    go(tmp_path / "a.h5", tmp_path / "b.spec")
    before, after = records(tmp_path / "a.spec"), records(tmp_path / "b.spec")
    assert [r.key for r in before] == [r.key for r in after]
    for a, b in zip(before, after, strict=True):
        assert_same(a, b)


@needs_corpus
def test_spec_files_of_beamlines(corpus: Path, tmp_path: Path) -> None:
    for name in ("33id_spec.dat", "APS_spec_data.dat", "oleg.dat", "issue64_data.txt", "mca/Steel.spe", "n_m.txt"):
        source, back = corpus / "spec" / name, tmp_path / "b.spec"
        go(source, tmp_path / "a.h5", "spec")
        assert chooses(tmp_path / "a.h5") == "spec"
        go(tmp_path / "a.h5", back)
        before, after = records(source), records(back)
        assert [r.key or {"scan": "1.1"} for r in before] == [r.key for r in after], "one without a number gets one"
        for a, b in zip(before, after, strict=True):
            assert_same(a, b)


# -- all of them


MAKERS: dict[str, Callable[[Path, np.ndarray], Path]] = {}


def maker(name: str) -> Callable[[Callable[..., Path]], Callable[..., Path]]:
    def keep(function: Callable[..., Path]) -> Callable[..., Path]:
        MAKERS[name] = function
        return function

    return keep


@maker("nxxas")
def _(path: Path, values: np.ndarray) -> Path:
    nxxas(path)
    with h5py.File(path, "a") as f:
        group(f["Fe_foil"], "columns", "NXcollection")["extra"] = values
    return path


@maker("nxcansas")
def _(path: Path, values: np.ndarray) -> Path:
    nxcansas(path)
    with h5py.File(path, "a") as f:
        f["sasentry01/sasdata01/extra"] = values
    return path


@maker("nxazint1d")
def _(path: Path, values: np.ndarray) -> Path:
    nxazint1d(path)
    with h5py.File(path, "a") as f:
        f["entry/data/extra"] = values
    return path


@maker("spec")
def _(path: Path, values: np.ndarray) -> Path:
    with h5py.File(path, "w") as f:
        entry = group(f, "7.1", "NXentry")
        dataset(entry, "program_name", "SPEC")
        dataset(entry, "title", "ascan th 0 1 3 1")
        measurement = group(entry, "measurement", "NXcollection")
        dataset(measurement, "th", floats(), "deg")
        dataset(measurement, "extra", values)
    return path


@pytest.mark.parametrize("name", sorted(MAKERS))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_column_comes_back_bit_by_bit(tmp_path: Path, name: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["<f8", "<f4", "<i2", "<u2", "<i8", "<u1"]))
    values = data.draw(hnp.arrays(dtype, (4,), elements=hnp.from_dtype(np.dtype(dtype), allow_nan=False)))
    path = MAKERS[name](tmp_path / "a.h5", values)
    assert out_and_back(name, str(path)).differences == []
    go(path, tmp_path / "a.csv", name)
    go(tmp_path / "a.csv", tmp_path / "b.h5", name)
    where = {"nxxas": "Fe_foil/columns", "nxcansas": "sasentry01/sasdata01", "nxazint1d": "entry/data"}
    back = values_of(tmp_path / "b.h5", f"{where.get(name, '7.1/measurement')}/extra")
    assert (back.dtype, back.tobytes()) == (values.dtype, values.tobytes())


@needs_corpus
def test_they_take_no_files_that_are_of_another_layout(corpus: Path) -> None:
    """Of all HDF5 files only those are taken that name the definition themselves."""
    taken: dict[str, list[str]] = {}
    for path in sorted(corpus.rglob("*")):
        if path.suffix in (".h5", ".hdf5", ".hdf", ".nxs", ".nx5"):
            try:
                name = chooses(path)
            except (NxconvertError, AssertionError):
                continue
            if name in TECHNIQUES:
                taken.setdefault(name, []).append(path.relative_to(corpus).as_posix())
    assert all(p.startswith("nxcansas/") for p in taken.pop("nxcansas"))
    assert taken == {"nxmx": ["nexus/dls/DLS_i03_i04_NXmx_Therm_6_2.nxs"]}


def test_a_soleil_scan_and_its_nxdata_are_found_by_name(run: Callable[..., Any], tmp_path: Path, corpus: Path) -> None:
    scan = corpus / "nexus" / "soleil" / "scan101.nxs"
    assert run("nxtoascii", scan, "--outdir", "out", "--scans", "com_05551").returncode == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["scan101_com_05551_SIXS.csv"]
    done = run("nxconvert", "convert", f"{scan}::/com_05551/scan_data", "data.csv")
    assert done.returncode == 0, done.stderr
    assert "integration_times" in (tmp_path / "data.csv").read_text()
