#include "common/http1_impl.h"

/*
 * Lines are looked at when they are complete, in their order, so that the
 * verdict depends only on the bytes. What is too long is refused at the first
 * byte too much, complete or not.
 */

enum stage {
	STAGE_START,	/* before the end of the start line */
	STAGE_FIELDS,	/* before the empty line */
	STAGE_DONE,
	STAGE_BAD,
};

#define VERSION_LENGTH 8u	/* "HTTP/1.1" */
#define MAX_LEADING 4u		/* bytes of two empty lines (RFC 9112, 2.2) */
#define MAX_REQUEST_LINE \
	(HTTP1_MAX_METHOD + HTTP1_MAX_LINE + VERSION_LENGTH + 2u)

void http1_head_init(struct http1_head *head)
{
	memset(head, 0, sizeof(*head));
}

int http1_refuse(const struct http1_parse *p, int status, const char *text)
{
	if (p->is_response)
		return err_set(p->err, ERR_TARGET,
			       "sent an answer of which %s", text);
	return err_set_status(p->err, status, "%s", text);
}

/* ---- lines --------------------------------------------------------------- */

/* The line's LF has to stand before this place. */
static size_t line_limit(const struct http1_parse *p)
{
	bool is_target = p->head->stage == STAGE_START && !p->is_response;
	size_t longest = is_target ? MAX_REQUEST_LINE : HTTP1_MAX_LINE;
	size_t limit = p->head->start + longest + 2;

	return limit < HTTP1_MAX_HEAD ? limit : HTTP1_MAX_HEAD;
}

static int refuse_length(const struct http1_parse *p, size_t limit)
{
	if (p->head->stage == STAGE_START)
		return http1_refuse(p, 414, "the first line is too long");
	if (limit == HTTP1_MAX_HEAD)
		return http1_refuse(p, 431, "the head is too long");
	return http1_refuse(p, 431, "a field line is too long");
}

/*
 * The next line of the first `len` bytes, without its CRLF: 1. Not complete: 0.
 * Refused: -1. No byte is searched twice.
 */
static int take_line(struct http1_parse *p, size_t len, struct span *line)
{
	struct http1_head *head = p->head;
	size_t limit = line_limit(p);
	size_t end = len < limit ? len : limit;
	const char *lf = NULL;
	size_t at;

	if (head->scanned < end)
		lf = memchr(p->buf + head->scanned, '\n', end - head->scanned);
	if (!lf) {
		head->scanned = end;
		return len < limit ? 0 : refuse_length(p, limit);
	}
	at = (size_t)(lf - p->buf);
	if (at == head->start || lf[-1] != '\r')
		return http1_refuse(p, 400, "a line does not end with CRLF");
	*line = span_make(p->buf + head->start, at - 1 - head->start);
	head->start = head->scanned = at + 1;
	return 1;
}

/* ---- start lines --------------------------------------------------------- */

/* "HTTP/" DIGIT "." DIGIT of which we speak 1.0 and 1.1 (RFC 9112, 2.3). */
static int read_version(struct http1_parse *p, struct span s)
{
	if (s.len != VERSION_LENGTH ||
	    !span_starts_with(s, SPAN_LIT("HTTP/")) ||
	    !http1_is_digit(s.ptr[5]) || s.ptr[6] != '.' ||
	    !http1_is_digit(s.ptr[7]))
		return http1_refuse(p, 400, "the first line is malformed");
	if (s.ptr[5] != '1' || s.ptr[7] > '1')
		return http1_refuse(p, 505,
				    "the HTTP version is not 1.0 or 1.1");
	p->head->minor_version = s.ptr[7] - '0';
	return 0;
}

/*
 * CONNECT and TRACE are missing on purpose: a proxy has the one, and the other
 * would echo credentials.
 */
static int read_method(struct http1_parse *p, struct span name)
{
	for (int m = HTTP1_GET; m <= HTTP1_OPTIONS; m++) {
		enum http1_method method = (enum http1_method)m;

		if (!span_eq(name, span_of(http1_method_name(method))))
			continue;
		p->head->method = method;
		return 0;
	}
	return http1_refuse(p, 501, "the method is not implemented");
}

