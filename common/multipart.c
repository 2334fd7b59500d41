#include "common/multipart.h"

#include <stdio.h>

#include "common/http1.h"

/*
 * The delimiter begins with the only CR in it. So bytes that matched part of
 * it and then went wrong hold no second beginning: they are plain bytes, all.
 */
#define CRLF "\r\n"
#define CRLF_LEN ((size_t)2)

enum state {
	PREAMBLE,	/* before the first delimiter */
	DELIMITER,	/* right behind a delimiter's boundary */
	PADDING,	/* blanks behind it */
	DASH,		/* one dash behind it */
	DELIMITER_LF,	/* the line's CR was there */
	HEAD,		/* fields of a part */
	BODY,		/* bytes of a part */
	TOO_MUCH,	/* over MULTIPART_MAX_FIELD_BYTES */
	CLOSED,		/* close delimiter seen, not yet told */
	CLOSE_PADDING,	/* blanks behind the close delimiter */
	CLOSE_LF,	/* its line's CR was there */
	EPILOGUE,	/* anything, until the input ends */
	FAILED,
};

/* Fields of a part's head that mean something here; ptr NULL when absent. */
struct part_fields {
	struct span disposition;
	struct span content_type;
	struct span encoding;
	unsigned int n;
};

static struct span media_type(struct span value)
{
	return span_trim(span_cut(&value, ';'));
}

bool multipart_is_form(struct span content_type)
{
	return span_eq_nocase(media_type(content_type),
			      SPAN_LIT("multipart/form-data"));
}

/* RFC 2046, 5.1.1: 0*69<bchars> bcharsnospace */
static bool is_boundary(const char *s)
{
	static const char bchars[] = "0123456789"
				     "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz"
				     "'()+_,-./:=? ";
	size_t len = strlen(s);

	return len > 0 && strspn(s, bchars) == len && s[len - 1] != ' ';
}

int multipart_init(struct multipart *m, struct span content_type,
		   struct err *err)
{
	char boundary[MULTIPART_MAX_BOUNDARY + 1];
	int found;

	if (!multipart_is_form(content_type))
		return err_set_status(err, 400, "not multipart/form-data");
	found = http1_param(content_type, "boundary", boundary,
			    sizeof(boundary));
	if (found == 0)
		return err_set_status(err, 400, "the boundary is missing");
	if (found < 0 || !is_boundary(boundary))
		return err_set_status(err, 400, "the boundary is malformed");
	memset(m, 0, sizeof(*m));
	m->delimiter_len = (size_t)snprintf(m->delimiter, sizeof(m->delimiter),
					    CRLF "--%s", boundary);
	m->state = PREAMBLE;
	m->matched = m->borrowed = CRLF_LEN;
	return 0;
}

static enum multipart_event fail(struct multipart *m)
{
	m->state = FAILED;
	return MULTIPART_BAD;
}

static void advance(struct span *in, size_t n)
{
	in->ptr += n;
	in->len -= n;
}

/* Count bytes that belong to no part, and so are dropped. */
static enum multipart_event drop(struct multipart *m, size_t n, struct err *err)
{
	m->outside_bytes += n;
	if (m->outside_bytes <= MULTIPART_MAX_PREAMBLE)
		return MULTIPART_MORE;
	err_set_status(err, 400, "more than %u bytes outside of a form's parts",
		       MULTIPART_MAX_PREAMBLE);
	return fail(m);
}

/* ---- the delimiter ---------------------------------------------------- */

/* Take what goes on with the delimiter; false, nothing taken, if not all. */
static bool match(struct multipart *m, struct span *in)
{
	size_t n = m->delimiter_len - m->matched;

	if (n > in->len)
		n = in->len;
	if (memcmp(m->delimiter + m->matched, in->ptr, n))
		return false;
	m->matched += n;
	advance(in, n);
	return true;
}

