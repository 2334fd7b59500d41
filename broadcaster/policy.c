#include "broadcaster/policy.h"

#include "common/http1.h"

int policy_parse(struct policy *policy, struct span quorum,
		 const struct target_list *targets, struct err *err)
{
	uint64_t n;

	*policy = (struct policy){ .copies = targets->n };
	for (unsigned int i = 0; i < targets->n; i++)
		if (targets->items[i].required)
			policy->required |= UINT64_C(1) << i;
	if (span_eq(quorum, SPAN_LIT("all")))
		return 0;
	if (span_eq(quorum, SPAN_LIT("majority"))) {
		policy->copies = targets->n / 2 + 1;
		return 0;
	}
	if (!http1_parse_u64(quorum, &n) || n < 1 || n > targets->n)
		return err_set(err, ERR_CONFIG,
			       "BROADCASTER_QUORUM=\"%.*s\": all, majority, or "
			       "a number from 1 to %u (the number of targets) "
			       "is allowed",
			       quorum.len > 40 ? 40 : (int)quorum.len,
			       quorum.ptr, targets->n);
	policy->copies = (unsigned int)n;
	return 0;
}

bool policy_is_met(const struct policy *policy, uint64_t have)
{
	return (have & policy->required) == policy->required &&
	       (unsigned int)__builtin_popcountll(have) >= policy->copies;
}
