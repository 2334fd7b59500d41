/*
 * policy.h - how many committed copies the operator demands, and the verdict
 *
 * A policy is a number of copies and a set of targets without which nothing
 * commits. Pure.
 */
#ifndef BROADCASTER_POLICY_H
#define BROADCASTER_POLICY_H

#include "broadcaster/targets.h"

#include <stdbool.h>
#include <stdint.h>

struct policy {
	unsigned int copies;	/* demanded, 1 … n_targets */
	uint64_t required;	/* bit i: target i must be among them */
};

/*
 * Read BROADCASTER_QUORUM: "all", "majority", or a number from 1 to the number
 * of targets. -1 with ERR_CONFIG.
 */
int policy_parse(struct policy *policy, struct span quorum,
		 const struct target_list *targets, struct err *err) MUST_CHECK;

/*
 * Would these copies do? Bit i of `have`: target i has, or may still get, its
 * copy.
 */
bool policy_is_met(const struct policy *policy, uint64_t have);

#endif