/* Bytes in front of the delimiter, or of what its beginning at the end is. */
static size_t bytes_before(const struct multipart *m, struct span in)
{
	size_t look = in.len < m->delimiter_len ? in.len : m->delimiter_len - 1;
	const char *end = in.ptr + in.len;
	const char *at;

	at = memmem(in.ptr, in.len, m->delimiter, m->delimiter_len);
	if (at)
		return (size_t)(at - in.ptr);
	at = memrchr(end - look, '\r', look);
	if (at && !memcmp(at, m->delimiter, (size_t)(end - at)))
		return (size_t)(at - in.ptr);
	return in.len;
}

/*
 * The next bytes that are no delimiter, true. False: the delimiter is complete,
 * or all of *in is withheld.
 */
static bool next_plain(struct multipart *m, struct span *in, struct span *plain)
{
	if (m->matched > 0) {
		if (match(m, in))
			return false;
		*plain = span_make(m->delimiter + m->borrowed,
				   m->matched - m->borrowed);
		m->matched = m->borrowed = 0;
		if (plain->len > 0)
			return true;
	}
	*plain = span_make(in->ptr, bytes_before(m, *in));
	advance(in, plain->len);
	if (plain->len > 0)
		return true;
	CHECK(match(m, in));
	return false;
}

static void leave_delimiter(struct multipart *m)
{
	if (m->matched < m->delimiter_len)
		return;
	m->matched = m->borrowed = 0;
	m->state = DELIMITER;
}

static enum multipart_event on_preamble(struct multipart *m, struct span *in,
					struct err *err)
{
	struct span plain;

	if (next_plain(m, in, &plain))
		return drop(m, plain.len, err);
	leave_delimiter(m);
	return MULTIPART_MORE;
}

static enum multipart_event bad_line(struct multipart *m, struct err *err)
{
	err_set_status(err, 400, "a boundary line ends in something else");
	return fail(m);
}

/* Behind `--boundary`: two dashes, or blanks and CRLF (RFC 2046, 5.1.1). */
static enum multipart_event on_delimiter(struct multipart *m, char c,
					 struct err *err)
{
	if (c == '\r') {
		m->state = DELIMITER_LF;
		return MULTIPART_MORE;
	}
	if (c == '-' && m->state == DELIMITER) {
		m->state = DASH;
		return MULTIPART_MORE;
	}
	if (c != ' ' && c != '\t')
		return bad_line(m, err);
	m->state = PADDING;
	return drop(m, 1, err);
}

/* Only now is it certain that the part before the delimiter is complete. */
static enum multipart_event end_part(struct multipart *m, enum state next)
{
	m->state = (int)next;
	return m->n_parts > 0 ? MULTIPART_PART_END : MULTIPART_MORE;
}

static enum multipart_event on_dash(struct multipart *m, char c,
				    struct err *err)
{
	return c == '-' ? end_part(m, CLOSED) : bad_line(m, err);
}

static enum multipart_event on_delimiter_lf(struct multipart *m, char c,
					    struct err *err)
{
	if (c != '\n')
		return bad_line(m, err);
	memcpy(m->head, CRLF, CRLF_LEN);
	m->head_len = CRLF_LEN;
	return end_part(m, HEAD);
}

static enum multipart_event on_close_line(struct multipart *m, char c,
					  struct err *err)
{
	if (m->state == CLOSE_LF && c == '\n')
		m->state = EPILOGUE;
	else if (m->state == CLOSE_PADDING && c == '\r')
		m->state = CLOSE_LF;
	else if (m->state == CLOSE_LF || (c != ' ' && c != '\t'))
		return bad_line(m, err);
	return drop(m, 1, err);
}

/* ---- a part's head ---------------------------------------------------- */

static struct span *slot(struct part_fields *fields, struct span name)
{
	if (span_eq_nocase(name, SPAN_LIT("content-disposition")))
		return &fields->disposition;
	if (span_eq_nocase(name, SPAN_LIT("content-type")))
		return &fields->content_type;
	if (span_eq_nocase(name, SPAN_LIT("content-transfer-encoding")))
		return &fields->encoding;
	return NULL;
}

static int read_field(struct part_fields *fields, struct span line,
		      struct err *err)
{
	struct span value = line;
	struct span name = span_cut(&value, ':');
	struct span *known;

