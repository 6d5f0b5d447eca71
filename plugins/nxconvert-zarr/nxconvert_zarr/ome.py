"""OME-Zarr 0.5: the metadata that lets an image viewer open an array.

Facts: NGFF 0.5, "multiscales" and "axes": two to five axes; at most one of type time, at most one of type channel or
of no known type, then two or three of type space, in this order; a scale for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nxconvert.errors import UsageError

UNITS = {
    "m": "meter", "mm": "millimeter", "um": "micrometer", "µm": "micrometer", "μm": "micrometer", "nm": "nanometer",
    "pm": "picometer", "Å": "angstrom", "Angstrom": "angstrom", "angstrom": "angstrom", "s": "second",
    "ms": "millisecond", "us": "microsecond", "µs": "microsecond",
}  # fmt: skip


def multiscales(
    stored: str, array: Any, attrs: Mapping[str, Any], neighbours: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """Describe one array as an image of one resolution.

    Parameters
    ----------
    stored
        Name of the array in its group.
    array
        The zarr array, of rank 2 to 5.
    attrs
        Attributes of the group; ``axes`` as NXdata has them name the arrays that label the dimensions.
    neighbours
        Other arrays of the group, by name; one that rises evenly gives its dimension a scale and units.
    path
        The array's path, for messages.

    Raises
    ------
    UsageError
        When the array has no rank that OME-Zarr allows.
    """
    rank = array.ndim
    if not 2 <= rank <= 5:
        raise UsageError(f"ome={path}: OME-Zarr holds images of rank 2 to 5, this one has {rank}")
    t, z, plane = ("t", "time"), ("z", "space"), (("y", "space"), ("x", "space"))
    frame: tuple[str, str | None] = ("frame", None)
    chosen = {2: plane, 3: (frame, *plane), 4: (frame, z, *plane), 5: (t, frame, z, *plane)}[rank]
    labels = attrs.get("axes", [])
    labels = labels if isinstance(labels, list) and len(labels) <= rank else []
    axes, scales = [], []
    for d, (name, kind) in enumerate(chosen):
        label = neighbours.get(labels[d]) if d < len(labels) and isinstance(labels[d], str) else None
        step, units = _step(label, array.shape[d])
        axis = {"name": name} | ({"type": kind} if kind else {}) | ({"unit": units} if units and kind else {})
        axes.append(axis)
        scales.append(step if kind else 1.0)
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": path.strip("/").replace("/", "_"),
                "axes": axes,
                "datasets": [{"path": stored, "coordinateTransformations": [{"type": "scale", "scale": scales}]}],
            }
        ],
    }


def _step(label: Any, length: int) -> tuple[float, str]:
    """Return the step of an axis that rises evenly, and its unit by the name that OME-Zarr has for it."""
    if label is None or getattr(label, "shape", None) != (length,) or length < 2 or label.dtype.kind not in "iuf":
        return 1.0, ""
    values = np.asarray(label[:], dtype=np.float64)
    steps = np.diff(values)
    if not np.all(np.isfinite(values)) or steps[0] <= 0 or not np.allclose(steps, steps[0], rtol=1e-6):
        return 1.0, ""
    units = label.attrs.asdict().get("units", "")
    return float(steps[0]), UNITS.get(units if isinstance(units, str) else "", "")
