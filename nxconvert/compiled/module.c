/* Makes a library that setuptools can build as it builds extensions, and that says what it is. */
#include "common.h"

/* Raised with each change of a function's arguments or meaning; nxconvert/compiled/__init__.py has the same number. */
EXPORT int nx_version(void) { return 3; }

/* Windows wants this name exported. The library is never imported as a module. */
EXPORT void *PyInit_library(void) { return NULL; }