	if (++fields->n > MULTIPART_MAX_PART_FIELDS)
		return err_set_status(err, 431, "over %u fields in a part",
				      MULTIPART_MAX_PART_FIELDS);
	if (!value.ptr || !http1_is_token(name) || !http1_is_field_value(value))
		return err_set_status(err, 400, "a part's head is malformed");
	known = slot(fields, name);
	if (!known)
		return 0;
	if (known->ptr)
		return err_set_status(err, 400, "a part has %.*s twice",
				      SPAN_ARG(name));
	*known = span_trim(value);
	return 0;
}

/* `head` is field lines, each with its CRLF. */
static int read_fields(struct part_fields *fields, struct span head,
		       struct err *err)
{
	while (head.len > 0) {
		const char *end = memmem(head.ptr, head.len, CRLF, CRLF_LEN);
		size_t len = (size_t)(end - head.ptr);

		if (read_field(fields, span_make(head.ptr, len), err) < 0)
			return -1;
		advance(&head, len + CRLF_LEN);
	}
	return 0;
}

static int check_encoding(struct span encoding, struct err *err)
{
	if (!encoding.ptr || span_eq_nocase(encoding, SPAN_LIT("binary")) ||
	    span_eq_nocase(encoding, SPAN_LIT("8bit")) ||
	    span_eq_nocase(encoding, SPAN_LIT("7bit")))
		return 0;
	return err_set_status(err, 415, "a part's transfer encoding is neither "
					"binary nor 8bit nor 7bit");
}

/* RFC 7578, 4.2: every part is form-data and has a name. */
static int read_disposition(struct multipart *m, struct span value,
			    struct err *err)
{
	int found;

	if (!span_eq_nocase(media_type(value), SPAN_LIT("form-data")))
		return err_set_status(err, 400, "a part is not form-data");
	found = http1_form_param(value, "name", m->part_name,
				 sizeof(m->part_name));
	if (found <= 0 || !http1_is_utf8(span_of(m->part_name)))
		return err_set_status(err, 400, "a part's name is missing, "
						"malformed or too long");
	found = http1_form_filename(value, m->part_filename,
				    sizeof(m->part_filename));
	if (found < 0)
		return err_set_status(err, 400, "a part's file name is "
						"malformed or too long");
	m->part_is_file = found;
	return 0;
}

static int begin_part(struct multipart *m, struct span head, struct err *err)
{
	struct part_fields fields = { .n = 0 };

	m->part_name[0] = m->part_filename[0] = m->part_content_type[0] = '\0';
	if (++m->n_parts > MULTIPART_MAX_PARTS)
		return err_set_status(err, 400, "more than %u parts",
				      MULTIPART_MAX_PARTS);
	if (read_fields(&fields, head, err) < 0 ||
	    check_encoding(fields.encoding, err) < 0 ||
	    read_disposition(m, fields.disposition, err) < 0)
		return -1;
	if (!span_to_string(fields.content_type, m->part_content_type,
			    sizeof(m->part_content_type)))
		m->part_content_type[0] = '\0';
	return 0;
}

/*
 * Pile the head up until its empty line; what follows stays in *in. Where the
 * empty line's CRLF CRLF begins, or NULL while it is not there.
 */
static const char *pile_up(struct multipart *m, struct span *in)
{
	size_t from = m->head_len < 3 ? 0 : m->head_len - 3;
	size_t n = sizeof(m->head) - m->head_len;
	const char *end;

	if (n > in->len)
		n = in->len;
	memcpy(m->head + m->head_len, in->ptr, n);
	m->head_len += n;
	end = memmem(m->head + from, m->head_len - from, CRLF CRLF,
		     2 * CRLF_LEN);
	if (end)
		n -= (size_t)(m->head + m->head_len - end) - 2 * CRLF_LEN;
	advance(in, n);
	return end;
}

static enum multipart_event on_head(struct multipart *m, struct span *in,
				    struct err *err)
{
	const char *end = pile_up(m, in);
	struct span fields;

