"""A CSV file of numbers as HDF5 datasets, by numpy.loadtxt."""

import sys

import h5py
import numpy as np

source, target = sys.argv[1:]
with open(source) as text:
    names = text.readline().strip().split(",")
    values = np.loadtxt(text, delimiter=",")
with h5py.File(target, "w") as file:
    for name, column in zip(names, values.T, strict=True):
        file[f"entry/data/{name}"] = column
