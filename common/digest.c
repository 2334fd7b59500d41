/*
 * The low-level SHA256_*() functions on purpose: their state is a plain struct,
 * so that starting again and looking at a digest in mid-stream need no memory.
 * EVP_DigestInit_ex2() and EVP_MD_CTX_copy_ex() of OpenSSL 3.0 each call
 * malloc(), which could fail where nothing can be refused any more. Both ways
 * end in the same assembler code. OpenSSL 3 calls them deprecated, hence:
 */
#define OPENSSL_API_COMPAT 10101

#include "common/digest.h"

#include <openssl/evp.h>
#include <openssl/md5.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

/* 32 bytes are 43 characters and one "=" */
#define BASE64_SHA256_LEN 44

struct digest {
	SHA256_CTX sha256;
};

struct digest *digest_new(void)
{
	struct digest *digest = malloc(sizeof(*digest));

	if (digest)
		digest_reset(digest);
	return digest;
}

void digest_free(struct digest **digest)
{
	free(*digest);
	*digest = NULL;
}

void digest_reset(struct digest *digest)
{
	CHECK(SHA256_Init(&digest->sha256) == 1);
}

void digest_update(struct digest *digest, const void *data, size_t len)
{
	CHECK(SHA256_Update(&digest->sha256, data, len) == 1);
}

void digest_to_hex(const unsigned char *bytes, size_t n, char *hex)
{
	static const char digits[] = "0123456789abcdef";
	size_t i;

	for (i = 0; i < n; i++) {
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 15];
	}
	hex[2 * n] = '\0';
}

void digest_hex(const struct digest *digest, char hex[DIGEST_HEX_SIZE])
{
	unsigned char bytes[DIGEST_SHA256_BYTES];
	SHA256_CTX copy = digest->sha256;

	CHECK(SHA256_Final(bytes, &copy) == 1);
	digest_to_hex(bytes, sizeof(bytes), hex);
}

void digest_once(const struct span *parts, size_t n_parts,
		 unsigned char bytes[DIGEST_SHA256_BYTES])
{
	struct digest digest;
	size_t i;

	digest_reset(&digest);
	for (i = 0; i < n_parts; i++)
		digest_update(&digest, parts[i].ptr, parts[i].len);
	CHECK(SHA256_Final(bytes, &digest.sha256) == 1);
}

