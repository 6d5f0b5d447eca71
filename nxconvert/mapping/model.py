"""What a mapping is: the schema of its file, and the compiled form that is applied."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from nxconvert.dataclass import dataclass
from nxconvert.mapping.steps import Kind, NamePattern, Step, may_be
from nxconvert.record import Role

if TYPE_CHECKING:
    from nxconvert.mapping.filename import FilePattern

MISSING_ROWS = "missing_rows"
"""Attribute of a dataset that lists the rows whose values are missing."""

LABEL = "frame_number"
"""The field that labels frames."""

FILES = "source_file"
"""The field that names the file that each frame is from."""

ROLES = {
    "axes": Role.AXIS,
    "signal": Role.SIGNAL,
    "errors": Role.ERRORS,
    "auxiliary_signals": Role.AUXILIARY,
}
"""The roles of fields, by the NeXus attribute that a step follows."""


_KNOWN_KEYS = {"extra": "forbid"}


@dataclass(frozen=True)
class RuleFile:
    """One rule as it stands in a file. A rule ties what lies at a path in the tree to a field of the record.

    Attributes
    ----------
    tree
        Path in the tree, below ``under`` unless it starts with a slash.
    field
        Name of the field, with the captures of the path.
    each
        ``row`` (one item a row), ``record`` (one value for the record), ``auto`` (whichever the data is), or ``stack``:
        one item for each row of all records that the file's ``stack`` puts behind each other.
    required
        Whether it is an error when nothing matches.
    direction
        ``export`` or ``import`` for a rule that holds in one direction only.
    default
        Whether this group is the one that viewers plot; made on import.
    links
        For such a group: ``signal`` and ``axes``, each the role whose fields it links. Where records are stacked each
        is a path below ``under``, and other names may be linked too.
    rank
        Only what has this many dimensions, the row included.
    dtype
        Only what is of this type: ``integer``, ``float``, ``number``, ``text`` or ``bool``; or exactly one, such as
        ``int16``, which numbers are then cast to on import, when they all fit.
    units
        The unit of both sides, or ``{tree: rad, field: deg}``; values in other units are converted.
    scale, offset
        The field is the value in the tree times ``scale`` plus ``offset``.
    values
        Names in the field and their numbers in the tree, such as ``{projection: 0, flat: 1}``.
    constant
        What is written at the path on import; on export it is checked. Such a rule has no field. It may be a list, of
        numbers or of texts. An attribute of a dataset (``x/@units``) is written where the dataset is there and has none
        of that name.
    link
        Path of what a link at ``tree`` leads to, below ``under`` unless it starts with a slash; the link is made on
        import, when that is there. Such a rule has no field, and an export does without it. At an attribute
        (``data/@mask``) it is the name of what it leads to: the path from the attribute's group, or from the root where
        it is not in that group.
    key
        For ``each: stack``: the capture whose value is written for each row, such as the role. It has no field.
    also
        Fields that stand in, the first that a record has, where it lacks the field itself. Their values are at their
        own places too, so what is there is a second name for them (a link), which an export does not take again.
    absent
        What is written on import where a record lacks the field: a text, a number, or a range such as
        ``{from: 0, to: 180, endpoint: false}``; for ``each: stack`` also one of these for each role, as in
        ``{dark: 0, flat: 0}``. For ``each: record`` also a list, or where another field is there: its value
        (``{field: NAME}``), the shape of one of its items (``{shape: NAME}``), or as many zeros (``{origin: NAME}``).
    """

    __pydantic_config__ = _KNOWN_KEYS

    tree: str
    field: str = ""
    each: Literal["row", "record", "auto", "stack"] = "auto"
    required: bool = False
    direction: Literal["both", "export", "import"] = "both"
    default: bool = False
    links: dict[str, str] = dataclasses.field(default_factory=dict)
    rank: int | None = None
    dtype: str = ""
    units: str | dict[str, str] = ""
    scale: float = 1.0
    offset: float = 0.0
    values: dict[str, int | float] = dataclasses.field(default_factory=dict)
    constant: bool | int | float | str | list[bool | int | float | str] | None = None
    link: str = ""
    key: str = ""
    also: list[str] = dataclasses.field(default_factory=list)
    absent: bool | int | float | str | list[bool | int | float | str] | dict[str, Any] | None = None

    @property
    def guards(self) -> int:
        """How many guards it has; more is more literal."""
        return (self.rank is not None) + bool(self.dtype)

    @property
    def states(self) -> bool:
        """Whether values are changed on the way."""
        exact = bool(self.dtype) and self.dtype[-1].isdigit()
        return bool(self.units or self.values) or self.scale != 1 or self.offset != 0 or exact


@dataclass(frozen=True)
class PairFile:
    """Two keys of a header that hold names and their values, word by word, as ``motor_mne`` and ``motor_pos``.

    Attributes
    ----------
    names
        The key that holds the names.
    values
        The key that holds the values.
    field
        Name of the field of each, with ``{name}``.
    """

    __pydantic_config__ = _KNOWN_KEYS

    names: str
    values: str
    field: str


@dataclass(frozen=True)
class SourceFile:
    """Another file whose columns go beside the rows of a record, as ``pack --join FILE --on HOW`` has it.

    Attributes
    ----------
    file
        A glob of its name, in the folder of the data or below it. It may have captures of ``record`` and ``file``.
    on
        How its rows and those of the record, such as frames, belong together: ``row``, ``index`` or ``file``.
    column
        Instead of ``on``: a column of numbers or text that both have. Rows with the same value belong together.
    scan
        Which of its scans; a file of one scan needs no name. With captures, such as ``"{scan}"``, each record has its
        own.
    """

    __pydantic_config__ = _KNOWN_KEYS

    file: str
    on: Literal["row", "index", "file"] = "row"
    column: str = ""
    scan: str = ""


@dataclass(frozen=True)
class StackFile:
    """Which records lie behind each other in one dataset, and in which order, as the frames of a tomography do.

    Attributes
    ----------
    over
        The capture of the record's key by which the records differ, such as the role of the frames.
    by
        Fields that say when each row was taken: the first that all records have orders the rows.
    order
        The values of ``over`` in the order that their records have where nothing says when rows were taken. The last
        one is the main one: what the records share is taken from it.
    """

    __pydantic_config__ = _KNOWN_KEYS

    over: str
    order: list[str]
    by: list[str] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class MappingFile:
    """A mapping as it stands in a file.

    Attributes
    ----------
    nxconvert
        Version of the language: 1.
    name
        The mapping's name; for a shipped one, the file's.
    title
        One line that says what layout it is for.
    record
        Captures that together are the record's key.
    when
        Paths that must all be there for ``--mapping auto`` to choose this mapping.
    under
        Path that all relative paths of the rules stand under.
    complete
        Path whose presence marks a finished record.
    file
        What the names of files say: ``"{sample}_{n:integer}"`` makes the fields ``sample`` and ``n`` of a name such as
        ``LaB6_0007.h5``, where the record has none of that name.
    series
        For series of image files: patterns of file names by role, such as dark and flat; the first that matches
        counts. A pattern with a slash is matched against folder and name.
    pairs
        For series of image files: keys of the headers that hold names and values.
    sources
        Other files, such as that of the scan, whose columns go beside the rows, or the frames of a series.
    stack
        Which records lie behind each other in the datasets of rules that say ``each: stack``.
    rules
        The rules; their order is the order of the fields.
    """

    __pydantic_config__ = _KNOWN_KEYS

    nxconvert: Literal[1]
    name: str
    record: list[str]
    rules: list[RuleFile]
    title: str = ""
    when: list[str] = dataclasses.field(default_factory=list)
    under: str = ""
    complete: str = ""
    file: str = ""
    series: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    pairs: list[PairFile] = dataclasses.field(default_factory=list)
    sources: list[SourceFile] = dataclasses.field(default_factory=list)
    stack: StackFile | None = None


@dataclass(frozen=True)
class Rule:
    """A compiled rule.

    Attributes
    ----------
    steps
        The whole path, ``under`` included.
    name
        Pattern of the field's name; None for a rule that only makes a default group.
    where
        File, line and column, for messages.
    target
        The whole path that a link leads to; empty for any other rule.
    """

    file: RuleFile
    steps: tuple[Step, ...]
    name: NamePattern | None
    index: int
    where: str
    target: tuple[Step, ...] = ()

    @property
    def each(self) -> str:
        return self.file.each

    @cached_property
    def role(self) -> str:
        """The role that the last step follows, or an empty string."""
        return self.steps[-1].role if self.steps else ""

    @cached_property
    def rank(self) -> tuple[object, ...]:
        """Literalness on export: step by step from the left, then ``each``."""
        return (tuple(s.rank for s in self.steps), self.file.each != "auto", self.file.guards)

    @cached_property
    def import_rank(self) -> tuple[object, ...]:
        """Literalness on import: the role, the name, then ``each``."""
        name = self.name
        literal = (not name.captures, name.literal) if name else (False, 0)
        said = (self.file.each != "auto", self.file.guards)
        return (bool(self.role), literal, *said, tuple(s.rank for s in self.steps))

    @cached_property
    def shape(self) -> tuple[object, ...]:
        """What its path matches, whatever its captures are called: equal for two rules that match the same."""
        return tuple(
            (s.kind, s.name if s.kind == Kind.LITERAL else "", s.classes, s.role, s.tests, s.attribute)
            for s in self.steps
        )

    @property
    def stacked(self) -> bool:
        """Whether it is of a stack: such a rule is applied to all records of the stack, not to each."""
        return self.file.each == "stack"

    @property
    def exports(self) -> bool:
        return self.file.direction != "import" and self.name is not None and not self.stacked

    @property
    def imports(self) -> bool:
        return self.file.direction != "export" and not self.stacked and not any(s.kind <= Kind.ANY for s in self.steps)

    def binds(self, capture: str) -> bool:
        """Tell whether its path has a capture."""
        return any(s.captures and s.name == capture for s in self.steps)


@dataclass(frozen=True)
class Obstacle:
    """Why what a rule takes of a tree does not come back to its place.

    Attributes
    ----------
    rule
        The rule.
    why
        The reason, in a few words.
    elsewhere
        Whether it comes back, but at the place of another rule.
    """

    rule: Rule
    why: str
    elsewhere: bool = False


def _may_be_dataset(steps: tuple[Step, ...], dataset: tuple[Step, ...]) -> bool:
    return bool(steps) and not steps[-1].classes and may_be(steps, dataset)


@dataclass(frozen=True)
class Mapping:
    """A compiled mapping.

    Attributes
    ----------
    key
        Captures of the record's key.
    when
        Paths that must all be there.
    complete
        Path of what marks a finished record, or empty.
    where
        The file it came from.
    series, pairs, sources
        As in the file.
    conditions
        The paths of ``when`` as they are written.
    stack
        As in the file; None when no records lie behind each other.
    file
        The pattern of files' names; None when the mapping takes nothing of them.
    """

    name: str
    title: str
    key: tuple[str, ...]
    when: tuple[tuple[Step, ...], ...]
    complete: tuple[Step, ...]
    rules: tuple[Rule, ...]
    where: str
    series: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    pairs: tuple[PairFile, ...] = ()
    conditions: tuple[str, ...] = ()
    stack: StackFile | None = None
    sources: tuple[SourceFile, ...] = ()
    file: FilePattern | None = None

    @cached_property
    def obstacles(self) -> tuple[Obstacle, ...]:
        """The rules that stand in the way of the way back, and why; none when all comes back to its place."""
        from nxconvert.mapping.check import obstacles

        return tuple(obstacles(self))

    @property
    def invertible(self) -> bool:
        """Whether all that it exports comes back, be it to the place of another rule that says so."""
        return all(o.elsewhere for o in self.obstacles)

    @cached_property
    def constants(self) -> tuple[Rule, ...]:
        """The rules that state what is always the same."""
        return tuple(r for r in self.rules if r.file.constant is not None)

    @cached_property
    def defaults(self) -> tuple[Rule, ...]:
        """The rules of groups that viewers plot, which are made on import."""
        return tuple(r for r in self.rules if r.imports and r.file.default)

    @cached_property
    def on_datasets(self) -> frozenset[int]:
        """The numbers of the rules of attributes of datasets: of what other rules take that is no group."""
        datasets = [r.steps for r in self.rules if r.steps and not (r.steps[-1].attribute or r.steps[-1].classes)]
        return frozenset(
            r.index
            for r in self.rules
            if r.steps and r.steps[-1].attribute and any(_may_be_dataset(r.steps[:-1], d) for d in datasets)
        )

    @cached_property
    def stacked(self) -> tuple[Rule, ...]:
        """The rules of the stack."""
        return tuple(r for r in self.rules if r.stacked)

    @cached_property
    def definition(self) -> str:
        """The application definition that it writes, or an empty string."""
        for rule in self.rules:
            if rule.imports and rule.steps and rule.steps[-1].name == "definition":
                said = rule.file.constant if rule.file.constant is not None else rule.file.absent
                if isinstance(said, str):
                    return said
        return ""

    @cached_property
    def prefix(self) -> tuple[Step, ...]:
        """The steps that bind the whole key: a record is looked for at each place where they match.

        Where records are stacked it is the key without what the stack runs over.
        """
        over = self.stack.over if self.stack is not None else ""
        return self._shortest({k for k in self.key if k != over})

    @cached_property
    def own(self) -> tuple[Step, ...]:
        """The steps that bind the whole key where records are stacked: the place of what each has for itself."""
        return self._shortest(set(self.key))

    def _shortest(self, wanted: set[str]) -> tuple[Step, ...]:
        best: tuple[Step, ...] | None = None
        for rule in self.rules:
            seen: set[str] = set()
            for i, step in enumerate(rule.steps):
                seen |= {step.name} if step.captures else set()
                if wanted <= seen:
                    found = rule.steps[: i + 1]
                    if (rule.exports or rule.stacked) and (best is None or len(found) < len(best)):
                        best = found
                    break
        return best or ()
