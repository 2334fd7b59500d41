/*
 * media_merge.h - pages of several readers become one, in order and without
 * duplicates
 *
 *   A: 1 3 5 7 (more)        1 2 3 4 5 | merging ends with the last row of a
 *   B: 2 3 4 5 (more)  ───▶  page that has a next one: what follows there is
 *                            not known, so nothing behind it may be passed on
 *
 * A row is a JSON object of a reader, see docs/reader-api.md; the same id with the
 * same digest is one row, whose copies are listed. Members that are missing are
 * left missing, except those that the order needs. No socket, no clock, no log.
 */
#ifndef BROADCASTER_MEDIA_MERGE_H
#define BROADCASTER_MEDIA_MERGE_H

#include "common/base64.h"
#include "common/json.h"
#include "common/uuid.h"

enum media_sort {
	MEDIA_BY_ID,
	MEDIA_BY_NAME,
	MEDIA_BY_SIZE,
	MEDIA_BY_SCORE,		/* best first; without a score it is 1 */
};

struct media_order_by {
	enum media_sort sort;
	bool descending;
};

/* One reader's answer. */
struct media_page {
	const char *reader;	/* its name, borrowed */
	json_t *root;		/* owned; NULL: it takes no part */
	json_t **rows;		/* borrowed from root; the array is owned */
	size_t n;
	size_t at;		/* rows before this one have been merged */
	const char *next;	/* its cursor, or NULL on its last page */
};

/*
 * Read an answer of GET /objects into a zeroed page; what was read is put in
 * order if it is a reader's only page, and has to be in order otherwise. -1 with
 * ERR_TARGET (malformed) or ERR_MEMORY.
 */
int media_page_read(struct media_page *page, struct span body,
		    struct media_order_by by, struct err *err) MUST_CHECK;

/* Free what the page holds; idempotent. */
void media_page_release(struct media_page *page);

/*
 * Where merging has ended. `cursor` is where the next page begins, for every
 * reader: behind the row that was taken last. If that is the last one of a
 * reader's page, the reader has said how it is written; otherwise it is written
 * here, as readers do: the id, when that is the order; else, in base64 for URLs, a
 * letter for the sort and one for the order, the id, and the key (of a score its
 * negative).
 */
#define MEDIA_NAME_SIZE 1025u
#define MEDIA_CURSOR_SIZE BASE64_TEXT_SIZE(2 + UUID_TEXT_SIZE + MEDIA_NAME_SIZE)
struct media_end {
	bool more;
	char cursor[MEDIA_CURSOR_SIZE];
};

/*
 * Take up to `limit` rows (a few more if one id has several contents) off the
 * pages. An array of new objects: the row, and "copies", the names of the readers
 * whose pages have it. NULL when out of memory.
 */
json_t *media_merge(struct media_page *pages, size_t n_pages,
		    struct media_order_by by, size_t limit,
		    struct media_end *end);

#endif
