#include "reader/s3_etag.h"

#include <stdio.h>
#include <stdlib.h>

#define MD5_DIGITS (DIGEST_MD5_HEX_SIZE - 1u)
#define WHOLE_SIZE (DIGEST_MD5_HEX_SIZE + 16)	/* "\"MD5-10000\"" */

bool s3_etag_is_usable(const char *etag)
{
	size_t len = strlen(etag);

	return len > 0 && len < S3_PART_ETAG_SIZE && !strpbrk(etag, "<&>");
}

/* Digits behind the first quote, and what follows them: a quote, or "-n". */
static bool is_md5(const char *etag, char next)
{
	return etag[0] == '"' &&
	       strspn(etag + 1, "0123456789abcdef") == MD5_DIGITS &&
	       etag[1 + MD5_DIGITS] == next;
}

bool s3_etag_contradicts(const char *etag, const char md5[DIGEST_MD5_HEX_SIZE])
{
	return is_md5(etag, '"') && strncmp(etag + 1, md5, MD5_DIGITS) != 0;
}

/* What a hexadecimal digit stands for. */
static unsigned int bits_of(char digit)
{
	const char *digits = "0123456789abcdef";

	return (unsigned int)(strchr(digits, digit) - digits);
}

/* The MD5s of all parts, one after the other; false when one's is not known. */
static bool take_md5s(char (*parts)[S3_PART_ETAG_SIZE], unsigned int n,
		      unsigned char *md5s)
{
	for (unsigned int i = 0; i < n; i++) {
		if (!is_md5(parts[i], '"'))
			return false;
		for (const char *at = parts[i] + 1; *at != '"'; at += 2)
			*md5s++ = (unsigned char)(bits_of(at[0]) << 4 |
						  bits_of(at[1]));
	}
	return true;
}

/* The ETag of an object of these parts: 1; 0 when it cannot be told, -1 without memory. */
static int print_whole(char (*parts)[S3_PART_ETAG_SIZE], unsigned int n,
		       char out[WHOLE_SIZE])
{
	size_t len = (size_t)n * DIGEST_MD5_BYTES;
	unsigned char *md5s = malloc(len);
	char hex[DIGEST_MD5_HEX_SIZE];
	bool good;

	if (!md5s)
		return -1;
	good = take_md5s(parts, n, md5s);
	if (good) {
		digest_md5_hex(span_make((const char *)md5s, len), hex);
		snprintf(out, WHOLE_SIZE, "\"%s-%u\"", hex, n);
	}
	free(md5s);
	return good;
}

bool s3_etag_contradicts_parts(const char *etag,
			       char (*parts)[S3_PART_ETAG_SIZE], unsigned int n)
{
	char whole[WHOLE_SIZE];

	if (!is_md5(etag, '-'))
		return false;
	switch (print_whole(parts, n, whole)) {
	case 1:
		return strcmp(etag, whole) != 0;
	case 0:
		return false;
	default:
		return true;
	}
}
