"""The inputs of the benchmarks: made once, always the same, by ``python data.py KIND FILE``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

FRAMES, EDGE = 100, 2048
POINTS, COUNTERS = 1_000_000, 12


def frame(number: int) -> np.ndarray:
    """Return a detector frame: counts over a smooth image that moves."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:EDGE, :EDGE]
    return rng.poisson(100 + 50 * np.sin((x + 37 * number) / 200) * np.cos(y / 150)).astype("<u2")


def stack(compression: str) -> Callable[[Path], None]:
    """Return what makes an HDF5 file of frames at /entry/data, one frame a chunk."""

    def make(path: Path) -> None:
        import hdf5plugin

        options = {
            "none": {},
            "gzip": {"chunks": (1, EDGE, EDGE), "compression": "gzip", "shuffle": True},
            "bitshuffle-lz4": {"chunks": (1, EDGE, EDGE), **hdf5plugin.Bitshuffle()},
        }[compression]
        frames = [frame(i) for i in range(10)]
        with h5py.File(path, "w") as file:
            made = file.create_dataset("entry/data", (FRAMES, EDGE, EDGE), "<u2", **options)
            for i in range(FRAMES):
                made[i] = frames[i % len(frames)]

    return make


def sparse(path: Path) -> None:
    """Make a file of 20 GB, nearly nothing of which is stored: frames a chunk each, and in blocks across frames."""
    options = {"shape": (2500, EDGE, EDGE), "dtype": "<u2", "compression": "gzip", "shuffle": True}
    with h5py.File(path, "w") as file:
        for name, chunks in (("frames", (1, EDGE, EDGE)), ("blocks", (16, 256, 256))):
            made = file.create_dataset(f"entry/{name}", chunks=chunks, **options)
            made[7] = frame(7)
            made[2400, :100, :100] = 5


def tiff_stack(path: Path) -> None:
    """Make a TIFF stack of frames, as tifffile writes it."""
    import tifffile

    frames = [frame(i) for i in range(10)]
    with tifffile.TiffWriter(path) as file:
        for i in range(FRAMES):
            file.write(frames[i % len(frames)], contiguous=True, photometric="minisblack")


def bliss(path: Path) -> None:
    """Make a BLISS file of ten XAS scans with their subscans: 28 counters, five lists of a hundred motors each."""
    rng = np.random.default_rng(1)
    with h5py.File(path, "w", track_order=True) as file:
        file.attrs.update({"NX_class": "NXroot", "creator": "blissdata", "default": "10.2"})
        for number in range(1, 11):
            _scan(file, f"{number}.1", rng, 4001, 28, motors=103)
            _scan(file, f"{number}.2", rng, 33, 3, motors=103)


def scan(path: Path) -> None:
    """Make a BLISS file of one scan of a million points."""
    with h5py.File(path, "w", track_order=True) as file:
        file.attrs.update({"NX_class": "NXroot", "creator": "blissdata", "default": "1.1"})
        _scan(file, "1.1", np.random.default_rng(2), POINTS, COUNTERS, motors=20)


def _scan(file: h5py.File, name: str, rng: np.random.Generator, points: int, counters: int, motors: int) -> None:
    entry = _group(file, name, "NXentry", default="plotselect")
    entry["title"] = f"fscan mono 7000 7500 {points} 0.1"
    entry["start_time"] = "2025-04-15T13:47:10.295568+02:00"
    instrument = _group(entry, "instrument", "NXinstrument")
    measurement = _group(entry, "measurement", "NXcollection")
    for i in range(counters):
        counter = f"counter{i:02d}" if i else "energy"
        values = np.linspace(7.0, 7.5, points) if i == 0 else rng.normal(1e5, 300.0, points)
        _group(instrument, counter, "NXdetector").create_dataset("data", data=values, chunks=(min(points, 4000),))
        measurement[counter] = h5py.SoftLink(f"/{name}/instrument/{counter}/data")
    kinds = ("", "_start", "_end", "_dial_start", "_dial_end")
    for kind in kinds:
        positioners = _group(instrument, f"positioners{kind}", "NXcollection")
        for i in range(motors):
            positioners[f"motor{i:03d}"] = float(rng.normal())
            positioners[f"motor{i:03d}"].attrs["units"] = "mm" if i % 3 else "deg"
    plot = _group(entry, "plotselect", "NXdata", signal="counter01")
    plot["counter01"] = h5py.SoftLink(f"/{name}/instrument/counter01/data")
    entry["end_time"] = "2025-04-15T13:57:10.295568+02:00"
    entry["end_reason"] = "SUCCESS"


