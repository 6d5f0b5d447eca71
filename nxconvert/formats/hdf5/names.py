"""Names of compression filters and of ways with links. Without an import of h5py, so that help texts can list them."""

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

LINKS = ("auto", "keep", "resolve")
"""What becomes of links: those that leave what is copied are followed; all are kept; all are followed."""
