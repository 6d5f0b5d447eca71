"""What is compared, with the goal for each: how many times faster than the peer."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
OURS = Path(__file__).parent / "ours"


PACKED = (
    ("edf", "bitshuffle-lz4", 2),
    ("edf", "gzip", 10),
    ("edf", "none", 1.5),
    ("edf-small", "bitshuffle-lz4", 2),
    ("cbf", "bitshuffle-lz4", 2),
    ("tiff", "bitshuffle-lz4", 1.8),
)
"""Series that are packed, how, and the goal."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes
    ----------
    name
        What it is called on the command line.
    ours, peer
        The commands; no peer where memory alone counts. Outputs are relative to the folder that they run in.
    outputs
        What they write; removed before each run.
    goal
        Peer's cost divided by ours.
    measure
        What is compared: ``wall`` or ``cpu``.
    limit
        Largest memory of ours in MiB; 0 for any.
    """

    name: str
    ours: list[str]
    peer: list[str]
    outputs: list[Path]
    goal: float
    measure: str = "wall"
    limit: int = 0


@dataclass(frozen=True)
class Setting:
    """Where things are: inputs, the folder that commands write into, the peers' programs, the corpus."""

    inputs: Path
    work: Path
    peers: Path
    corpus: Path | None

    def input(self, name: str) -> str:
        """Return an input, made if it is not there yet; in a process of its own, so that this one stays small."""
        path = self.inputs / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{name}.part")
            subprocess.run([sys.executable, str(PEERS.parent / "data.py"), name, str(part)], check=True)
            part.replace(path)
        return str(path)

    def tool(self, name: str) -> str:
        return str(self.peers / name)

    def script(self, name: str) -> list[str]:
        return [self.tool("python"), str(PEERS / f"{name}.py")]


def ours(name: str) -> str:
    """Return the path of one of our own commands."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def cases(setting: Setting) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Yield all cases by name, each made, with its input, only when it is wanted."""
    yield "help", lambda: _help(setting)
    yield "nxtoascii", lambda: _nxtoascii(setting, "nxtoascii", setting.input("bliss.h5"), 1.7)
    yield (
        "nxtoascii-columns",
        lambda: _nxtoascii(
            setting,
            "nxtoascii-columns",
            setting.input("bliss.h5"),
            1.5,
            "--only_columns",
            "--columns",
            "energy",
            "counter01",
            "counter02",
        ),
    )
    yield "nxtoascii-large", lambda: _nxtoascii(setting, "nxtoascii-large", setting.input("scan.h5"), 8)
    if setting.corpus is not None:
        foil = str(setting.corpus / "bliss" / "Fe_foil_0001" / "Fe_foil_0001.h5")
        yield "fe-foil", lambda: _nxtoascii(setting, "fe-foil", foil, 1.7)
        chosen = ("--only_columns", "--columns", "energy_enc", "mu_trans", "mu_ref")
        yield "fe-foil-columns", lambda: _nxtoascii(setting, "fe-foil-columns", foil, 1.5, *chosen)
        for name in ("every_dataset", "bliss"):
            yield f"mapping-{name}", lambda n=name: _mapping(setting, foil, n)
    for peer, goal in (("numpy", 6), ("pandas", 12)):
        yield f"csv-from-hdf5-{peer}", lambda peer=peer, goal=goal: _to_csv(setting, peer, goal)
    for peer, goal in (("numpy", 2.5), ("pandas", 1.4)):
        yield f"hdf5-from-csv-{peer}", lambda peer=peer, goal=goal: _from_csv(setting, peer, goal)
    for compression, sequence, stack in (("none", 1.5, 1.5), ("gzip", 3, 3), ("bitshuffle-lz4", 1.5, 2)):
        yield f"tiff-sequence-{compression}", lambda c=compression, g=sequence: _to_tiff(setting, c, "sequence", g)
        yield f"tiff-stack-{compression}", lambda c=compression, g=stack: _to_tiff(setting, c, "stack", g)
    for compression, goal in (("gzip", 10), ("bitshuffle-lz4", 2.3)):
        yield f"hdf5-from-tiff-{compression}", lambda c=compression, g=goal: _from_tiff(setting, c, g)
    for target in ("hdf5", "hdf5-gzip", "stack", "sequence"):
        yield f"sparse-{target}", lambda t=target: _sparse(setting, t)
    for series, compression, goal in PACKED:
        yield f"pack-{series}-{compression}", lambda s=series, c=compression, g=goal: _pack(setting, s, c, g)
    for compression, goal in (("bitshuffle-lz4", 2.2), ("gzip", 3), ("none", 2)):
        yield f"restore-{compression}", lambda c=compression, g=goal: _restore(setting, c, g)


