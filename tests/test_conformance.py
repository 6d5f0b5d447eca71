"""Every registered format runs through the conformance kit; a new one does so by being there."""

from pathlib import Path
from typing import Any

import pytest

from nxconvert import registry
from nxconvert.testing import FormatConformance


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
        import numpy as np

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


HOOKS: dict[str, type[FormatConformance]] = {"csv": _Csv, "hdf5": _Hdf5, "tiff": _Tiff}
"""What the kit must know of a format besides: another library, what its records must have."""

for _format in registry.formats().values():
    _base = HOOKS.get(_format.name, FormatConformance)
    _name = "Test" + "".join(part.capitalize() for part in _format.name.replace("_", "-").split("-"))
    globals()[_name] = type(_name, (_base,), {"format": _format, "__module__": __name__})
