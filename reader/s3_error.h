/*
 * s3_error.h - what a refusal of an S3 server means, and who must act
 *
 * S3 says what is wrong by a status and, unless the request was a HEAD, by an
 * XML body with a Code. The same code has to be handled in many ways: some are
 * over in a moment, some are a setting that is wrong, and what people read has
 * to say what to do. One table knows them all.
 */
#ifndef READER_S3_ERROR_H
#define READER_S3_ERROR_H

#include "reader/s3_config.h"

#define S3_CODE_SIZE 64

/* A refusal; plain data. */
struct s3_refusal {
	int status;
	char code[S3_CODE_SIZE];	/* "NoSuchKey"; "" when it had no body */
	char message[160];
	char region[64];		/* where the bucket is, when it says so */
	char date[48];			/* the server's Date field, or "" */
	bool is_passing;		/* worth another try */
};

/*
 * Read the body of a refusal, as much of it as there is up to what is none of
 * S3's; is_passing is known in any case.
 */
void s3_refusal_read(struct s3_refusal *refusal, int status, struct span body);

/*
 * What it means for people, into `err`: ERR_NOT_FOUND, ERR_CONFLICT (412),
 * ERR_CONFIG for what the operator has set wrong, or ERR_STORE, 507 when there is
 * no space left, 503 when the server is busy. Always returns -1.
 */
int s3_refusal_explain(const struct s3_refusal *refusal,
		       const struct s3_config *config, struct err *err);

#endif
