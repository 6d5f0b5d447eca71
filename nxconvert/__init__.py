"""nxconvert: scientific data between NeXus/HDF5 and the formats that people open in other programs."""

__version__ = "0.1.0"
