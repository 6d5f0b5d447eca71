"""Read the shape of each dataset that a list names, with h5py: shapes.py FILE LIST; with --list FILE print such a list."""

import sys

import h5py

ROUNDS = 5

if sys.argv[1] == "--list":
    with h5py.File(sys.argv[2]) as file:
        file.visititems(lambda name, node: print(name) if isinstance(node, h5py.Dataset) else None)
    sys.exit()
with open(sys.argv[2], encoding="utf-8") as names:
    paths = names.read().split("\n")[:-1]
for _ in range(ROUNDS):
    with h5py.File(sys.argv[1]) as file:
        shapes = [file[path].shape for path in paths]
print(len(shapes))
