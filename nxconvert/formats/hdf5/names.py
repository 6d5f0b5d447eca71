"""Compression filters by name. Without an import of h5py, so that help texts can list them."""

from __future__ import annotations

COMPRESSIONS = (
    "none",
    "gzip",
    "bitshuffle-lz4",
    "bitshuffle-zstd",
    "blosc2",
    "lz4",
    "zstd",
    "lzf",
)
