#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void PRINTF_LIKE(2, 0)
set_text(struct err *err, const char *fmt, va_list args)
{
	vsnprintf(err->text, sizeof(err->text), fmt, args);
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list args;

	CHECK(code != ERR_NONE);
	if (err->code != ERR_NONE)
		return -1;
	err->code = code;
	va_start(args, fmt);
	set_text(err, fmt, args);
	va_end(args);
	return -1;
}

int err_set_status(struct err *err, int status, const char *fmt, ...)
{
	va_list args;

	if (err->code != ERR_NONE)
		return -1;
	err->code = ERR_CLIENT;
	err->status = status;
	va_start(args, fmt);
	set_text(err, fmt, args);
	va_end(args);
	return -1;
}

int err_set_errno(struct err *err, enum err_code code, int errnum,
		  const char *fmt, ...)
{
	char reason[80];
	va_list args;
	size_t used;

	CHECK(code != ERR_NONE);
	if (err->code != ERR_NONE)
		return -1;
	err->code = code;
	va_start(args, fmt);
	set_text(err, fmt, args);
	va_end(args);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof(err->text) - used, ": %s",
		 strerror_r(errnum, reason, sizeof(reason)));
	return -1;
}

bool err_is_set(const struct err *err)
{
	return err->code != ERR_NONE;
}

int err_http_status(const struct err *err)
{
	if (err->status != 0)
		return err->status;
	switch (err->code) {
	case ERR_NONE:
		return 200;
	case ERR_CLIENT:
		return 400;
	case ERR_NOT_FOUND:
		return 404;
	case ERR_CONFLICT:
		return 409;
	case ERR_REFUSED:
		return 422;
	case ERR_CONFIG:
	case ERR_STORE:
		return 500;
	case ERR_TARGET:
		return 502;
	case ERR_LIMIT:
	case ERR_MEMORY:
		return 503;
	}
	return 500;
}
