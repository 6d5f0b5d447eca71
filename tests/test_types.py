"""Names of types, as text files say them."""

from __future__ import annotations

import numpy as np
import pytest

from nxconvert.array import named_type, type_name
from nxconvert.errors import InputError


@pytest.mark.parametrize("dtype", ["float16", "<i4", ">u2", "bool", "complex64", "S5", "datetime64[ns]"])
def test_a_type_comes_back_from_its_name(dtype: str) -> None:
    assert named_type(type_name(np.dtype(dtype))) == np.dtype(dtype)


def test_the_names_of_an_enumeration_come_back() -> None:
    dtype = np.dtype("int8", metadata={"enum": {"off": 0, "on": 1}})
    assert named_type(type_name(dtype)).metadata == dtype.metadata


@pytest.mark.parametrize(
    "name", ["flaot64", "float\udcdd64", "f8,,f8", "(", "enum(int8)[", "enum(int9){}", "", "f8:\udcff\0", "float64)"]
)
def test_a_damaged_name_is_one_error(name: str) -> None:
    try:
        named_type(name)
    except InputError as error:
        assert "unknown data type" in error.message  # noqa: PT017 - some of them are types
