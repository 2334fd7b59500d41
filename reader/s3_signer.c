#include "reader/s3_signer.h"

#include "common/check.h"

#include <stdio.h>
#include <time.h>

#define SCOPE_SIZE 128

void s3_format_date(uint64_t wall_ms, char date[S3_DATE_SIZE])
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	CHECK(strftime(date, S3_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm) ==
	      S3_DATE_SIZE - 1);
}

/* ---- encoding ------------------------------------------------------------ */

static bool is_unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	       c == '~';
}

static void put(char *out, size_t size, size_t *used, char c)
{
	if (*used + 1 < size)
		out[*used] = c;
	++*used;
}

size_t s3_encode(struct span text, bool keep_slash, char *out, size_t size)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t used = 0;

	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (is_unreserved(text.ptr[i]) || (keep_slash && c == '/')) {
			put(out, size, &used, text.ptr[i]);
			continue;
		}
		put(out, size, &used, '%');
		put(out, size, &used, digits[c >> 4]);
		put(out, size, &used, digits[c & 15]);
	}
	if (size > 0)
		out[used < size ? used : size - 1] = '\0';
	return used;
}

/* ---- the canonical request ----------------------------------------------- */

/* Indices of the fields, in the order of their names. */
static void sort_fields(const struct s3_to_sign *r, size_t *order)
{
	for (size_t i = 0; i < r->n_fields; i++) {
		size_t at = i;

		for (; at > 0 && strcmp(r->fields[order[at - 1]].name,
					    r->fields[i].name) > 0; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
}

/* "host;x-amz-date" */
static void print_names(const struct s3_to_sign *r, const size_t *order,
			char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < r->n_fields; i++) {
		const char *name = r->fields[order[i]].name;

		if (i > 0)
			put(out, size, &used, ';');
		for (; *name; name++) {
			CHECK(*name < 'A' || *name > 'Z');
			put(out, size, &used, *name);
		}
	}
	CHECK(used < size);
	out[used] = '\0';
}

/* A text in pieces. */
struct pieces {
	struct span spans[10 + 4 * S3_MAX_SIGNED];
	size_t n;
};

static void add(struct pieces *pieces, struct span text)
{
	CHECK(pieces->n < sizeof(pieces->spans) / sizeof(pieces->spans[0]));
	pieces->spans[pieces->n++] = text;
}

static void add_line(struct pieces *pieces, const char *text)
{
	add(pieces, span_of(text));
	add(pieces, SPAN_LIT("\n"));
}

static void digest_request(const struct s3_to_sign *r, const size_t *order,
			   const char *names, char hex[DIGEST_HEX_SIZE])
{
	unsigned char bytes[DIGEST_SHA256_BYTES];
	struct pieces pieces = { .n = 0 };

	add_line(&pieces, r->method);
	add_line(&pieces, r->path);
	add_line(&pieces, r->query);
	for (size_t i = 0; i < r->n_fields; i++) {
		add(&pieces, span_of(r->fields[order[i]].name));
		add(&pieces, SPAN_LIT(":"));
		add(&pieces, span_trim(span_of(r->fields[order[i]].value)));
		add(&pieces, SPAN_LIT("\n"));
	}
	add(&pieces, SPAN_LIT("\n"));
	add_line(&pieces, names);
	add(&pieces, span_of(r->sha256));
	digest_once(pieces.spans, pieces.n, bytes);
	digest_to_hex(bytes, sizeof(bytes), hex);
}

/* ---- the signature ------------------------------------------------------- */

static struct span mac_span(const unsigned char *mac)
{
	return span_make((const char *)mac, DIGEST_SHA256_BYTES);
}

/* The key of one day, region and service. */
static void derive_key(const struct s3_keys *keys, const char *date,
		       unsigned char mac[DIGEST_SHA256_BYTES])
{
	char secret[512];
	int n = snprintf(secret, sizeof(secret), "AWS4%s", keys->secret_key);

	CHECK(n > 0 && (size_t)n < sizeof(secret));
	digest_hmac(span_of(secret), span_make(date, 8), mac);
	digest_hmac(mac_span(mac), span_of(keys->region), mac);
	digest_hmac(mac_span(mac), span_of(keys->service), mac);
	digest_hmac(mac_span(mac), SPAN_LIT("aws4_request"), mac);
}

void s3_sign(const struct s3_keys *keys, const struct s3_to_sign *request,
	     char out[S3_AUTHORIZATION_SIZE])
{
	char names[512], scope[SCOPE_SIZE], hex[DIGEST_HEX_SIZE], text[512];
	unsigned char mac[DIGEST_SHA256_BYTES];
	size_t order[S3_MAX_SIGNED];
	int n;

	CHECK(request->n_fields <= S3_MAX_SIGNED);
	sort_fields(request, order);
	print_names(request, order, names, sizeof(names));
	digest_request(request, order, names, hex);
	n = snprintf(scope, sizeof(scope), "%.8s/%s/%s/aws4_request",
		     request->date, keys->region, keys->service);
	CHECK(n > 0 && (size_t)n < sizeof(scope));
	n = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%s\n%s",
		     request->date, scope, hex);
	CHECK(n > 0 && (size_t)n < sizeof(text));
	derive_key(keys, request->date, mac);
	digest_hmac(mac_span(mac), span_of(text), mac);
	digest_to_hex(mac, sizeof(mac), hex);
	n = snprintf(out, S3_AUTHORIZATION_SIZE,
		     "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, "
		     "Signature=%s",
		     keys->access_key, scope, names, hex);
	CHECK(n > 0 && (size_t)n < S3_AUTHORIZATION_SIZE);
}
