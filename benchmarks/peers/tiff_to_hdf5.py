"""A TIFF stack as an HDF5 dataset: tifffile and h5py, frame by frame, flushed to the disk."""

import os
import sys

import h5py
import hdf5plugin
import tifffile

source, target, compression = sys.argv[1:]
options = hdf5plugin.Bitshuffle() if compression == "bitshuffle-lz4" else {"compression": "gzip", "shuffle": True}
with tifffile.TiffFile(source) as tif, h5py.File(target, "w") as file:
    first = tif.pages[0]
    shape = (len(tif.pages), *first.shape)
    made = file.create_dataset("entry/data", shape, first.dtype, chunks=(1, *first.shape), **options)
    for i, page in enumerate(tif.pages):
        made[i] = page.asarray()
with open(target, "rb") as out:
    os.fsync(out.fileno())
