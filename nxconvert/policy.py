"""Which other files may be opened from an input, and the limits of what is read."""

from __future__ import annotations

import os
from dataclasses import field
from pathlib import Path

from nxconvert.dataclass import dataclass
from nxconvert.errors import PolicyError

DEFAULT_MEMORY = 256 << 20


@dataclass(frozen=True)
class Policy:
    """What an input may do.

    Attributes
    ----------
    memory
        The budget of bytes for values that are held at once.
    roots
        Folders, besides the input's own, whose files may be opened from it.
    allow_missing
        Whether missing external links and VDS sources are masked and reported, not errors.
    allow_external_raw
        Whether raw storage in other files may be read, which HDF5 lets point at any file of the host.
    """

    memory: int = DEFAULT_MEMORY
    roots: tuple[Path, ...] = ()
    allow_missing: bool = False
    allow_external_raw: bool = False
    _home: Path | None = field(default=None, repr=False)

    def for_input(self, path: Path) -> Policy:
        """Return the policy with the folder of an input as its home."""
        return Policy(self.memory, self.roots, self.allow_missing, self.allow_external_raw, path.resolve().parent)

    def allows(self, path: Path) -> bool:
        """Tell whether a file lies, links followed, inside the home or one of the roots."""
        real = Path(os.path.realpath(path))
        homes = [*([self._home] if self._home else []), *(r.resolve() for r in self.roots)]
        return any(real == home or home in real.parents for home in homes)

    def check(self, path: Path, asked_by: str, what: str) -> None:
        """Refuse a file that is out of bounds.

        Parameters
        ----------
        path
            The file that would be opened.
        asked_by
            File and path of the object that asks for it.
        what
            The kind of object: ``external link``, ``virtual dataset source``, ``raw storage``.

        Raises
        ------
        PolicyError
            When the file is outside the input's folder and all allowed roots.
        """
        if not self.allows(path):
            folder = Path(os.path.realpath(path)).parent
            raise PolicyError(
                f"{asked_by}: the {what} leads out of the input's folder, to {path}",
                f"if you trust the file, add --allow-root {folder}",
            )
