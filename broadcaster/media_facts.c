#include "broadcaster/media_facts.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- reading ------------------------------------------------------------- */

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_TARGET, "sent %s", what);
}

/* A strong ETag that is the SHA-256 in quotes. */
static int read_etag(const struct reply *r, struct media_facts *facts,
		     struct err *err)
{
	struct span etag = reply_field(r, "ETag");

	if (!etag.ptr && facts->status != 200 && facts->status != 206)
		return 0;
	if (etag.len != DIGEST_HEX_SIZE + 1 || etag.ptr[0] != '"' ||
	    etag.ptr[etag.len - 1] != '"' ||
	    !digest_is_hex(span_make(etag.ptr + 1, etag.len - 2)))
		return bad(err, "no ETag that is a SHA-256");
	memcpy(facts->sha256, etag.ptr + 1, DIGEST_HEX_SIZE - 1);
	return 0;
}

static int check_digest(const struct reply *r, const struct media_facts *facts,
			struct err *err)
{
	struct span field = reply_field(r, "Repr-Digest");
	struct err ignored = ERR_INIT;
	char hex[DIGEST_HEX_SIZE];

	if (!field.ptr || !facts->sha256[0])
		return 0;
	if (digest_parse_field(field, hex, &ignored) != 1 ||
	    strcmp(hex, facts->sha256) != 0)
		return bad(err, "a Repr-Digest that is not its ETag's");
	return 0;
}

static bool take_number(struct span *text, char end, uint64_t *value)
{
	struct span number = span_cut(text, end);

	return http1_parse_u64(number, value);
}

/* "bytes FIRST-LAST/SIZE"; with 416 a star stands for the range. */
static bool read_content_range(struct span text, struct media_facts *facts)
{
	struct span unit = SPAN_LIT("bytes ");
	uint64_t last = 0;

	if (!span_starts_with(text, unit))
		return false;
	text = span_make(text.ptr + unit.len, text.len - unit.len);
	if (facts->status == 416)
		return span_eq(span_cut(&text, '/'), SPAN_LIT("*")) &&
		       http1_parse_u64(text, &facts->size);
	if (!take_number(&text, '-', &facts->first) ||
	    !take_number(&text, '/', &last) ||
	    !http1_parse_u64(text, &facts->size))
		return false;
	if (facts->first > last || last >= facts->size)
		return false;
	facts->length = last - facts->first + 1;
	return true;
}

/* Which bytes, of how many: the head's framing has to say the same. */
static int read_extent(const struct reply *r, struct media_facts *facts,
		       struct err *err)
{
	struct span range = reply_field(r, "Content-Range");

	if (facts->status == 304 || facts->status == 412)
		return 0;
	if (facts->status != 200 && !read_content_range(range, facts))
		return bad(err, "a malformed Content-Range");
	if (facts->status == 416)
		return 0;
	if (!r->head.has_length || r->head.framing == HTTP1_CHUNKED)
		return bad(err, "content of unknown length");
	if (facts->status == 200)
		facts->size = facts->length = r->head.length;
	else if (facts->length != r->head.length)
		return bad(err, "content that is not as long as its range");
	return 0;
}

/* Decoration: without one of these an answer is still good. */
static void read_labels(const struct reply *r, struct media_facts *facts)
{
	struct span type = reply_field(r, "Content-Type");
	struct span disposition = reply_field(r, "Content-Disposition");
	struct span modified = reply_field(r, "Last-Modified");

	if (!http1_is_media_type(type) ||
	    !span_to_string(type, facts->content_type,
			    sizeof(facts->content_type)))
		snprintf(facts->content_type, sizeof(facts->content_type),
			 "application/octet-stream");
	if (!http1_is_field_value(modified) ||
	    !span_to_string(modified, facts->modified, sizeof(facts->modified)))
		facts->modified[0] = '\0';
	if (!disposition.ptr ||
	    http1_disposition_filename(disposition, facts->name,
				       sizeof(facts->name)) != 1)
		facts->name[0] = '\0';
}

/* ---- does it answer what was asked? -------------------------------------- */

static int fit_resumed(const struct media_facts *facts,
		       const struct media_wish *wish, struct err *err)
{
	if (facts->status != 206 || facts->size != wish->known->size ||
	    facts->first != wish->first ||
	    facts->length != wish->last - wish->first + 1)
		return bad(err, "other bytes than the range asked for");
	return 0;
}

static int fit_part(const struct media_facts *facts,
		    const struct media_wish *wish, struct err *err)
{
	uint64_t first = 0, last = 0;

	if (wish->range.ptr &&
	    http1_parse_range(wish->range, facts->size, &first, &last) ==
		    HTTP1_RANGE_ONE &&
	    first == facts->first && last == first + facts->length - 1)
		return 0;
	return bad(err, "other bytes than the range asked for");
}

/* 304 and 412 have to be what the request's own conditions say. */
static int fit_condition(const struct media_facts *facts,
			 const struct media_wish *wish, struct err *err)
{
	char etag[DIGEST_HEX_SIZE + 2];
	uint64_t modified_ms;

	if (!clock_parse_http_date(span_of(facts->modified), &modified_ms))
		modified_ms = 0;
	snprintf(etag, sizeof(etag), "\"%s\"", facts->sha256);
	if (facts->sha256[0] &&
	    http1_check_conditions(&wish->conditions, etag, modified_ms) ==
		    facts->status)
		return 0;
	return bad(err, "an answer to a condition that was not asked");
}

