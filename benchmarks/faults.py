"""Runs of ``pack`` that are killed, and packed files with a flipped bit: ``python benchmarks/faults.py kill|flip N``.

``kill`` packs 400 frames, kills the run at N points spread over its length (each third one twice), runs it again, and
verifies the result against the originals. ``flip`` flips one bit at N random places of packed files of three
compressions, and counts how often ``verify`` finds it. The exit code is 1 when anything was lost or not found.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import data

FRAMES = 400


def main() -> int:
    """Run what is asked for."""
    what, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="nxconvert-", dir=sys.argv[3] if len(sys.argv) > 3 else None) as folder:
        work = Path(folder)
        return {"kill": kills, "flip": flips}[what](work, count)


def _pack(source: Path, out: Path, compression: str = "bitshuffle-lz4") -> list[str]:
    from nxconvert.format import Report
    from nxconvert.packed.pack import Plan, pack

    report = Report()
    pack([str(source)], out, Plan(compression=compression), report)
    return [str(n) for n in report.notices]


def kills(work: Path, count: int) -> int:
    """Kill runs, in processes that are forked from this one, so that no time goes into starting them."""
    source, folder = work / "series", work / "packed"
    data.edf(FRAMES, 724)(source)
    folder.mkdir()
    out = folder / "out.h5"
    from nxconvert.packed.verify import verify

    started = time.perf_counter()
    _pack(source, out)
    whole = time.perf_counter() - started
    chosen, lost, resumed = random.Random(1), 0, 0
    for point in range(count):
        shutil.rmtree(folder)
        folder.mkdir()
        for part in [0.5, 0.6] if point % 3 == 0 else [1.0]:
            _killed(source, out, (point + chosen.random()) / count * whole * part)
        if not out.exists():
            resumed += any("going on with" in notice for notice in _pack(source, out))
        good = verify(out, [source]).good
        left = [p.name for p in folder.iterdir() if p != out and not p.name.endswith(".lock")]
        if not good or left:
            lost += 1
            print(f"point {point}: good {good}, left {left}", flush=True)
        if point % 25 == 24:
            print(f"{point + 1} points, {resumed} gone on with, {lost} lost", flush=True)
    print(f"{count} points over {whole:.2f} s: {resumed} gone on with, {lost} lost")
    return int(lost > 0)


def _killed(source: Path, out: Path, after: float) -> None:
    child = os.fork()
    if not child:
        try:
            _pack(source, out)
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def flips(work: Path, count: int) -> int:
    """Flip bits."""
    from nxconvert.errors import NxconvertError
    from nxconvert.packed.verify import verify

    data.edf(30, 256)(work / "series")
    (work / "series" / "scan.log").write_text("a file beside the frames\n" * 400)
    chosen, missed = random.Random(2), 0
    for compression in ("bitshuffle-lz4", "gzip", "none"):
        out = work / f"{compression}.h5"
        _pack(work / "series", out, compression)
        good = out.read_bytes()
        found = 0
        for _ in range(count):
            at, bit = chosen.randrange(len(good)), chosen.randrange(8)
            with out.open("r+b") as file:
                file.seek(at)
                file.write(bytes([good[at] ^ 1 << bit]))
            try:
                found += not verify(out).good
            except NxconvertError:
                found += 1
            with out.open("r+b") as file:
                file.seek(at)
                file.write(good[at : at + 1])
        missed += count - found
        print(f"{compression}: {found} of {count} found", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
