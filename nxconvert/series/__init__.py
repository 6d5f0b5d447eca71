"""Series: files of images, one or a few frames in each, as records of frames.

The names say which files belong together: those of one folder whose names differ by a number. The last number that
varies is the index; the others tell one series from another. All names, sizes and headers are looked at before any
frame is: nothing is inferred from the first file alone.
"""

from nxconvert.series.catalogue import catalogued
from nxconvert.series.files import File, listed
from nxconvert.series.recognise import Recogniser
from nxconvert.series.records import Catalogue, FrameRecord, Layout, entries, filters_of

__all__ = ["Catalogue", "File", "FrameRecord", "Layout", "Recogniser", "catalogued", "entries", "filters_of", "listed"]
