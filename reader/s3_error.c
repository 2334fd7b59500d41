#include "reader/s3_error.h"

#include "reader/s3_xml.h"

#include <stdio.h>

#define HTTP_UNAVAILABLE 503
#define HTTP_INSUFFICIENT_STORAGE 507

/* ---- reading ------------------------------------------------------------- */

/* As much of it as fits. */
static void keep(char *buf, size_t size, const char *text)
{
	snprintf(buf, size, "%s", text);
}

static void on_element(void *arg, const char *parent, const char *name,
		       const char *text)
{
	struct s3_refusal *r = arg;

	if (!text || strcmp(parent, "Error") != 0)
		return;
	if (strcmp(name, "Code") == 0)
		keep(r->code, sizeof(r->code), text);
	else if (strcmp(name, "Message") == 0)
		keep(r->message, sizeof(r->message), text);
	else if (strcmp(name, "Region") == 0)
		keep(r->region, sizeof(r->region), text);
}

/* Codes that pass, whatever the status they come with. */
static bool is_passing_code(const char *code)
{
	static const char *const codes[] = {
		"SlowDown",	      "InternalError",
		"ServiceUnavailable", "RequestTimeout",
		"Busy",		      "OperationAborted",
		"BadDigest",	      "XAmzContentSHA256Mismatch",
		"IncompleteBody",     "Throttling",
		"ThrottlingException", "RequestThrottled",
		"ConcurrentModification", "ConditionalRequestConflict",
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(codes[i], code) == 0)
			return true;
	return false;
}

void s3_refusal_read(struct s3_refusal *refusal, int status, struct span body)
{
	struct err ignored = ERR_INIT;

	refusal->status = status;
	/* What comes behind the code may be too long: all that was signed, say. */
	if (body.len > 0 &&
	    s3_xml_parse(body, on_element, refusal, &ignored) < 0 &&
	    !refusal->code[0])
		refusal->message[0] = '\0';
	/* 501 and 507 are the server's last word */
	refusal->is_passing = is_passing_code(refusal->code) ||
			      status == 408 || status == 429 ||
			      status == 500 || status == 502 ||
			      status == 503 || status == 504;
}

/* ---- explaining ---------------------------------------------------------- */

static void explain_clock(const struct s3_refusal *r,
			  const struct s3_config *c, struct err *err)
{
	(void)c;
	err_set(err, ERR_STORE,
		"the clocks of this machine and of the S3 server differ too "
		"much (there it is %s): set this machine's clock, by NTP",
		r->date[0] ? r->date : "another time");
}

static void explain_access_key(const struct s3_refusal *r,
			       const struct s3_config *c, struct err *err)
{
	err_set(err, ERR_CONFIG,
		"the S3 server knows no such access key: check "
		"AWS_ACCESS_KEY_ID, \"%.40s\" (%s)",
		c->access_key, r->code);
}

static void explain_secret_key(const struct s3_refusal *r,
			       const struct s3_config *c, struct err *err)
{
	err_set(err, ERR_CONFIG,
		"the S3 server refuses our signature: check "
		"AWS_SECRET_ACCESS_KEY of the access key \"%.40s\" (%s)",
		c->access_key, r->code);
}

static void explain_token(const struct s3_refusal *r,
			  const struct s3_config *c, struct err *err)
{
	(void)c;
	err_set(err, ERR_CONFIG,
		"the S3 server refuses the session token: AWS_SESSION_TOKEN "
		"and its keys have expired or do not belong together (%s)",
		r->code);
}

static void explain_bucket(const struct s3_refusal *r,
			   const struct s3_config *c, struct err *err)
{
	(void)r;
	err_set(err, ERR_CONFIG,
		"there is no bucket \"%.80s\" on the S3 server: make it, or "
		"correct READER_S3_BUCKET",
		c->bucket);
}

static void explain_region(const struct s3_refusal *r,
			   const struct s3_config *c, struct err *err)
{
	if (r->region[0])
		err_set(err, ERR_CONFIG,
			"the bucket is in region %s, not %s: set "
			"READER_S3_REGION=%s (%s)",
			r->region, c->region, r->region, r->code);
	else
		err_set(err, ERR_CONFIG,
			"the bucket is elsewhere: check READER_S3_REGION "
			"(\"%s\") and READER_S3_ENDPOINT (%d %s)",
			c->region, r->status, r->code);
}

