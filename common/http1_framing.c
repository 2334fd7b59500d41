#include "common/http1_impl.h"

/* Fields with a meaning for host, body or connection. */
enum known {
	HOST,
	CONTENT_LENGTH,
	TRANSFER_ENCODING,
	EXPECT,
	CONNECTION,
	N_KNOWN,
};

#define NAME(s) {"" s, sizeof(s) - 1}

/* Those, and the others that may stand in a request once at most. */
static const struct span names[] = {
	[HOST] = NAME("Host"),
	[CONTENT_LENGTH] = NAME("Content-Length"),
	[TRANSFER_ENCODING] = NAME("Transfer-Encoding"),
	[EXPECT] = NAME("Expect"),
	[CONNECTION] = NAME("Connection"),
	[N_KNOWN] = NAME("Authorization"),
	NAME("Content-Disposition"),
	NAME("Content-Range"),
	NAME("Content-Type"),
	NAME("Range"),
	NAME("Tus-Resumable"),
	NAME("Upload-Checksum"),
	NAME("Upload-Complete"),
	NAME("Upload-Concat"),
	NAME("Upload-Defer-Length"),
	NAME("Upload-Draft-Interop-Version"),
	NAME("Upload-Expires"),
	NAME("Upload-Length"),
	NAME("Upload-Limit"),
	NAME("Upload-Metadata"),
	NAME("Upload-Offset"),
};

#define N_NAMES (sizeof(names) / sizeof(names[0]))

/* What one pass over the fields found; ptr NULL: nothing. */
struct seen {
	struct span value[N_NAMES];
	bool close;
	bool keep_alive;
};

static size_t find_name(struct span name)
{
	size_t i;

	for (i = 0; i < N_NAMES; i++)
		if (name.len == names[i].len && span_eq_nocase(name, names[i]))
			break;
	return i;
}

/* An answer's other fields are its user's business. */
static bool is_single(const struct http1_parse *p, size_t name)
{
	return !p->is_response || name == CONTENT_LENGTH ||
	       name == TRANSFER_ENCODING;
}

static int gather(const struct http1_parse *p, struct seen *seen)
{
	for (unsigned int i = 0; i < p->head->n_fields; i++) {
		const struct http1_field *field = &p->head->fields[i];
		struct span value = http1_span(p->buf, field->value);
		size_t name = find_name(http1_span(p->buf, field->name));

		if (name == N_NAMES)
			continue;
		if (name == CONNECTION) {
			seen->close |= http1_list_has(value, "close");
			seen->keep_alive |= http1_list_has(value, "keep-alive");
			continue;
		}
		if (seen->value[name].ptr && is_single(p, name))
			return http1_refuse(p, 400, "a field stands twice that "
						    "may stand once");
		seen->value[name] = value;
	}
	return 0;
}

/* RFC 9112, 3.2: exactly one Host in 1.1, also beside an absolute target. */
static int read_host(struct http1_parse *p, const struct seen *seen)
{
	struct span host = seen->value[HOST];

	if (p->is_response)
		return 0;
	if (!host.ptr) {
		if (p->head->minor_version == 0)
			return 0;
		return http1_refuse(p, 400, "Host is missing");
	}
	if (!http1_is_authority(host))
		return http1_refuse(p, 400, "Host is malformed");
	if (p->head->host.len == 0)
		p->head->host = http1_slice_of(p, host);
	return 0;
}

/*
 * Anything but "chunked" alone: no sender may put chunked before another coding
 * or twice (RFC 9112, 6.1), and we know no other.
 */
static int refuse_codings(const struct http1_parse *p, struct span codings)
{
	while (codings.ptr) {
		struct span coding = span_trim(span_cut(&codings, ','));

		if (!http1_is_token(coding))
			return http1_refuse(p, 400, "Transfer-Encoding is "
						    "malformed");
		if (codings.ptr && span_eq_nocase(coding, SPAN_LIT("chunked")))
			return http1_refuse(p, 400, "chunked is not the last "
						    "transfer coding");
	}
	return http1_refuse(p, 501, "the transfer coding is not implemented");
}

static int read_coding(struct http1_parse *p, struct span coding)
{
	if (p->head->has_length)
		return http1_refuse(p, 400, "Content-Length stands beside "
					    "Transfer-Encoding");
	if (p->head->minor_version == 0)
		return http1_refuse(p, 400, "Transfer-Encoding is not of "
					    "HTTP/1.0");
	if (!span_eq_nocase(coding, SPAN_LIT("chunked")))
		return refuse_codings(p, coding);
	p->head->framing = HTTP1_CHUNKED;
	return 0;
}

/* RFC 9112, 6.3, rules 1 and 2, but CONNECT. */
static bool has_no_body(const struct http1_parse *p)
{
	int status = p->head->status;

	return p->is_response && (p->to_head || status < 200 ||
				  status == 204 || status == 304);
}

static int read_framing(struct http1_parse *p, const struct seen *seen)
{
	struct http1_head *head = p->head;
	struct span length = seen->value[CONTENT_LENGTH];
	struct span coding = seen->value[TRANSFER_ENCODING];

	head->framing = p->is_response ? HTTP1_UNTIL_CLOSE : HTTP1_NO_BODY;
	if (length.ptr) {
		if (!http1_parse_u64(length, &head->length))
			return http1_refuse(p, 400, "Content-Length is "
						    "malformed");
		head->has_length = true;
		head->framing = HTTP1_IDENTITY;
	}
	if (coding.ptr && read_coding(p, coding) < 0)
		return -1;
	if (has_no_body(p))
		head->framing = HTTP1_NO_BODY;
	return 0;
}

/* RFC 9110, 10.1.1: 100-continue in 1.0 and without a body means nothing. */
static int read_expect(struct http1_parse *p, const struct seen *seen)
{
	struct http1_head *head = p->head;
	struct span expect = seen->value[EXPECT];

	if (p->is_response || !expect.ptr)
		return 0;
	if (!span_eq_nocase(expect, SPAN_LIT("100-continue")))
		return http1_refuse(p, 417, "the expectation is unknown");
	head->expect_continue = head->minor_version > 0 &&
				(head->framing == HTTP1_CHUNKED ||
				 head->length > 0);
	return 0;
}

/* RFC 9112, 9.3; what ends with the connection cannot keep it. */
static bool keeps_alive(const struct http1_head *head, const struct seen *seen)
{
	if (seen->close || head->framing == HTTP1_UNTIL_CLOSE)
		return false;
	return head->minor_version > 0 || seen->keep_alive;
}

int http1_read_meaning(struct http1_parse *p)
{
	struct seen seen = {.close = false};

	if (gather(p, &seen) < 0 || read_host(p, &seen) < 0 ||
	    read_framing(p, &seen) < 0 || read_expect(p, &seen) < 0)
		return -1;
	p->head->keep_alive = keeps_alive(p->head, &seen);
	return 0;
}
