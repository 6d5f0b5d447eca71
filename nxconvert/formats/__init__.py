"""Formats: one file each, ``FORMAT = Format(...)``. They are found by listing this folder; there is no table.

``nxconvert.formats()`` returns them all by name, those of plugins too.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nxconvert.format import Format


class _Callable(ModuleType):
    """A package that is also the function of its name: importing a submodule would put the package in its place."""

    def __call__(self) -> dict[str, Format]:
        """Return all formats by name."""
        from nxconvert.registry import formats

        return formats()


sys.modules[__name__].__class__ = _Callable
