"""The columns of an NXdata as CSV, by numpy.savetxt."""

import sys

import h5py
import numpy as np

source, group, target = sys.argv[1:]
with h5py.File(source) as file:
    columns = {name: dataset[()] for name, dataset in file[group].items()}
np.savetxt(
    target, np.column_stack(list(columns.values())), fmt="%.18g", delimiter=",", header=",".join(columns), comments=""
)