static void explain_space(const struct s3_refusal *r,
			  const struct s3_config *c, struct err *err)
{
	if (err_is_set(err))
		return;
	err_set(err, ERR_STORE,
		"no space left for bucket \"%.60s\" on the S3 server: raise "
		"its quota or delete something (%s)",
		c->bucket, r->code[0] ? r->code : "507");
	err->status = HTTP_INSUFFICIENT_STORAGE;
}

static void explain_user(const struct s3_refusal *r, const struct s3_config *c,
			 struct err *err)
{
	err_set(err, ERR_STORE,
		"the account of access key \"%.40s\" is suspended: ask whoever "
		"runs the S3 server (%s)",
		c->access_key, r->code);
}

static void explain_access(const struct s3_refusal *r,
			   const struct s3_config *c, struct err *err)
{
	err_set(err, ERR_STORE,
		"access to bucket \"%.60s\" is denied to \"%.40s\": allow it "
		"to put, get, delete and list (403 %s)",
		c->bucket, c->access_key, r->code);
}

static void explain_key(const struct s3_refusal *r, const struct s3_config *c,
			struct err *err)
{
	(void)r;
	(void)c;
	err_set(err, ERR_NOT_FOUND, "there is no such object");
}

static void explain_upload(const struct s3_refusal *r,
			   const struct s3_config *c, struct err *err)
{
	(void)r;
	(void)c;
	err_set(err, ERR_STORE,
		"the S3 server knows the multipart upload no more: somebody "
		"aborted it");
}

static void explain_condition(const struct s3_refusal *r,
			      const struct s3_config *c, struct err *err)
{
	(void)r;
	(void)c;
	err_set(err, ERR_CONFLICT, "another object has this identifier");
}

static void explain_busy(const struct s3_refusal *r, const struct s3_config *c,
			 struct err *err)
{
	if (err_is_set(err))
		return;
	err_set(err, ERR_STORE,
		"the S3 server is too busy and stayed so for %llu retries "
		"(%d %s)",
		(unsigned long long)c->retries, r->status, r->code);
	err->status = HTTP_UNAVAILABLE;
}

typedef void explain_fn(const struct s3_refusal *refusal,
			const struct s3_config *config, struct err *err);

static const struct {
	const char *code;
	explain_fn *explain;
} codes[] = {
	{ "RequestTimeTooSkewed", explain_clock },
	{ "RequestExpired", explain_clock },
	{ "InvalidAccessKeyId", explain_access_key },
	{ "SignatureDoesNotMatch", explain_secret_key },
	{ "ExpiredToken", explain_token },
	{ "InvalidToken", explain_token },
	{ "TokenRefreshRequired", explain_token },
	{ "NoSuchBucket", explain_bucket },
	{ "InvalidBucketName", explain_bucket },
	{ "AuthorizationHeaderMalformed", explain_region },
	{ "PermanentRedirect", explain_region },
	{ "TemporaryRedirect", explain_region },
	{ "IllegalLocationConstraintException", explain_region },
	{ "QuotaExceeded", explain_space },
	{ "XMinioStorageFull", explain_space },
	{ "InsufficientStorage", explain_space },
	{ "UserSuspended", explain_user },
	{ "AccountProblem", explain_user },
	{ "AllAccessDisabled", explain_user },
	{ "AccessDenied", explain_access },
	{ "NoSuchKey", explain_key },
	{ "NoSuchUpload", explain_upload },
	{ "PreconditionFailed", explain_condition },
	{ "SlowDown", explain_busy },
	{ "ServiceUnavailable", explain_busy },
};

/* For an answer without a body of S3's, a HEAD's say. */
static explain_fn *by_status(int status)
{
	switch (status) {
	case 301:
	case 302:
	case 307:
	case 308:
		return explain_region;
	case 403:
		return explain_access;
	case 404:
		return explain_key;
	case 412:
		return explain_condition;
	case 503:
		return explain_busy;
	case 507:
		return explain_space;
	default:
		return NULL;
	}
}

int s3_refusal_explain(const struct s3_refusal *refusal,
		       const struct s3_config *config, struct err *err)
{
	explain_fn *explain = NULL;

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(codes[i].code, refusal->code) == 0)
			explain = codes[i].explain;
	if (!explain)
		explain = by_status(refusal->status);
	if (explain)
		explain(refusal, config, err);
	return err_set(err, ERR_STORE, "the S3 server says %d %s%s%s",
		       refusal->status, refusal->code,
		       refusal->message[0] ? ": " : "", refusal->message);
}
