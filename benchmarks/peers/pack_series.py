"""A folder of image files as an HDF5 dataset: fabio and h5py, file by file, flushed to the disk; no digests."""

import os
import sys
from pathlib import Path

import fabio
import h5py
import hdf5plugin

source, target, compression = sys.argv[1:]
options = {
    "none": {},
    "gzip": {"compression": "gzip", "shuffle": True},
    "bitshuffle-lz4": dict(hdf5plugin.Bitshuffle()),
}[compression]
files = sorted(Path(source).iterdir())


def read(path):
    if path.suffix == ".tif":  # fabio stumbles over the tags of many TIFF files
        import tifffile

        return tifffile.imread(path)
    return fabio.open(str(path)).data


first = read(files[0])
with h5py.File(target, "w") as file:
    made = file.create_dataset(
        "entry/data/data", (len(files), *first.shape), first.dtype, chunks=(1, *first.shape), **options
    )
    for i, path in enumerate(files):
        made[i] = read(path)
with open(target, "rb") as out:
    os.fsync(out.fileno())
