"""Mappings: what ties a tree to records. Data (YAML), read in both directions, never code."""

from nxconvert.mapping.load import load, shipped_names
from nxconvert.mapping.model import Mapping, Rule

__all__ = ["Mapping", "Rule", "load", "shipped_names"]
