"""Frames of an HDF5 dataset as one TIFF stack: h5py and tifffile, frame by frame, flushed to the disk."""

import os
import sys

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import tifffile

source, dataset, target = sys.argv[1:]
with h5py.File(source) as file, open(target, "wb") as out:
    frames = file[dataset]
    with tifffile.TiffWriter(out) as tif:
        for i in range(len(frames)):
            tif.write(frames[i], contiguous=True, photometric="minisblack")
    out.flush()
    os.fsync(out.fileno())