def _help(setting: Setting) -> Case:
    command = [*setting.script("typer_help"), "--help"]
    return Case("help", [ours("nxconvert"), "--help"], command, [], 1 / 1.3, "cpu")


def _nxtoascii(setting: Setting, name: str, source: str, goal: float, *options: str) -> Case:
    common = ["--format", "CSV", "--outdir", "text", *options, source]
    if options:  # the peer's --columns takes all that follows, so that the file comes first
        common = [source, "--format", "CSV", "--outdir", "text", *options]
    return Case(name, [ours("nxtoascii"), *common], [setting.tool("nxtoascii"), *common], [setting.work / "text"], goal)


def _mapping(setting: Setting, source: str, name: str) -> Case:
    """Bind all fields of 11,350 datasets by a mapping, against reading their shapes."""
    listed = setting.work / "datasets.txt"
    with listed.open("wb") as file:
        subprocess.run([*setting.script("shapes"), "--list", source], stdout=file, check=True)
    own = OURS / f"{name}.yaml"
    command = [sys.executable, str(OURS / "apply_mapping.py"), source, str(own) if own.exists() else name]
    return Case(f"mapping-{name}", command, [*setting.script("shapes"), source, str(listed)], [], 1, "cpu")


def _to_csv(setting: Setting, peer: str, goal: float) -> Case:
    source = setting.input("table.h5")
    return Case(
        f"csv-from-hdf5-{peer}",
        [ours("nxconvert"), "convert", source, "out.csv"],
        [*setting.script(f"hdf5_to_csv_{peer}"), source, "/entry/data", "out.csv"],
        [setting.work / "out.csv"],
        goal,
        limit=250,
    )


def _from_csv(setting: Setting, peer: str, goal: float) -> Case:
    source = setting.input("table.csv")
    return Case(
        f"hdf5-from-csv-{peer}",
        [ours("nxconvert"), "convert", source, "out.h5"],
        [*setting.script(f"csv_to_hdf5_{peer}"), source, "out.h5"],
        [setting.work / "out.h5"],
        goal,
    )


def _to_tiff(setting: Setting, compression: str, profile: str, goal: float) -> Case:
    source = setting.input(f"frames-{compression}.h5")
    output = "frames" if profile == "sequence" else "frames.tif"
    options = ["--to", "tiff", "--profile", "sequence"] if profile == "sequence" else []
    return Case(
        f"tiff-{profile}-{compression}",
        [ours("nxconvert"), "convert", f"{source}::/entry/data", output, *options],
        [*setting.script(f"hdf5_to_tiff_{profile}"), source, "/entry/data", output],
        [setting.work / output],
        goal,
    )


def _from_tiff(setting: Setting, compression: str, goal: float) -> Case:
    source = setting.input("frames.tif")
    return Case(
        f"hdf5-from-tiff-{compression}",
        [ours("nxconvert"), "convert", source, "out.h5", "--compression", compression],
        [*setting.script("tiff_to_hdf5"), source, "out.h5", compression],
        [setting.work / "out.h5"],
        goal,
    )


def _sparse(setting: Setting, target: str) -> Case:
    """Convert a file that declares 20 GB and holds a few MB; nobody else is asked to, what counts is the memory."""
    source = setting.input("sparse.h5")
    command = {
        "hdf5": [source, "out.h5"],
        "hdf5-gzip": [source, "out.h5", "--compression", "gzip"],
        "stack": [f"{source}::/entry/frames", "frames.tif"],
        "sequence": [f"{source}::/entry/frames", "frames", "--to", "tiff", "--profile", "sequence"],
    }[target]
    limit = 256 + 200  # --memory, when nothing is said, and what the rule adds
    return Case(
        f"sparse-{target}", [ours("nxconvert"), "convert", *command], [], [setting.work / command[1]], 0, "wall", limit
    )


def _pack(setting: Setting, series: str, compression: str, goal: float) -> Case:
    source = setting.input(series)
    return Case(
        f"pack-{series}-{compression}",
        [ours("nxconvert"), "pack", source, "-o", "out.h5", "--compression", compression],
        [*setting.script("pack_series"), source, "out.h5", compression],
        [setting.work / "out.h5"],
        goal,
        limit=456,
    )


def _restore(setting: Setting, compression: str, goal: float) -> Case:
    source = setting.input(f"packed-{compression}.h5")
    return Case(
        f"restore-{compression}",
        [ours("nxconvert"), "restore", source, "-o", "files"],
        [*setting.script("restore_series"), source, "files"],
        [setting.work / "files"],
        goal,
        limit=456,
    )
