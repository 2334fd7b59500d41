#include "broadcaster/media_order.h"

/* 0: in order; 1: after those; 2: last. */
static unsigned int rank_of(unsigned int i, const bool *is_shy,
			    unsigned int failed)
{
	if (i == failed)
		return 2;
	return is_shy[i] ? 1 : 0;
}

void media_order(unsigned int n, unsigned int start, const bool *is_shy,
		 unsigned int failed, unsigned char *order)
{
	unsigned int used = 0;

	for (unsigned int rank = 0; rank <= 2; rank++)
		for (unsigned int k = 0; k < n; k++) {
			unsigned int i = (start % n + k) % n;

			if (rank_of(i, is_shy, failed) == rank)
				order[used++] = (unsigned char)i;
		}
}
