#include "broadcaster/ticket.h"

#include "common/http1.h"

#include <inttypes.h>
#include <stdio.h>

static void write_at(const char *token, struct span id, uint64_t expires_s,
		     char ticket[TICKET_SIZE])
{
	unsigned char mac[DIGEST_SHA256_BYTES];
	char text[16 + UUID_TEXT_SIZE + 20];
	int len = snprintf(text, sizeof(text), "play %.*s %" PRIu64,
			   SPAN_ARG(id), expires_s);

	CHECK(len > 0 && (size_t)len < sizeof(text));
	digest_hmac(span_of(token), span_make(text, (size_t)len), mac);
	len = snprintf(ticket, TICKET_SIZE, "%" PRIu64 ".", expires_s);
	base64_encode(BASE64_URL, span_make((const char *)mac, sizeof(mac)),
		      ticket + len);
}

void ticket_write(const char *token, const char *id, uint64_t wall_ms,
		  char ticket[TICKET_SIZE])
{
	uint64_t step = wall_ms / 1000 / TICKET_STEP_S;

	write_at(token, span_of(id), (step + TICKET_STEPS) * TICKET_STEP_S,
		 ticket);
}

bool ticket_is_valid(const char *token, struct span id, uint64_t wall_ms,
		     struct span ticket)
{
	char wanted[TICKET_SIZE];
	struct span rest = ticket;
	uint64_t expires_s;

	if (!uuid_is_valid(id) ||
	    !http1_parse_u64(span_cut(&rest, '.'), &expires_s) ||
	    expires_s <= wall_ms / 1000)
		return false;
	write_at(token, id, expires_s, wanted);
	return digest_eq_secret(ticket, span_of(wanted));
}
