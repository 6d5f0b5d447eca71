"""Frames of an HDF5 dataset as one TIFF file each: h5py and tifffile, frame by frame, flushed to the disk."""

import os
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import tifffile

source, dataset, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
folder.mkdir()
with h5py.File(source) as file:
    frames = file[dataset]
    for i in range(len(frames)):
        with open(folder / f"frame_{i:04d}.tif", "wb") as out:
            tifffile.imwrite(out, frames[i], photometric="minisblack")
            out.flush()
            os.fsync(out.fileno())
