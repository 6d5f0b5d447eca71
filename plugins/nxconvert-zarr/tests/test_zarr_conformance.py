"""The store as the kit sees it: both versions, zarr-python as the other library."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from nxconvert_zarr import FORMAT

from nxconvert.format import Report
from nxconvert.testing import FormatConformance


class TestZarr3(FormatConformance):
    format = FORMAT
    imports = frozenset({"numpy"})

    def oracle(self, path: Path) -> Any:
        root = zarr.open_group(path, mode="r")
        arrays = [(n, a) for n, a in root.members(max_depth=None) if isinstance(a, zarr.Array)]
        return {f"/{name}": np.asarray(array[...]) for name, array in arrays}

    def foreign(self, path: Path) -> Any:
        root = zarr.create_group(path, zarr_format=3)
        root.create_array("scan/counts", data=np.arange(12, dtype="u2").reshape(3, 4), chunks=(2, 3))
        root.create_array("names", data=np.array(["a", "µ\n"], dtype="U2"))
        return {"/scan/counts": np.arange(12).reshape(3, 4), "/names": np.array(["a", "µ\n"])}


class TestZarr2(TestZarr3):
    def write(self, content: Any, folder: Path, report: Report, **options: Any) -> Path:
        return super().write(content, folder, report, **{"zarr_format": "2", **options})

    def foreign(self, path: Path) -> Any:
        root = zarr.create_group(path, zarr_format=2)
        root.create_array("a", data=np.arange(12, dtype=">f4").reshape(3, 4), chunks=(2, 3))
        return {"/a": np.arange(12).reshape(3, 4)}
