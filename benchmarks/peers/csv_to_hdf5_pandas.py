"""A CSV file of numbers as HDF5 datasets, by pandas."""

import sys

import h5py
import pandas as pd

source, target = sys.argv[1:]
frame = pd.read_csv(source, float_precision="round_trip")
with h5py.File(target, "w") as file:
    for name in frame.columns:
        file[f"entry/data/{name}"] = frame[name].to_numpy()
