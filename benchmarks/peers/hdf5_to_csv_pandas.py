"""The columns of an NXdata as CSV, by pandas."""

import sys

import h5py
import pandas as pd

source, group, target = sys.argv[1:]
with h5py.File(source) as file:
    frame = pd.DataFrame({name: dataset[()] for name, dataset in file[group].items()})
frame.to_csv(target, index=False)
