"""The conformance kit: what every format must pass, ours or a plugin's.

A distribution that brings a format tests it in a few lines::

    from nxconvert.testing import FormatConformance
    from mypackage.myformat import FORMAT

    class TestMyFormat(FormatConformance):
        format = FORMAT

        def oracle(self, path):                       # another library, where there is one
            return {"x": otherlibrary.read(path)["x"]}

``FormatConformance`` writes generated records (or trees) that the format says it ``holds``, reads them back, and
demands that they are equal or that each difference was reported as a loss; it damages files, and demands one clear
error. It needs pytest and hypothesis. The strategies and the comparison may be used alone.
"""

from nxconvert.testing.conformance import FormatConformance
from nxconvert.testing.differences import Difference, differences, record_differences, tree_differences
from nxconvert.testing.generate import grid_records, plain_record, plain_tree, records, trees

__all__ = [
    "Difference",
    "FormatConformance",
    "differences",
    "grid_records",
    "plain_record",
    "plain_tree",
    "record_differences",
    "records",
    "tree_differences",
    "trees",
]
