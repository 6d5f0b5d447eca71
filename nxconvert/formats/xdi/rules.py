"""What the XDI/1.0 specification and its dictionary of metadata demand of a header."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime

FIELD = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\.([A-Za-z0-9_-]+)[ \t]*:(.*)", re.DOTALL)
"""A header line: family, key and value."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\.[A-Za-z0-9_-]+")
"""The name of a field that has a header line."""

ABSCISSAE = {
    "energy": ("eV", "keV", "pixel"),
    "angle": ("degrees", "degree", "deg", "radians", "rad", "steps", "motor steps"),
    "pixel": ("pixel",),
}
"""Labels of the first column, with their units."""

SIGNALS = ("mutrans", "mufluor", "normtrans", "normfluor")
"""Labels that the dictionary gives to the absorption of the sample; where there is one of them, it is the signal."""

NUMBERS = ("Mono.d_spacing", "Scan.edge_energy")
"""Fields that the dictionary defines as a number without units."""

RECOMMENDED = ("Facility.name", "Facility.xray_source", "Beamline.name", "Scan.start_time")

# fmt: off
ELEMENTS = frozenset((
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts "
    "Og Uut Uup Uus Uuo"
).casefold().split())
# fmt: on
EDGES = frozenset(
    ["k", *(f"{s}{n or ''}" for s, top in zip("lmno", (3, 5, 7, 7), strict=True) for n in range(top + 1))]
)

_UNITS = {
    "facility.current": re.compile(r"\d+(\.\d*)?\s+m?A\b.*", re.IGNORECASE),
    "facility.energy": re.compile(r"\d+(\.\d*)?\s+[GM]eV\b.*", re.IGNORECASE),
    "sample.temperature": re.compile(r"-?\d+(\.\d*)?\s+(degrees?\s+)?[CFK]\b.*", re.IGNORECASE),
}
_FAMILIES = {"facility", "beamline", "mono", "detector", "sample", "scan", "element", "column", "outer"}
_KEYS = {
    "name", "xray_source", "energy", "current", "collimation", "focusing", "harmonic_rejection", "d_spacing", "id",
    "stoichiometry", "prep", "experimenters", "temperature", "start_time", "end_time", "edge_energy", "symbol", "edge",
    "reference", "ref_edge", "value",
}  # fmt: skip


def canonical(family: str, key: str) -> str:
    """Return a field's name; families and keys of the dictionary, which know no case, in its spelling."""
    known = family.lower() in _FAMILIES
    return f"{family.capitalize() if known else family}.{key.lower() if known and key.lower() in _KEYS else key}"


def required(fields: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with the three fields that a valid file must have.

    Parameters
    ----------
    fields
        Values by canonical name.
    """
    known: tuple[tuple[str, frozenset[str]], ...] = (("Element.symbol", ELEMENTS), ("Element.edge", EDGES))
    for name, allowed in known:
        if not fields.get(name, ""):
            yield f"{name} is missing"
        elif fields[name].casefold() not in allowed:
            yield f"{name} {fields[name]!r} is none"
    spacing = fields.get("Mono.d_spacing", "")
    if not spacing:
        yield "Mono.d_spacing is missing"
    elif not _positive(spacing):
        yield f"Mono.d_spacing {spacing!r} is no length in Angstrom"


def abscissa(label: str, units: str) -> Iterator[str]:
    """Yield what is wrong with the first column, which must be the energy or the angle, with its units."""
    allowed = ABSCISSAE.get(label.casefold())
    if allowed is None:
        yield f"the first column is {label!r}, not energy or angle"
    elif units.casefold() not in {u.casefold() for u in allowed}:
        yield (
            f"the units of {label} are {units!r}, not one of {', '.join(allowed)}" if units else f"{label} has no units"
        )


def formats(fields: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with other fields whose form is defined."""
    for name, value in fields.items():
        if name.casefold() in _UNITS and not _UNITS[name.casefold()].fullmatch(value):
            yield f"{name} {value!r} is no number with its units"
        if name in ("Scan.start_time", "Scan.end_time") and not _is_time(value):
            yield f"{name} {value!r} is no time of the form 2001-06-26T22:27:31"
    if "Element.reference" in fields and fields["Element.reference"].casefold() not in ELEMENTS:
        yield f"Element.reference {fields['Element.reference']!r} is none"
    if "Element.ref_edge" in fields and fields["Element.ref_edge"].casefold() not in EDGES:
        yield f"Element.ref_edge {fields['Element.ref_edge']!r} is none"


def value(name: str, text: str) -> str | int | float:
    """Return the value of a field: a number where it is defined as one and written as Python would write it."""
    if name in NUMBERS:
        for kind in (int, float):
            try:
                if str(kind(text)) == text and math.isfinite(kind(text)):
                    return kind(text)
            except ValueError:
                continue
    return text


def recommended(fields: Mapping[str, str]) -> list[str]:
    """Return the names of the fields that are recommended and missing."""
    return [name for name in RECOMMENDED if name not in fields]


def _positive(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and value > 0 and "_" not in text


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(re.sub(r"-(\d)(?=-|T| )", r"-0\1", text))
    except ValueError:
        return False
    return True
