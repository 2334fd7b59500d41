#include "common/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "bug: %s does not hold at %s:%d\n", what, file, line);
	abort();
}