static int fit(const struct media_facts *facts, const struct media_wish *wish,
	       struct err *err)
{
	if (wish->is_resuming)
		return fit_resumed(facts, wish, err);
	if (facts->status == 206)
		return fit_part(facts, wish, err);
	if (facts->status == 304 || facts->status == 412)
		return fit_condition(facts, wish, err);
	if (facts->status == 416 && !wish->range.ptr)
		return bad(err, "416 although no range was asked for");
	return 0;
}

static bool is_answer(int status)
{
	return status == 200 || status == 206 || status == 304 ||
	       status == 412 || status == 416;
}

/* A HEAD also finds what is staged: it has an offset, and is not visible. */
static bool is_absent(const struct reply *r)
{
	return r->status == 404 || r->status == 410 ||
	       (r->status == 200 && reply_field(r, "Upload-Offset").ptr);
}

/* Asked to go on with one content, it says that it holds another. */
static bool is_other(const struct media_facts *facts,
		     const struct media_wish *wish)
{
	return wish->is_resuming &&
	       (facts->status == 412 ||
		(facts->sha256[0] &&
		 strcmp(facts->sha256, wish->known->sha256) != 0));
}

enum media_verdict media_facts_read(const struct reply *r,
				    const struct media_wish *wish,
				    struct media_facts *facts, struct err *err)
{
	*facts = (struct media_facts){ .status = r->status };
	if (is_absent(r))
		return MEDIA_ABSENT;
	if (!is_answer(r->status)) {
		err_set(err, ERR_TARGET, "answered %d", r->status);
		return MEDIA_BAD;
	}
	read_labels(r, facts);
	if (read_etag(r, facts, err) < 0)
		return MEDIA_BAD;
	if (is_other(facts, wish))
		return MEDIA_ABSENT;
	if (check_digest(r, facts, err) < 0 ||
	    read_extent(r, facts, err) < 0 || fit(facts, wish, err) < 0)
		return MEDIA_BAD;
	return MEDIA_GOOD;
}

/* ---- telling ------------------------------------------------------------- */

static void add(struct media_fields *f, const char *name, const char *value)
{
	CHECK(f->n < MEDIA_MAX_FIELDS);
	f->fields[f->n++] = (struct http_header){ name, value };
}

/* "type/subtype" without parameters. */
static struct span essence(const char *content_type)
{
	struct span rest = span_of(content_type);

	return span_trim(span_cut(&rest, ';'));
}

/*
 * Where a quoted string ends is told differently by browsers that know quotes of
 * 'this' kind or no escapes: they could see a list, and show what stands last.
 */
static bool is_ambiguous(const char *content_type)
{
	return strchr(content_type, ',') && strpbrk(content_type, "'\\");
}

bool media_is_inline(const char *content_type)
{
	static const char *const shown[] = {
		"application/ogg", "application/pdf", "image/avif",
		"image/bmp",	   "image/gif",	      "image/jpeg",
		"image/png",	   "image/webp",
	};
	struct span type = essence(content_type), rest = type;
	struct span major = span_cut(&rest, '/');

	if (!http1_is_media_type(span_of(content_type)) ||
	    is_ambiguous(content_type))
		return false;
	if (span_eq_nocase(major, SPAN_LIT("audio")) ||
	    span_eq_nocase(major, SPAN_LIT("video")))
		return true;
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		if (span_eq_nocase(type, span_of(shown[i])))
			return true;
	return false;
}

static void add_labels(struct media_fields *f, const struct media_facts *facts,
		       bool download)
{
	bool is_inline = media_is_inline(facts->content_type);
	const char *kind = is_inline && !download ? "inline" : "attachment";

	snprintf(f->disposition, sizeof(f->disposition), "%s", kind);
	if (facts->name[0])
		http1_content_disposition(kind, facts->name, f->disposition,
					  sizeof(f->disposition));
	add(f, "Content-Disposition", f->disposition);
	add(f, "X-Content-Type-Options", "nosniff");
	if (!is_inline)
		add(f, "Content-Security-Policy",
		    "sandbox; default-src 'none'");
}

static void add_range(struct media_fields *f, const struct media_facts *facts)
{
	if (facts->status == 416)
		snprintf(f->range, sizeof(f->range), "bytes */%" PRIu64,
			 facts->size);
	else
		snprintf(f->range, sizeof(f->range),
			 "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, facts->first,
			 facts->first + facts->length - 1, facts->size);
	add(f, "Content-Range", f->range);
}

void media_fields_init(struct media_fields *f, const struct media_facts *facts,
		       bool download, bool is_private)
{
	f->n = 0;
	if (facts->sha256[0]) {
		snprintf(f->etag, sizeof(f->etag), "\"%s\"", facts->sha256);
		digest_format_field(facts->sha256, f->digest);
		add(f, "ETag", f->etag);
		add(f, "Repr-Digest", f->digest);
	}
	if (facts->modified[0])
		add(f, "Last-Modified", facts->modified);
	add(f, "Accept-Ranges", "bytes");
	/* An id's bytes never change, but they may be deleted: ask again. */
	add(f, "Cache-Control", is_private ? "private, no-cache" : "no-cache");
	if (facts->status == 206 || facts->status == 416)
		add_range(f, facts);
	if (facts->status == 200 || facts->status == 206)
		add_labels(f, facts, download);
}
