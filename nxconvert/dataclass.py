"""``dataclass`` of the standard library, made in a quarter of the time.

A command makes some seventy such classes when it starts, half a millisecond each, because the standard library writes
and compiles five functions for every one. Here it writes ``__init__`` alone, and the others are the same for all
classes. That a frozen one does not change is left to the type checker, which sees the standard library's own.

Facts: the module ``dataclasses`` of Python 3.11, whose ``fields``, ``field`` and ``replace`` work on these classes too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(made: type | None = None, /, *, frozen: bool = False, slots: bool = False) -> Any:
        """Make a class a dataclass; with ``frozen`` it has a hash."""

        def wrap(made: type) -> type:
            made = dataclasses.dataclass(made, repr=False, eq=False, slots=slots)
            for name, function in {"__repr__": _repr, "__eq__": _eq, "__hash__": _hash if frozen else None}.items():
                if name not in made.__dict__:
                    setattr(made, name, function)
            return made

        return wrap if made is None else wrap(made)


def _values(one: Any) -> tuple[Any, ...]:
    return tuple(getattr(one, f.name) for f in one.__dataclass_fields__.values() if f.compare)


def _repr(one: Any) -> str:
    shown = [f"{f.name}={getattr(one, f.name)!r}" for f in one.__dataclass_fields__.values() if f.repr]
    return f"{type(one).__qualname__}({', '.join(shown)})"


def _eq(one: Any, other: object) -> Any:
    return _values(one) == _values(other) if type(other) is type(one) else NotImplemented


def _hash(one: Any) -> int:
    return hash(_values(one))
