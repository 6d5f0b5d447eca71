"""What columns are in a plot: as stated, as the labels of a program say, or guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nxconvert.errors import UsageError
from nxconvert.record import Field, Role
from nxconvert.textfile import Column

_ERRORS = r"(?i)err|sig|std|stdev|unc|sd$|^d[A-Z]|_e$|^e$|delta|σ"

INTEGRATED = {
    "2th_deg": "deg",
    "2th_rad": "rad",
    "q_nm^-1": "1/nm",
    "q_A^-1": "1/angstrom",
    "r_mm": "mm",
    "r_m": "m",
    "d*2_nm^-2": "1/nm^2",
    "d*2_A^-2": "1/angstrom^2",
}
"""How pyFAI labels the axis of an integrated pattern, with the units that this says; ``I`` and ``sigma`` follow."""

_ROLES = {
    "x": Role.AXIS,
    "axis": Role.AXIS,
    "signal": Role.SIGNAL,
    "y": Role.SIGNAL,
    "errors": Role.ERRORS,
    "auxiliary": Role.AUXILIARY,
}


def guessed(fields: list[Field], columns: Sequence[Column], first: Sequence[float]) -> list[Field]:
    """Guess roles; that the other columns have none is a guess as well."""
    if (integrated := _integrated(fields)) is not None:
        return integrated
    guess = _guess(columns, first)
    x = next((name for name, role in guess.items() if role == Role.AXIS), "")
    signal = next((name for name, role in guess.items() if role == Role.SIGNAL), None)
    return [
        replace(
            f,
            role=guess.get(f.name),
            guessed=True,
            axes=(x,) if f.name in guess else (),
            of=signal if guess.get(f.name) == Role.ERRORS else None,
        )
        if f.per_row
        else f
        for f in fields
    ]


def _guess(columns: Sequence[Column], first: Sequence[float]) -> dict[str, Role]:
    """Guess roles by position: x where the first column runs in one direction, then the signal and its errors."""
    numbers = [i for i, c in enumerate(columns) if c.dtype.kind in "if"]
    if len(numbers) < 2 or numbers[0] != 0:
        return {}
    steps = np.diff(np.array(first))
    if not (np.all(steps >= 0) or np.all(steps <= 0)) or (len(steps) and not np.any(steps)):
        return {}
    names = [c.name for c in columns]
    guess = {names[0]: Role.AXIS, names[numbers[1]]: Role.SIGNAL}
    if len(numbers) > 2 and numbers[2] == numbers[1] + 1 and re.search(_ERRORS, names[numbers[2]]):
        guess[names[numbers[2]]] = Role.ERRORS
    return guess


def _integrated(fields: list[Field]) -> list[Field] | None:
    """Return fields with the roles and units that the labels of pyFAI state; None where the labels are others."""
    names = [f.name for f in fields if f.per_row]
    if names[1:] not in (["I"], ["I", "sigma"]) or names[0] not in INTEGRATED:
        return None
    roles = dict(zip(names, (Role.AXIS, Role.SIGNAL, Role.ERRORS), strict=False))
    units = INTEGRATED[names[0]]
    return [
        replace(
            f,
            role=roles[f.name],
            axes=(names[0],),
            of="I" if roles[f.name] == Role.ERRORS else None,
            attrs={"units": units, **f.attrs} if f.name == names[0] else f.attrs,
        )
        if f.per_row
        else f
        for f in fields
    ]


def refuse_twins(roles: str, labels: Sequence[str], where: str) -> None:
    """Refuse a stated role of a label that several columns have."""
    for part in roles.split(","):
        name = part.partition("=")[2].strip()
        at = [str(i + 1) for i, label in enumerate(labels) if label == name]
        if len(at) > 1:
            raise UsageError(
                f"--roles: {name!r} is the label of the columns {' and '.join(at)} of {where}",
                "give the columns names of their own with --labels",
            )


def with_stated_roles(fields: Sequence[Field], stated: str) -> list[Field]:
    """Give fields the roles that ``x=NAME,signal=NAME`` states.

    Raises
    ------
    UsageError
        When a role or a name is not known.
    """
    by_name = {f.name: f for f in fields}
    pairs: list[tuple[Role, str]] = []
    for part in stated.split(","):
        role, _, name = part.strip().partition("=")
        if role not in _ROLES or not name:
            raise UsageError(f"--roles: {part.strip()!r} states no role", f"write ROLE=NAME with {', '.join(_ROLES)}")
        if name not in by_name:
            raise UsageError(
                f"--roles: there is no column {name!r}", f"columns are {', '.join(f.name for f in fields if f.per_row)}"
            )
        pairs.append((_ROLES[role], name))
    axes = tuple(n for r, n in pairs if r == Role.AXIS)[:1]
    signal = next((n for r, n in pairs if r == Role.SIGNAL), None)
    roles = {name: role for role, name in pairs}
    return [
        replace(
            f,
            role=roles.get(f.name),
            guessed=False,
            axes=f.axes if len(f.axes) > 1 else axes,
            of=signal if roles.get(f.name) == Role.ERRORS else None,
        )
        if f.per_row
        else f
        for f in fields
    ]
