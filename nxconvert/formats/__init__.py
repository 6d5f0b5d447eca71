"""Formats: one file each, ``FORMAT = Format(...)``. They are found by listing this folder; there is no table."""
