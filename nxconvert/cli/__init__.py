"""The command line: one file a command. The only place that prints, exits or shows progress."""

import gc

gc.set_threshold(100_000, 20, 20)  # a command makes many small objects and few cycles: a tenth of its time otherwise
