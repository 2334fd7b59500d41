/*
 * targets.h - the configured places an upload is sent to, parsed from text
 *
 *   BROADCASTER_HOST_LIST = entry *( ";" entry )
 *   entry = [ name "=" ] ( host ":" port | URL )
 *   URL   = ( "http" | "https" ) "://" host [ ":" port ] path [ "#form=" field ]
 *
 * `host:port` is a reader. A URL is a plain endpoint: one PUT, or with #form=
 * one multipart POST; whose 2xx after the last byte counts as committed. Pure:
 * no look-ups; targets come from here only, never from a client.
 */
#ifndef BROADCASTER_TARGETS_H
#define BROADCASTER_TARGETS_H

#include "common/err.h"
#include "common/span.h"

#define TARGETS_MAX 64u

enum target_kind {
	TARGET_READER,	/* stages, commits, aborts */
	TARGET_PUT,	/* plain endpoint, one PUT */
	TARGET_FORM,	/* plain endpoint, one multipart/form-data POST */
};

struct target {
	enum target_kind kind;
	bool required;		/* nothing commits without it */
	char name[128];		/* what people see: given, or "host:port" */
	char address[300];	/* "host:port" */
	char origin[320];	/* "http://host:port" */
	char path[1024];	/* of a plain endpoint, with query; else "" */
	char field[64];		/* TARGET_FORM: the form's field */
};

struct target_list {
	struct target *items;	/* owned */
	unsigned int n;
};

/*
 * Parse `hosts` (as above) and `required` (target names separated by ";", may
 * be empty). -1 with ERR_CONFIG: empty list, over TARGETS_MAX, a malformed
 * entry, a name or place that stands twice, an unknown required name, a scheme
 * that is neither http nor https. Free with targets_release() in any case.
 */
int targets_parse(struct target_list *list, struct span hosts,
		  struct span required, struct err *err) MUST_CHECK;

/* Free what targets_parse() allocated; idempotent. */
void targets_release(struct target_list *list);

#endif
