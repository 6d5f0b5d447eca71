"""Text tables that somebody else wrote: where the rows are, what separates them, what the columns are called.

Everything found can be stated instead. What cannot be told is refused: a wrong table is worse than none. So a line
that looks like a row but is none is an error that names it, and nothing is cut off in silence: whatever stands before,
between and after the rows is kept as ``comment``.
"""

from nxconvert.format import Option

OPTIONS = (
    Option("delimiter", "", "What separates the cells of a foreign file: comma, semicolon, tab, space."),
    Option("decimal", "", "The decimal sign of a foreign file."),
    Option("comment", "", "What a comment line of a foreign file begins with."),
    Option("labels", "", "The columns' names, with commas between, or the number of the line that has them."),
    Option("roles", "", "What the columns are, e.g. x=energy,signal=mu."),
)