	if (!end && m->head_len < sizeof(m->head))
		return MULTIPART_MORE;
	if (!end) {
		err_set_status(err, 431, "a part's head is over %u bytes",
			       MULTIPART_MAX_PART_HEAD);
		return fail(m);
	}
	fields = span_make(m->head + CRLF_LEN, (size_t)(end - m->head));
	if (begin_part(m, fields, err) < 0)
		return fail(m);
	/* A part without a body: the empty line's CRLF is the delimiter's. */
	m->matched = m->borrowed = CRLF_LEN;
	m->state = BODY;
	return MULTIPART_PART;
}

/* ---- a part's body ---------------------------------------------------- */

/* Data of parts that are no files, up to the limit; what is over it is lost. */
static enum multipart_event field_data(struct multipart *m, struct span *data)
{
	uint64_t left = MULTIPART_MAX_FIELD_BYTES - m->field_bytes;

	if (data->len > left) {
		m->state = TOO_MUCH;
		data->len = (size_t)left;
	}
	m->field_bytes += data->len;
	return data->len > 0 ? MULTIPART_DATA : MULTIPART_MORE;
}

static enum multipart_event on_body(struct multipart *m, struct span *in,
				    struct span *data)
{
	if (!next_plain(m, in, data)) {
		leave_delimiter(m);
		return MULTIPART_MORE;
	}
	return m->part_is_file ? MULTIPART_DATA : field_data(m, data);
}

static enum multipart_event on_too_much(struct multipart *m, struct err *err)
{
	err_set_status(err, 413, "parts that are no files hold over %u bytes",
		       MULTIPART_MAX_FIELD_BYTES);
	return fail(m);
}

/* ---- all of it -------------------------------------------------------- */

static char take_byte(struct span *in)
{
	char c = in->ptr[0];

	advance(in, 1);
	return c;
}

static enum multipart_event on_epilogue(struct multipart *m, struct span *in,
					struct err *err)
{
	size_t n = in->len;

	advance(in, n);
	return drop(m, n, err);
}

static bool needs_input(const struct multipart *m)
{
	return m->state != TOO_MUCH && m->state != CLOSED && m->state != FAILED;
}

/* One step in one state; MULTIPART_MORE when it led to no event. */
static enum multipart_event step(struct multipart *m, struct span *in,
				 struct span *data, struct err *err)
{
	switch ((enum state)m->state) {
	case PREAMBLE:
		return on_preamble(m, in, err);
	case DELIMITER:
	case PADDING:
		return on_delimiter(m, take_byte(in), err);
	case DASH:
		return on_dash(m, take_byte(in), err);
	case DELIMITER_LF:
		return on_delimiter_lf(m, take_byte(in), err);
	case HEAD:
		return on_head(m, in, err);
	case BODY:
		return on_body(m, in, data);
	case TOO_MUCH:
		return on_too_much(m, err);
	case CLOSED:
		m->state = CLOSE_PADDING;
		return MULTIPART_END;
	case CLOSE_PADDING:
	case CLOSE_LF:
		return on_close_line(m, take_byte(in), err);
	case EPILOGUE:
		return on_epilogue(m, in, err);
	case FAILED:
		break;
	}
	err_set_status(err, 400, "the form is malformed");
	return MULTIPART_BAD;
}

enum multipart_event multipart_next(struct multipart *m, struct span *in,
				    struct span *data, struct err *err)
{
	enum multipart_event event = MULTIPART_MORE;

	while (event == MULTIPART_MORE && (in->len > 0 || !needs_input(m)))
		event = step(m, in, data, err);
	return event;
}

size_t multipart_withheld(const struct multipart *m)
{
	return m->state == BODY ? m->matched - m->borrowed : 0;
}

int multipart_finish(const struct multipart *m, struct err *err)
{
	if (m->state == CLOSE_PADDING || m->state == CLOSE_LF ||
	    m->state == EPILOGUE)
		return 0;
	return err_set_status(err, 400, "the form has no last boundary");
}
