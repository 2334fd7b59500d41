/*
 * s3_etag.h - what an S3 server's ETags say of the bytes it has
 *
 * Most servers make them of MD5s: the MD5 of what one request put, in hexadecimal
 * digits, and of a completed upload "MD5-n", the MD5 of those of its n parts. An
 * ETag of another form (a KMS' key was used, another kind of server) says nothing,
 * and contradicts nothing. Amazon S3 User Guide, "Checking object integrity".
 *
 * All ETags are as the server gave them, with their quotes. Pure functions.
 */
#ifndef READER_S3_ETAG_H
#define READER_S3_ETAG_H

#include "common/digest.h"

#define S3_PART_ETAG_SIZE 64	/* a part's, with its quotes and a NUL */

/* Can it be the ETag of a part: short enough, and text in XML as it stands? */
bool s3_etag_is_usable(const char *etag);

/* Is it of other bytes than those of this MD5? */
bool s3_etag_contradicts(const char *etag, const char md5[DIGEST_MD5_HEX_SIZE]);

/*
 * Is it of another upload than the one whose `n` parts, one at least, have these
 * ETags? Out of memory: true, for nothing may be taken for ours unseen.
 */
bool s3_etag_contradicts_parts(const char *etag,
			       char (*parts)[S3_PART_ETAG_SIZE], unsigned int n);

#endif
