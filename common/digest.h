/*
 * digest.h - SHA-256 by OpenSSL, and the digest fields of HTTP (RFC 9530)
 */
#ifndef COMMON_DIGEST_H
#define COMMON_DIGEST_H

#include "common/err.h"
#include "common/span.h"

#include <stdbool.h>
#include <stdint.h>

#define DIGEST_SHA256_BYTES 32
#define DIGEST_HEX_SIZE 65		/* lower case, and a NUL */
#define DIGEST_FIELD_SIZE 64		/* "sha-256=:…44 characters…:" and a NUL */
#define DIGEST_MD5_BYTES 16
#define DIGEST_MD5_HEX_SIZE 33

struct digest;		/* one running SHA-256 */

/* A running digest at its start, or NULL when out of memory. */
struct digest *digest_new(void);

/* Free *digest and null it. */
void digest_free(struct digest **digest);

/* Back to the start, for the next object; allocates nothing. */
void digest_reset(struct digest *digest);

/* Take `len` bytes. */
void digest_update(struct digest *digest, const void *data, size_t len);

/* The digest of what was taken so far, as hex; more may be taken afterwards. */
void digest_hex(const struct digest *digest, char hex[DIGEST_HEX_SIZE]);

/* The SHA-256 of the parts one after the other; allocates nothing. */
void digest_once(const struct span *parts, size_t n_parts,
		 unsigned char bytes[DIGEST_SHA256_BYTES]);

#define DIGEST_STATE_SIZE 256		/* the text of digest_export() */

/* What a running digest has come to, as text: another process goes on from it. */
void digest_export(const struct digest *digest, char text[DIGEST_STATE_SIZE]);

/*
 * Go on from such a text. False, and the digest at its start, for one that
 * digest_export() did not write.
 */
bool digest_import(struct digest *digest, struct span text) MUST_CHECK;

/* `n` bytes as lower-case hexadecimal digits and a NUL: 2 * n + 1 bytes. */
void digest_to_hex(const unsigned char *bytes, size_t n, char *hex);

/* HMAC-SHA256 (RFC 2104) of `text`; `mac` may be what `key` points to. */
void digest_hmac(struct span key, struct span text,
		 unsigned char mac[DIGEST_SHA256_BYTES]);

/* The same bytes? How long it takes does not tell where they differ. */
bool digest_eq_secret(struct span a, struct span b);

/* MD5, for what only knows that; it proves nothing against an attacker. */
void digest_md5_hex(struct span data, char hex[DIGEST_MD5_HEX_SIZE]);

/* "sha-256=:BASE64:" for a hex digest (RFC 9530, 2 and 3). */
void digest_format_field(const char hex[DIGEST_HEX_SIZE],
			 char field[DIGEST_FIELD_SIZE]);

/*
 * The sha-256 member of a Repr-Digest or Content-Digest field value, as hex.
 * 1 found, 0 no sha-256 in a well-formed dictionary, -1 (ERR_CLIENT) malformed
 * (RFC 8941 dictionary of byte sequences; wrong length is malformed).
 */
int digest_parse_field(struct span field, char hex[DIGEST_HEX_SIZE],
		       struct err *err) MUST_CHECK;

/* Is it 64 lower-case hexadecimal digits? */
bool digest_is_hex(struct span text);

#endif
