"""Make the files of this folder: ``python testdata/make.py [FOLDER]``.

They are committed, so that the README's commands work; run this after a change.
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np

TEXT = h5py.string_dtype()


def scan(path: Path) -> None:
    """Make a BLISS file: an absorption scan, its subscan of slow counters, a scan with detectors, an unfinished one."""
    with h5py.File(path, "w", libver=("v110", "v110"), track_order=True) as f:
        f.attrs.update({"NX_class": "NXroot", "creator": "testdata/make.py", "default": "1.1"})
        energy = np.linspace(7.0, 7.2, 41)
        edge = 1 / (1 + np.exp(-(energy - 7.112) / 0.002))
        i0 = 1e5 * (1 + 0.01 * np.sin(np.arange(41)))
        entry = _entry(f, "1.1", "ascan energy 7 7.2 40 0.1", "2026-03-01T10:00:00+01:00", "2026-03-01T10:00:41+01:00")
        counters = {
            "energy": (energy, "keV"),
            "I0": (i0, "counts"),
            "I1": (i0 * np.exp(-edge), "counts"),
            "mu": (edge, ""),
            "epoch": (1772355600.0 + np.arange(41), "s"),
            "shots": (np.arange(41, dtype=np.int32), ""),
        }
        _counters(entry, counters)
        _plot(entry, "energy", "mu")
        entry = _entry(f, "1.2", "ascan energy 7 7.2 40 0.1", "2026-03-01T10:00:00+01:00", "2026-03-01T10:00:41+01:00")
        _counters(entry, {"elapsed": (np.arange(5.0), "s"), "current": (np.array([199.8, 199.7, 199.7, 199.6]), "mA")})
        entry = _entry(f, "2.1", "loopscan 6 0.5", "2026-03-01T10:05:00+01:00", "2026-03-01T10:05:04+01:00")
        _counters(entry, {"elapsed": (np.arange(6) * 0.5, "s"), "diode": (np.array([3, 1, 4, 1, 5, 9]), "counts")})
        y, x = np.mgrid[:24, :32]
        rings = np.hypot(y - 12, x - 16)
        frames = np.stack([1000 * np.exp(-((rings - r) ** 2) / 6) for r in (2, 4, 6, 8, 10, 12)]).astype(np.uint16)
        spectra = (100 * np.exp(-((np.arange(16) - np.arange(6)[:, None] - 5) ** 2) / 4)).astype(np.uint32)
        _detector(entry, "pilatus", frames, "image")
        _detector(entry, "mca", spectra, "spectrum")
        entry = _entry(f, "3.1", "ascan energy 7 7.2 40 0.1", "2026-03-01T10:09:00+01:00", None)
        _counters(entry, {"energy": (energy[:7], "keV"), "I0": (i0[:7], "counts")})


def _entry(f: h5py.File, name: str, title: str, start: str, end: str | None) -> h5py.Group:
    entry = _group(f, name, "NXentry")
    entry["title"], entry["start_time"] = title, start
    if end:
        entry["end_time"] = end
    _group(entry, "sample", "NXsample")["name"] = "Fe foil"
    motors = _group(_group(entry, "instrument", "NXinstrument"), "positioners", "NXcollection")
    for motor, value, units in (("samx", 1.25, "mm"), ("samy", -0.5, "mm"), ("bragg", 16.40871746091667, "deg")):
        motors[motor] = value
        motors[motor].attrs["units"] = units
    return entry


def _group(parent: h5py.Group, name: str, nx_class: str, *, ordered: bool = True) -> h5py.Group:
    group = parent.create_group(name, track_order=ordered)
    group.attrs["NX_class"] = nx_class
    return group


def _counters(entry: h5py.Group, counters: dict[str, tuple[np.ndarray, str]]) -> None:
    for name, (values, units) in counters.items():
        device = _group(entry["instrument"], name, "NXdetector")
        device["data"] = values
        if units:
            device["data"].attrs["units"] = units
    measurement = _group(entry, "measurement", "NXcollection")
    for name in counters:
        measurement[name] = h5py.SoftLink(f"{entry.name}/instrument/{name}/data")


def _detector(entry: h5py.Group, name: str, values: np.ndarray, interpretation: str) -> None:
    device = _group(entry["instrument"], name, "NXdetector")
    data = device.create_dataset("data", data=values, chunks=(1, *values.shape[1:]), compression="gzip", shuffle=True)
    data.attrs["interpretation"] = interpretation
    entry["measurement"][name] = h5py.SoftLink(data.name)


def _plot(entry: h5py.Group, x: str, y: str) -> None:
    entry.attrs["default"] = "plotselect"
    plot = _group(entry, "plotselect", "NXdata")
    plot.attrs.update({"signal": y, "axes": np.array([x], dtype=TEXT)})
    for name in (x, y):
        plot[name] = h5py.SoftLink(f"{entry.name}/instrument/{name}/data")


def map2d(path: Path) -> None:
    """Make a NeXus map: a 2-D signal with errors, two axes and a 1-D plot in a second NXdata."""
    with h5py.File(path, "w", libver=("v110", "v110"), track_order=True) as f:
        f.attrs.update({"NX_class": "NXroot", "default": "entry"})
        entry = _group(f, "entry", "NXentry")
        entry.attrs["default"] = "map"
        entry["title"] = "map of a grain"
        data = _group(entry, "map", "NXdata")
        y, x = np.linspace(-1, 1, 5), np.linspace(0, 3, 7)
        signal = np.add.outer(y**2, np.sqrt(x))
        data.attrs.update({"signal": "fluo", "axes": np.array(["y", "x"], dtype=TEXT)})
        data.attrs.update({"y_indices": np.array([0]), "x_indices": np.array([1])})
        for name, values, units in (("y", y, "mm"), ("x", x, "mm"), ("fluo", signal, "counts")):
            data[name] = values
            data[name].attrs["units"] = units
        data["fluo_errors"] = np.sqrt(np.abs(signal)).astype(np.float32)
        profile = _group(entry, "profile", "NXdata")
        profile.attrs.update({"signal": "I", "axes": np.array(["Q"], dtype=TEXT)})
        profile["Q"], profile["I"] = np.geomspace(0.01, 1, 9), 1 / np.geomspace(0.01, 1, 9) ** 4
        profile["Q"].attrs["units"] = "1/angstrom"


def dmc(path: Path) -> None:
    """Make a powder pattern as the diffractometer DMC of SINQ laid its files out: plot marked in the old way."""
    angle = np.round(18.3 + 0.2 * np.arange(24), 1).astype("f4")
    counts = (90 + 800 * np.exp(-((angle - 20.5) ** 2) / 0.1)).astype("i4")
    one = {"Step": (0.2, "degree"), "no_of_steps": (len(angle), ""), "two_theta_start": (18.3, "degree")}
    with h5py.File(path, "w", libver=("v110", "v110")) as f:
        entry = _group(f, "entry1", "NXentry", ordered=False)
        entry["title"], entry["start_time"] = np.bytes_("Ga0.94Mn0.04Sb 2.567A T=4"), np.bytes_("2005-05-27 05:44:13")
        instrument = _group(entry, "DMC", "NXinstrument")
        instrument["name"] = np.bytes_("DMC at SINQ")
        detector = _group(instrument, "DMC-BF3-Detector", "NXpsd")
        _singles(detector, {**one, "Monitor": (12000, "counts"), "time": (284.553, "")})
        detector["CounterMode"] = np.bytes_("monitor")
        detector["two_theta"], detector["counts"] = angle, counts
        detector["two_theta"].attrs.update({"units": "degree", "axis": "1"})
        detector["counts"].attrs["signal"] = "1"
        crystal = _group(instrument, "Monochromator", "NXcrystal")
        _singles(crystal, {"lambda": (2.5666, "Angstroem"), "d_spacing": (3.3537, "Angstroem"), "theta": (22.43, "")})
        _group(instrument, "SINQ", "NXsource")["name"] = np.bytes_("SINQ")
        sample = _group(entry, "sample", "NXsample")
        sample["sample_name"] = np.bytes_("Ga0.94Mn0.04Sb")
        _singles(sample, {"sample_temperature": (4.0017, "K"), "sample_table_rotation": (297.21, "degree")})
        data = _group(entry, "data1", "NXdata")
        for name in ("two_theta", "counts", *one):
            data[name] = detector[name]
        data["lambda"] = crystal["lambda"]


def _singles(group: h5py.Group, values: dict[str, tuple[float, str]]) -> None:
    """Write numbers as arrays of one, as old files have them."""
    for name, (value, units) in values.items():
        group[name] = np.array([value], "i4" if isinstance(value, int) else "f4")
        if units:
            group[name].attrs["units"] = units


def i20(path: Path) -> None:
    """Make an absorption scan as GDA laid it out at I20 of Diamond: an NXdata a device, none with the whole table."""
    energy = 7080 + 2.0 * np.arange(30)
    edge = 1 / (1 + np.exp(-(energy - 7112) / 2))
    i0 = np.round(1.3e5 * (1 + 0.02 * np.sin(np.arange(30))))
    it = np.round(i0 * np.exp(-edge))
    timer = {"I0": i0, "It": it, "Iref": np.round(it * np.exp(-0.5 * edge)), "lnI0It": np.log(i0 / it)}
    with h5py.File(path, "w", libver=("v110", "v110")) as f:
        entry = _group(f, "entry1", "NXentry", ordered=False)
        entry["program_name"], entry["scan_command"] = np.bytes_("GDA 8.7.0"), np.bytes_("scan xas_scannable")
        instrument = _group(entry, "instrument", "NXinstrument")
        instrument["name"] = np.bytes_("i20")
        motor = _group(instrument, "xas_scannable", "NXpositioner")
        motor["Energy"], motor["Time"] = energy, np.full(30, 0.5)
        devices = {
            "counterTimer01": timer,
            "FFI0": {"FFI0": edge * 0.4},
            "xspress2system": {"data": np.multiply.outer(edge, [[3.0, 5.0]])},
        }
        for device, values in devices.items():
            detector, data = _group(instrument, device, "NXdetector"), _group(entry, device, "NXdata")
            detector["type"] = np.bytes_("Scaler")
            for name in ("Energy", "Time"):
                data[name] = motor[name]
                data[name].attrs["axis"] = 1
            for name, column in values.items():
                detector[name] = column
                data[name] = detector[name]
        entry["xspress2system/data"].attrs.update({"signal": 1, "units": "counts"})
        xml = _group(entry, "xml", "NXsample")
        xml["SampleParameters"] = np.bytes_("<SampleParameters><name>Fe foil</name></SampleParameters>")
        xml["ScanParameters"] = np.bytes_("<ScanParameters><edge>K</edge></ScanParameters>")
        _group(entry, "user01", "NXuser")["username"] = np.bytes_("rjw82")


def tomo(folder: Path) -> None:
    """Make a small tomography scan as an ESRF beamline of old left it: EDF files, a frame in each, and an ``.info``."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:24, :32]
    for i in range(8):
        angle = np.deg2rad(22.5 * i)
        shadow = np.exp(-((x - 16 - 8 * np.cos(angle)) ** 2 + (y - 12) ** 2) / 20)
        _edf(folder / f"tomo{i:04d}.edf", rng.poisson(800 * np.exp(-shadow) + 20), i, 22.5 * i)
    _edf(folder / "dark.edf", rng.poisson(np.full((24, 32), 20)), 0, 0)
    for i in (0, 8):
        _edf(folder / f"refHST{i:04d}.edf", rng.poisson(np.full((24, 32), 820)), i, 22.5 * i)
    info = {"Energy": 17.5, "Distance": 12.3, "TOMO_N": 8, "ScanRange": 180, "PixelSize": 0.7, "Prefix": "tomo"}
    (folder / "tomo.info").write_text("".join(f"{k}= {v}\n" for k, v in info.items()), newline="\n")


def _edf(path: Path, counts: np.ndarray, number: int, angle: float) -> None:
    header = {
        "HeaderID": "EH:000001:000000:000000",
        "Image": 1,
        "ByteOrder": "LowByteFirst",
        "DataType": "UnsignedShort",
        "Dim_1": counts.shape[1],
        "Dim_2": counts.shape[0],
        "Size": counts.size * 2,
        "point_no": number,
        "time_of_day": f"{1142415000 + 2.5 * number:.6f}",
        "motor_mne": "pmy srot samz",
        "motor_pos": f"0.125 {angle:.4f} -1.5",
        "counter_mne": "mon srcur",
        "counter_pos": f"{5000 + 3 * number} {199.5 - 0.01 * number:.3f}",
    }
    text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in header.items())
    path.write_bytes(text.encode().ljust(1022) + b"}\n" + counts.astype("<u2").tobytes())


def main() -> None:
    """Make all files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    scan(folder / "scan.h5")
    map2d(folder / "map.nxs")
    dmc(folder / "dmc.h5")
    i20(folder / "i20.nxs")
    tomo(folder / "tomo")


if __name__ == "__main__":
    main()
