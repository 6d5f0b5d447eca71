"""nxconvert: scientific data between NeXus/HDF5 and the formats that people open in other programs.

    nxconvert.open(location)             a file as a tree (like h5py) or as records
    nxconvert.convert(inputs, output)    what the command does
    nxconvert.compare(a, b)              whether two files hold the same, and where they differ
    nxconvert.pack(folder, output)       files of images in one HDF5 file
    nxconvert.restore(packed, folder)    those files again, byte for byte
    nxconvert.verify(packed)             whether a packed file is whole
    nxconvert.validate(file)             what programs would stumble over in a NeXus file
    nxconvert.formats()                  the formats by name

``Record`` and ``Field`` are tables and stacks; a record goes to and from pandas. All errors are ``NxconvertError``.
What is named here loads when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nxconvert.api import compare, convert, open
    from nxconvert.comparison import Comparison, Difference
    from nxconvert.errors import (
        InputError,
        Loss,
        MappingError,
        Notice,
        NxconvertError,
        OutputError,
        PolicyError,
        UsageError,
    )
    from nxconvert.format import Format, Report
    from nxconvert.opened import DatasetFile, RecordFile, TreeFile
    from nxconvert.packed.api import pack, restore, verify
    from nxconvert.record import Field, Record, Role
    from nxconvert.registry import formats
    from nxconvert.validation import Problem, Validation, validate

__version__ = "0.1.0"

_HOMES = {
    "nxconvert.api": ("compare", "convert", "open"),
    "nxconvert.opened": ("DatasetFile", "RecordFile", "TreeFile"),
    "nxconvert.comparison": ("Comparison", "Difference"),
    "nxconvert.errors": (
        "InputError",
        "Loss",
        "MappingError",
        "Notice",
        "NxconvertError",
        "OutputError",
        "PolicyError",
        "UsageError",
    ),
    "nxconvert.format": ("Format", "Report"),
    "nxconvert.packed.api": ("pack", "restore", "verify"),
    "nxconvert.record": ("Field", "Record", "Role"),
    "nxconvert.validation": ("Problem", "Validation", "validate"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Comparison",
    "DatasetFile",
    "Difference",
    "Field",
    "Format",
    "InputError",
    "Loss",
    "MappingError",
    "Notice",
    "NxconvertError",
    "OutputError",
    "PolicyError",
    "Problem",
    "Record",
    "RecordFile",
    "Report",
    "Role",
    "TreeFile",
    "UsageError",
    "Validation",
    "__version__",
    "compare",
    "convert",
    "formats",
    "open",
    "pack",
    "restore",
    "validate",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "formats":
        return import_module("nxconvert.formats")  # a package that may be called
    if name not in _HOME:
        raise AttributeError(f"module 'nxconvert' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