/* method SP request-target SP HTTP-version (RFC 9112, 3). */
static int read_request_line(struct http1_parse *p, struct span line)
{
	struct span method = http1_take(&line, http1_run(line, HTTP1_TCHAR));
	struct span target;

	if (method.len == 0 || line.len == 0 || line.ptr[0] != ' ')
		return http1_refuse(p, 400, "the first line is malformed");
	http1_take(&line, 1);
	target = http1_take(&line, http1_run(line, HTTP1_TARGET));
	if (target.len == 0 || line.len == 0 || line.ptr[0] != ' ')
		return http1_refuse(p, 400, "the request target is malformed");
	http1_take(&line, 1);
	if (target.len > HTTP1_MAX_LINE)
		return http1_refuse(p, 414, "the request target is too long");
	if (read_version(p, line) < 0 || read_method(p, method) < 0)
		return -1;
	return http1_read_target(p, target);
}

/*
 * HTTP-version SP 3DIGIT SP [ reason-phrase ] (RFC 9112, 4). Without a reason,
 * many servers leave the second SP out.
 */
static int read_status_line(struct http1_parse *p, struct span line)
{
	struct span version = span_cut(&line, ' ');
	struct span reason = line;
	struct span status = span_cut(&reason, ' ');
	uint64_t code = 0;

	if (read_version(p, version) < 0)
		return -1;
	if (status.len != 3 || !http1_parse_u64(status, &code) ||
	    code < 100 || code > 599 || !http1_is_field_value(reason))
		return http1_refuse(p, 502, "the status line is malformed");
	p->head->status = (int)code;
	if (reason.ptr)
		p->head->reason = http1_slice_of(p, reason);
	return 0;
}

static int read_start_line(struct http1_parse *p, struct span line)
{
	int result;

	if (p->is_response) {
		result = read_status_line(p, line);
	} else if (line.len > 0) {
		result = read_request_line(p, line);
	} else {
		if (p->head->start <= MAX_LEADING)
			return 0;
		return http1_refuse(p, 400, "empty lines before the request");
	}
	p->head->stage = STAGE_FIELDS;
	return result;
}

/* ---- fields -------------------------------------------------------------- */

static int refuse_name(struct http1_parse *p, struct span line)
{
	if (line.ptr[0] != ' ' && line.ptr[0] != '\t')
		return http1_refuse(p, 400, "a field's name is malformed");
	if (p->head->n_fields == 0)
		return http1_refuse(p, 400, "a blank before the first field");
	return http1_refuse(p, 400, "a folded field line");
}

/* field-name ":" OWS field-value OWS (RFC 9112, 5). */
static int read_field(struct http1_parse *p, struct span line)
{
	struct http1_head *head = p->head;
	struct span value = line;
	struct span name = http1_take(&value, http1_run(line, HTTP1_TCHAR));

	if (head->n_fields == HTTP1_MAX_FIELDS)
		return http1_refuse(p, 431, "there are too many fields");
	if (name.len == 0 || value.len == 0 || value.ptr[0] != ':')
		return refuse_name(p, line);
	http1_take(&value, 1);
	value = span_trim(value);
	if (!http1_is_field_value(value))
		return http1_refuse(p, 400, "a control character in a field");
	head->fields[head->n_fields++] = (struct http1_field){
		http1_slice_of(p, name), http1_slice_of(p, value)};
	return 0;
}

/* ---- heads --------------------------------------------------------------- */

static int read_line(struct http1_parse *p, struct span line)
{
	if (p->head->stage == STAGE_START)
		return read_start_line(p, line);
	if (line.len > 0)
		return read_field(p, line);
	p->head->stage = STAGE_DONE;
	p->head->size = p->head->start;
	return http1_read_meaning(p);
}

static enum http1_result parse(struct http1_parse *p, size_t len)
{
	struct http1_head *head = p->head;
	struct span line = span_make(NULL, 0);
	int got = 1;

	while (got > 0 && head->stage < STAGE_DONE) {
		got = take_line(p, len, &line);
		if (got > 0 && read_line(p, line) < 0)
			got = -1;
	}
	if (got < 0)
		head->stage = STAGE_BAD;
	if (head->stage != STAGE_BAD)
		return head->stage == STAGE_DONE ? HTTP1_DONE : HTTP1_MORE;
	http1_refuse(p, 400, "the head was refused before");
	return HTTP1_BAD;
}

enum http1_result http1_parse_request(struct http1_head *head, const char *buf,
				      size_t len, struct err *err)
{
	struct http1_parse p = {.head = head, .buf = buf, .err = err};

	return parse(&p, len);
}

enum http1_result http1_parse_response(struct http1_head *head, const char *buf,
				       size_t len, bool to_head,
				       struct err *err)
{
	struct http1_parse p = {
		.head = head,
		.buf = buf,
		.is_response = true,
		.to_head = to_head,
		.err = err,
	};

	return parse(&p, len);
}
