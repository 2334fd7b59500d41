/*
 * media_order.h - in which order readers are asked for an object
 *
 * Round and round, so that load is spread; those that lately did not answer come
 * last, because asking them first would delay every player; and last of all the
 * one that has just failed this very player. Pure.
 */
#ifndef BROADCASTER_MEDIA_ORDER_H
#define BROADCASTER_MEDIA_ORDER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define MEDIA_ORDER_NOBODY UINT_MAX

/*
 * Write a permutation of 0 … n-1 to `order`. `start` is whose turn it is (any
 * number, modulo n); `is_shy[i]`: asked after all that are not; `failed`:
 * asked last, or MEDIA_ORDER_NOBODY.
 */
void media_order(unsigned int n, unsigned int start, const bool *is_shy,
		 unsigned int failed, unsigned char *order);

#endif