static unsigned char nibble(char c)
{
	return (unsigned char)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* ---- a digest that another process goes on with --------------------------- */

/*
 * "v1:", the number of bytes taken, the eight words of the state, and the bytes
 * of the last block that is not full, all hexadecimal.
 */
#define STATE_FORMAT "v1:%016llx:%08x%08x%08x%08x%08x%08x%08x%08x:"
#define STATE_HEAD 85

void digest_export(const struct digest *digest, char text[DIGEST_STATE_SIZE])
{
	const SHA256_CTX *c = &digest->sha256;
	unsigned long long bits = (unsigned long long)c->Nh << 32 | c->Nl;
	int n;

	n = snprintf(text, DIGEST_STATE_SIZE, STATE_FORMAT, bits / 8, c->h[0],
		     c->h[1], c->h[2], c->h[3], c->h[4], c->h[5], c->h[6],
		     c->h[7]);
	CHECK(n == STATE_HEAD);
	digest_to_hex((const unsigned char *)c->data, c->num, text + n);
}

/* The bytes of the unfinished block, at the end of the text. */
static bool take_block(SHA256_CTX *c, struct span text)
{
	unsigned char *data = (unsigned char *)c->data;
	size_t i;

	if (text.len != 2 * (size_t)c->num)
		return false;
	for (i = 0; i < text.len; i++)
		if (!strchr("0123456789abcdef", text.ptr[i]))
			return false;
	for (i = 0; i < c->num; i++)
		data[i] = (unsigned char)(nibble(text.ptr[2 * i]) << 4 |
					  nibble(text.ptr[2 * i + 1]));
	return true;
}

bool digest_import(struct digest *digest, struct span text)
{
	SHA256_CTX *c = &digest->sha256;
	char buf[DIGEST_STATE_SIZE];
	unsigned long long bytes;

	digest_reset(digest);
	if (!span_to_string(text, buf, sizeof(buf)) || text.len < STATE_HEAD ||
	    sscanf(buf, STATE_FORMAT, &bytes, &c->h[0], &c->h[1], &c->h[2],
		   &c->h[3], &c->h[4], &c->h[5], &c->h[6], &c->h[7]) != 9) {
		digest_reset(digest);
		return false;
	}
	c->Nl = (SHA_LONG)(bytes * 8);
	c->Nh = (SHA_LONG)(bytes * 8 >> 32);
	c->num = (unsigned int)(bytes % SHA256_CBLOCK);
	if (take_block(c, span_make(text.ptr + STATE_HEAD,
				    text.len - STATE_HEAD)))
		return true;
	digest_reset(digest);
	return false;
}

/* ---- what S3 wants -------------------------------------------------------- */

void digest_hmac(struct span key, struct span text,
		 unsigned char mac[DIGEST_SHA256_BYTES])
{
	unsigned char pad[SHA256_CBLOCK] = { 0 };
	struct span parts[2] = { { (const char *)pad, sizeof(pad) }, text };

	if (key.len > sizeof(pad))
		digest_once(&key, 1, pad);
	else if (key.len > 0)
		memcpy(pad, key.ptr, key.len);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	digest_once(parts, 2, mac);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	parts[1] = span_make((const char *)mac, DIGEST_SHA256_BYTES);
	digest_once(parts, 2, mac);
}

bool digest_eq_secret(struct span a, struct span b)
{
	return a.len == b.len &&
	       (a.len == 0 || CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0);
}

void digest_md5_hex(struct span data, char hex[DIGEST_MD5_HEX_SIZE])
{
	unsigned char bytes[DIGEST_MD5_BYTES];
	MD5_CTX md5;

	CHECK(MD5_Init(&md5) == 1);
	CHECK(MD5_Update(&md5, data.ptr, data.len) == 1);
	CHECK(MD5_Final(bytes, &md5) == 1);
	digest_to_hex(bytes, sizeof(bytes), hex);
}

void digest_format_field(const char hex[DIGEST_HEX_SIZE],
			 char field[DIGEST_FIELD_SIZE])
{
	unsigned char bytes[DIGEST_SHA256_BYTES];
	unsigned char base64[BASE64_SHA256_LEN + 1];
	size_t i;

	CHECK(digest_is_hex(span_of(hex)));
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(nibble(hex[2 * i]) << 4 |
					   nibble(hex[2 * i + 1]));
	EVP_EncodeBlock(base64, bytes, sizeof(bytes));
	snprintf(field, DIGEST_FIELD_SIZE, "sha-256=:%s:", (char *)base64);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool digest_is_hex(struct span text)
{
	size_t i;

	for (i = 0; i < text.len; i++)
		if (!is_digit(text.ptr[i]) &&
		    (text.ptr[i] < 'a' || text.ptr[i] > 'f'))
			return false;
	return text.len == DIGEST_HEX_SIZE - 1;
}

/*
 * What follows reads a dictionary (RFC 8941, 4.2.2). Each function takes what
 * it names off the front of *rest, or returns false.
 */

static char front(const struct span *rest)
{
	return rest->len ? rest->ptr[0] : '\0';
}

static void skip(struct span *rest, size_t n)
{
	rest->ptr += n;
	rest->len -= n;
}

static bool take_char(struct span *rest, char c)
{
	if (rest->len == 0 || rest->ptr[0] != c)
		return false;
	skip(rest, 1);
	return true;
}

static struct span take_all_of(struct span *rest, bool (*accepts)(char))
{
	struct span taken = span_make(rest->ptr, 0);

	while (rest->len && accepts(rest->ptr[0])) {
		skip(rest, 1);
		taken.len++;
	}
	return taken;
}

/* ctype.h is not asked: it may follow a locale, and this must not. */
static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_alpha(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool is_key_char(char c)
{
	return is_lower(c) || is_digit(c) || (c && strchr("_-.*", c));
}

static bool is_base64_char(char c)
{
	return is_alpha(c) || is_digit(c) || (c && strchr("+/=", c));
}

static bool is_token_char(char c)
{
	return is_alpha(c) || is_digit(c) ||
	       (c && strchr("!#$%&'*+-.^_`|~:/", c));
}

static bool is_number_char(char c)
{
	return is_digit(c) || c == '.';
}

static bool is_space(char c)
{
	return c == ' ';
}

static bool is_ows(char c)
{
	return c == ' ' || c == '\t';
}

static bool take_key(struct span *rest, struct span *key)
{
	if (!is_lower(front(rest)) && front(rest) != '*')
		return false;
	*key = take_all_of(rest, is_key_char);
	return true;
}

static bool take_bytes(struct span *rest, struct span *base64)
{
	if (!take_char(rest, ':'))
		return false;
	*base64 = take_all_of(rest, is_base64_char);
	return take_char(rest, ':');
}

/* sf-string: printable ASCII, with \" and \\ as its only escapes. */
static bool take_string(struct span *rest)
{
	if (!take_char(rest, '"'))
		return false;
	while (rest->len) {
		if (take_char(rest, '"'))
			return true;
		if (take_char(rest, '\\') && front(rest) != '"' &&
		    front(rest) != '\\')
			return false;
		if (front(rest) < 0x20 || front(rest) > 0x7e)
			return false;
		skip(rest, 1);
	}
	return false;
}

/* sf-integer or sf-decimal: at most 15 digits, of 12 and 3 with a point. */
static bool take_number(struct span *rest)
{
	struct span text, whole;

	take_char(rest, '-');
	text = take_all_of(rest, is_number_char);
	whole = span_cut(&text, '.');
	if (!text.ptr)
		return whole.len >= 1 && whole.len <= 15;
	return whole.len >= 1 && whole.len <= 12 && text.len >= 1 &&
	       text.len <= 3 && !memchr(text.ptr, '.', text.len);
}

static bool take_bare_item(struct span *rest)
{
	struct span ignored;
	char c = front(rest);

	if (c == '"')
		return take_string(rest);
	if (c == ':')
		return take_bytes(rest, &ignored);
	if (c == '?')
		return take_char(rest, '?') &&
		       (take_char(rest, '0') || take_char(rest, '1'));
	if (c == '-' || is_digit(c))
		return take_number(rest);
	if (!is_alpha(c) && c != '*')
		return false;
	take_all_of(rest, is_token_char);
	return true;
}

static bool take_parameters(struct span *rest)
{
	struct span key;

	while (take_char(rest, ';')) {
		take_all_of(rest, is_space);
		if (!take_key(rest, &key))
			return false;
		if (take_char(rest, '=') && !take_bare_item(rest))
			return false;
	}
	return true;
}

/* Only members that are byte sequences: RFC 9530 knows no others. */
static bool take_member(struct span *rest, struct span *key,
			struct span *base64)
{
	return take_key(rest, key) && take_char(rest, '=') &&
	       take_bytes(rest, base64) && take_parameters(rest);
}

/* OWS "," OWS and something after it, or the end. */
static bool take_separator(struct span *rest)
{
	take_all_of(rest, is_ows);
	if (rest->len == 0)
		return true;
	if (!take_char(rest, ','))
		return false;
	take_all_of(rest, is_ows);
	return rest->len > 0;
}

/* Encoding again catches padding and spare bits that are not canonical. */
static bool decode_sha256(struct span base64, char hex[DIGEST_HEX_SIZE])
{
	unsigned char bytes[BASE64_SHA256_LEN];
	unsigned char again[BASE64_SHA256_LEN + 1];

	if (base64.len != BASE64_SHA256_LEN ||
	    EVP_DecodeBlock(bytes, (const unsigned char *)base64.ptr,
			    BASE64_SHA256_LEN) != DIGEST_SHA256_BYTES + 1)
		return false;
	EVP_EncodeBlock(again, bytes, DIGEST_SHA256_BYTES);
	if (memcmp(again, base64.ptr, BASE64_SHA256_LEN) != 0)
		return false;
	digest_to_hex(bytes, DIGEST_SHA256_BYTES, hex);
	return true;
}

int digest_parse_field(struct span field, char hex[DIGEST_HEX_SIZE],
		       struct err *err)
{
	struct span rest = span_trim(field);
	struct span key, base64;
	int found = 0;

	while (rest.len > 0) {
		if (!take_member(&rest, &key, &base64) ||
		    !take_separator(&rest))
			return err_set(err, ERR_CLIENT,
				       "a digest field is malformed: "
				       "name=:base64: is expected");
		if (!span_eq(key, SPAN_LIT("sha-256")))
			continue;
		/* of a key given twice the last counts (RFC 8941, 4.2.2) */
		if (!decode_sha256(base64, hex))
			return err_set(err, ERR_CLIENT,
				       "a sha-256 digest is malformed: 32 "
				       "bytes in base64 are expected");
		found = 1;
	}
	return found;
}
