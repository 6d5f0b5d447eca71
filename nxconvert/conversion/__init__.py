"""Convert: open, map, write, report."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from nxconvert import naming, registry
from nxconvert.conversion.inputs import as_records, layout_for, open_records, open_source, tell_untaken
from nxconvert.conversion.plan import AUTO, Plan
from nxconvert.engine.publish import Publisher
from nxconvert.errors import UsageError
from nxconvert.format import Format, Report
from nxconvert.location import Location

__all__ = ["AUTO", "Plan", "as_records", "convert", "layout_for", "open_records", "open_source"]


def convert(
    inputs: Sequence[str | Location], output: str, plan: Plan | None = None, report: Report | None = None
) -> Report:
    """Convert inputs into an output.

    Parameters
    ----------
    inputs
        Locations: ``scan.h5``, ``scan.h5::/1.1``, ``frames.tif``, globs, folders, ``-``; or records that are held.
    output
        A file, ``-``, or a folder (it exists, or ends in a slash) for one file a record.
    plan
        Everything else; the defaults when it is not given.
    report
        Filled as the work goes on, so that a caller sees what was done when an error ends it.

    Returns
    -------
    Report
        What was written, lost, skipped and failed. An input that fails does not stop the others.

    Raises
    ------
    UsageError
        When an argument is wrong or an output exists; nothing has been written then.
    """
    plan, report = plan or Plan(), report if report is not None else Report()
    target = Location.parse(output)
    format = registry.for_output(target, plan.to_format)
    _check_options(plan, format)
    _check_validation(plan, format, target)
    if plan.report not in ("", "full"):
        raise UsageError(f"--report {plan.report!r} is no report", "write --report full")
    with naming.inputs(inputs) as places:
        _convert(places, target, format, plan, report)
        if plan.report == "full":
            tell_untaken(places, plan, report)
    return report


def _convert(places: list[Location], target: Location, format: Format, plan: Plan, report: Report) -> None:
    if not target.is_stream and any(p.path.exists() and _same_file(p.path, target.path) for p in places):
        raise UsageError(f"{target} is an input too", "inputs are never changed; choose another name")
    with Publisher(overwrite=plan.overwrite, adding=bool(plan.options.get("append"))) as publisher:
        if format.holds.tree:
            from nxconvert.conversion.tree import into_tree

            into_tree(places, target, format, plan, publisher, report)
        else:
            from nxconvert.conversion.files import IntoFiles

            names = naming.Naming(target, format, plan.name, format.spreads(plan.options))
            names.tell(report)
            IntoFiles(names, plan, publisher, report).convert(places)


def _same_file(a: Path, b: Path) -> bool:
    return b.exists() and a.samefile(b)


def _check_options(plan: Plan, format: Format) -> None:
    unknown = plan.options.keys() - {o.name for o in format.write_options}
    if unknown:  # only then are all formats loaded
        unknown -= {o.name for f in registry.formats().values() for o in f.read_options}
    for name in plan.options:
        if name in unknown:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} means nothing for {format.title}", f"leave {option} out")
    for o in format.write_options:
        value = plan.options.get(o.name)
        if o.choices and value is not None and value not in o.choices:
            option, near = f"--{o.name.replace('_', '-')}", get_close_matches(str(value), o.choices, 1)
            tip = f"did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{option} {value!r} is not one of {', '.join(o.choices)}", tip)
    if plan.overwrite and plan.options.get("append"):
        raise UsageError("--append and --overwrite exclude each other", "leave one of them out")


def _check_validation(plan: Plan, format: Format, target: Location) -> None:
    """Refuse, before any work is done, a validation that cannot be."""
    if not plan.validate:
        return
    if plan.validate != "nxdl":
        raise UsageError(f"--validate {plan.validate!r} is no validation", "write --validate nxdl")
    if format.name != "hdf5" or target.is_stream:
        raise UsageError("--validate nxdl is for NeXus/HDF5 files", "leave it out, or name an output that ends in .h5")
    from nxconvert import nxdl

    nxdl.require()
