"""The frames of an HDF5 dataset as EDF files: h5py and fabio, each file hashed and flushed to the disk."""

import hashlib
import os
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
from fabio.edfimage import EdfImage

source, target = sys.argv[1:]
folder = Path(target)
folder.mkdir()
with h5py.File(source) as file:
    data = file["entry/data/data"]
    for i in range(len(data)):
        path = folder / f"image_{i:05d}.edf"
        EdfImage(data=data[i], header={"number": str(i)}).write(str(path))
        with path.open("rb") as out:
            hashlib.file_digest(out, "sha256")
            os.fsync(out.fileno())
