"""Every registered format runs through the conformance kit; a new one does so by being there."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from nxconvert import registry
from nxconvert.array import Values
from nxconvert.format import Holds
from nxconvert.record import Field, Record, Role
from nxconvert.testing import FormatConformance, records


class _Csv(FormatConformance):
    def oracle(self, path: Path) -> Any:
        pandas = pytest.importorskip("pandas")
        exact = {"float_precision": "round_trip"} if int(pandas.__version__.partition(".")[0]) < 3 else {}
        frame = pandas.read_csv(path, comment="#", **exact)
        return {n: frame[n].to_numpy() for n in frame.columns}

    def foreign(self, path: Path) -> Any:
        pandas = pytest.importorskip("pandas")
        columns = {"x": [0.1, 2.5, -1e-300], "n": [1.0, 2.0, 3.0]}
        pandas.DataFrame(columns).to_csv(path, index=False)
        return columns


class _Hdf5(FormatConformance):
    def oracle(self, path: Path) -> Any:
        import h5py

        with h5py.File(path) as file:
            out: dict[str, Any] = {}
            file.visititems(lambda n, o: out.update({f"/{n}": o[()]}) if isinstance(o, h5py.Dataset) else None)
            return {n: v.decode() if isinstance(v, bytes) else v for n, v in out.items()}

    def foreign(self, path: Path) -> Any:
        import h5py

        with h5py.File(path, "w") as file:
            file["entry/data"] = np.arange(12, dtype=">f4").reshape(3, 4)
            file["entry/title"] = "a scan"
        return {"/entry/data": np.arange(12).reshape(3, 4), "/entry/title": "a scan"}


class _Tiff(FormatConformance):
    def oracle(self, path: Path) -> Any:
        import json

        import tifffile

        with tifffile.TiffFile(path) as file:
            return {json.loads(file.pages[0].description)["frames"]: file.asarray()}

    def foreign(self, path: Path) -> Any:
        import numpy as np
        import tifffile

        frames = np.arange(60, dtype=">u2").reshape(3, 4, 5)
        tifffile.imwrite(path, frames, photometric="minisblack", compression="zlib")
        return {"data": frames}


class _Spec(FormatConformance):
    def oracle(self, path: Path) -> Any:
        specfile = pytest.importorskip("silx.io.specfile")
        scan = specfile.SpecFile(str(path))[0]
        return dict(zip(scan.labels, scan.data, strict=True))

    def foreign(self, path: Path) -> Any:
        path.write_text("#F a\n\n#S 1 ascan th 0 1 2\n#N 2\n#L th  I0\n0 1.5\n1 2.5\n\n")
        return {"th": np.array([0.0, 1.0]), "I0": np.array([1.5, 2.5])}


class _Xdi(FormatConformance):
    def adapt(self, record: Record) -> Record:
        """Give a record what XDI demands of each."""
        energy = Field("energy", Values(np.linspace(8e3, 9e3, record.rows or 0)), True, attrs={"units": "eV"})
        demanded = {"Element.symbol": "Cu", "Element.edge": "K", "Mono.d_spacing": "3.13553"}
        header = [Field(name, Values(value)) for name, value in demanded.items()]
        rest = [f for f in record.fields.values() if f.name.casefold() not in ("energy", "angle")]
        rest = [replace(f, guessed=False) for f in rest]
        return record.with_fields([energy, *rest, *header])

    def oracle(self, path: Path) -> Any:
        columns = np.loadtxt(path, unpack=True)
        return dict(zip(("energy", "th", "counts", "monitor"), columns, strict=True))


class _Chi(FormatConformance):
    def adapt(self, record: Record) -> Record:
        """Make a pattern of a record: one axis, one signal."""
        rows = record.rows or 0
        x = Field("q", Values(np.linspace(0, 5, rows)), True, ("q",), Role.AXIS, attrs={"units": "1/nm"})
        y = Field("I", Values(np.sqrt(np.arange(rows))), True, ("q",), Role.SIGNAL)
        return record.with_fields([x, y, *(f for f in record.header if f.name not in ("q", "I"))])

    def foreign(self, path: Path) -> Any:
        path.write_text("LaB6\n2-Theta Angle (Degrees)\nIntensity\n          2\n 1.0E-02  2.5E+01\n 2.0E-02  3.5E+01\n")
        return {"2theta": np.array([0.01, 0.02]), "Intensity": np.array([25.0, 35.0])}


HOOKS: dict[str, type[FormatConformance]] = {
    "chi": _Chi,
    "csv": _Csv,
    "hdf5": _Hdf5,
    "spec": _Spec,
    "tiff": _Tiff,
    "xdi": _Xdi,
}
"""What the kit must know of a format besides: another library, what its records must have."""

for _format in registry.formats().values():
    _base = HOOKS.get(_format.name, FormatConformance)
    _name = "Test" + "".join(part.capitalize() for part in _format.name.replace("_", "-").split("-"))
    globals()[_name] = type(_name, (_base,), {"format": _format, "__module__": __name__})


@settings(max_examples=50, deadline=None)
@given(records(Holds(item_rank=30, kinds="biufcS")))
def test_records_for_a_format_of_any_rank_are_small(record: Record) -> None:
    assert all(len(f.item_shape) <= 4 for f in record.columns)
    assert sum(block.rows for block in record.blocks(budget=1 << 20)) == record.rows


@pytest.mark.parametrize("name", ["cbf", "edf", "hdf5", "tiff"])
def test_a_binary_file_goes_to_standard_output(tmp_path: Path, name: str) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "frame.tif", np.arange(20, dtype=np.uint16).reshape(4, 5))

    def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
        command = [sys.executable, "-m", "nxconvert.cli.main", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)

    printed = run("convert", "frame.tif", "-", "--to", name)
    assert printed.returncode == 0, printed.stderr
    written = f"written{registry.by_name(name).extensions[0]}"
    (tmp_path / f"printed{Path(written).suffix}").write_bytes(printed.stdout)
    assert run("convert", "frame.tif", written).returncode == 0
    compared = run("compare", written, f"printed{Path(written).suffix}")
    assert compared.returncode == 0, compared.stdout + compared.stderr
