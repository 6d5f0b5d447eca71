"""Tables in text files, read as records: lazily, block by block, every number exactly.

A format says where the rows begin and what the columns are (``Sheet``); this package reads them. One pass over the
file finds its pieces: some whole rows each, quoted line breaks minded. A piece is then read on its own, so that memory
does not grow with the file. Plain numbers are read at once: in C where that was compiled, by numpy, or by polars when
the file is large enough to be worth its import. What is not plain (or wrong) is read cell by cell, and an error names
the file, the line and the column.
"""

from nxconvert.textfile.cells import missing_rows
from nxconvert.textfile.layout import SMALL, Column
from nxconvert.textfile.record import SheetRecord, record
from nxconvert.textfile.rows import first_row, row_of
from nxconvert.textfile.sheet import Sheet

__all__ = ["SMALL", "Column", "Sheet", "SheetRecord", "first_row", "missing_rows", "record", "row_of"]