def _group(parent: h5py.Group, name: str, nx_class: str, **attrs: str) -> h5py.Group:
    made = parent.create_group(name, track_order=True)
    made.attrs.update({"NX_class": nx_class, **attrs})
    return made


def table(path: Path) -> None:
    """Make a NeXus file with twelve columns of a million float64, as an NXdata."""
    rng = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        file.attrs.update({"NX_class": "NXroot", "default": "entry"})
        entry = _group(file, "entry", "NXentry", default="data")
        names = [f"c{i:02d}" for i in range(1, COUNTERS)]
        data = _group(entry, "data", "NXdata", signal=names[0])
        data.attrs["axes"] = ["x"]
        data.attrs["auxiliary_signals"] = names[1:]
        data["x"] = np.arange(POINTS) * 1e-3
        for name in names:
            data[name] = rng.normal(0.0, 1e3, POINTS)


def text(path: Path) -> None:
    """Make a CSV file of the same size, as numpy writes it."""
    rng = np.random.default_rng(3)
    columns = [np.arange(POINTS) * 1e-3, *(rng.normal(0.0, 1e3, POINTS) for _ in range(1, COUNTERS))]
    names = ",".join(["x", *(f"c{i:02d}" for i in range(1, COUNTERS))])
    np.savetxt(path, np.column_stack(columns), fmt="%.17g", delimiter=",", header=names, comments="")


def edf(count: int, edge: int) -> Callable[[Path], None]:
    """Return what makes a folder of EDF files, with headers as SPEC wrote them."""

    def make(folder: Path) -> None:
        folder.mkdir()
        frames = [frame(i)[:edge, :edge] for i in range(10)]
        for i in range(count):
            header = {
                "ByteOrder": "LowByteFirst",
                "DataType": "UnsignedShort",
                "Dim_1": edge,
                "Dim_2": edge,
                "Size": edge * edge * 2,
                "run": 12,
                "time_of_day": f"{1142415000 + 0.1 * i:.6f}",
                "motor_mne": "th tth chi phi samx samy",
                "motor_pos": f"{0.01 * i:.4f} {0.02 * i:.4f} 90 0 1.25 -0.5",
                "counter_mne": "sec mon det",
                "counter_pos": f"0.1 {100000 + 7 * i} {31 * i}",
            }
            text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in header.items())
            raw = text.encode().ljust(1022) + b"}\n"
            (folder / f"image_{i:05d}.edf").write_bytes(raw + frames[i % 10].tobytes())

    return make


def cbf(folder: Path) -> None:
    """Make a folder of a thousand CBF files, as a Pilatus 300K has them."""
    from fabio.cbfimage import CbfImage

    folder.mkdir()
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:619, :487]
    rings = 40 * np.exp(-((np.hypot(y - 300, x - 240) - 150) ** 2) / 200) + 5
    images = [CbfImage(data=rng.poisson(rings).astype(np.int32)) for _ in range(10)]
    for i in range(1000):
        images[i % 10].write(str(folder / f"image_{i:05d}.cbf"))


def tiff_files(folder: Path) -> None:
    """Make a folder of a hundred TIFF files."""
    import tifffile

    folder.mkdir()
    frames = [frame(i) for i in range(10)]
    for i in range(FRAMES):
        tifffile.imwrite(folder / f"image_{i:05d}.tif", frames[i % 10])


def packed(compression: str) -> Callable[[Path], None]:
    """Return what packs a hundred EDF files."""

    def make(path: Path) -> None:
        from nxconvert.format import Report
        from nxconvert.packed.pack import Plan, pack

        folder = path.with_name(f"{path.name}.series")
        edf(FRAMES, EDGE)(folder)
        pack([str(folder)], path, Plan(compression=compression), Report())
        shutil.rmtree(folder)

    return make


KINDS: dict[str, Callable[[Path], None]] = {
    "frames-none.h5": stack("none"),
    "frames-gzip.h5": stack("gzip"),
    "frames-bitshuffle-lz4.h5": stack("bitshuffle-lz4"),
    "frames.tif": tiff_stack,
    "sparse.h5": sparse,
    "bliss.h5": bliss,
    "scan.h5": scan,
    "table.h5": table,
    "table.csv": text,
    "edf": edf(FRAMES, EDGE),
    "edf-small": edf(5000, 512),
    "cbf": cbf,
    "tiff": tiff_files,
    "packed-none.h5": packed("none"),
    "packed-gzip.h5": packed("gzip"),
    "packed-bitshuffle-lz4.h5": packed("bitshuffle-lz4"),
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](Path(sys.argv[2]))
