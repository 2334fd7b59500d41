/*
 * list_query.h - the parameters of GET /objects, and cursors
 *
 *   q       text that is looked for in name, title and creator
 *   type    a whole media type, or "audio/" and a star
 *   from, until          RFC 3339 or YYYY-MM-DD: created in [from, until)
 *   min_size, max_size   bytes, both inclusive
 *   sort    id, name, size or relevance; relevance when there is a q, else id
 *   order   asc or desc; relevance has none
 *   limit   1 to STORE_LIST_MAX
 *   after   the "next" of the page before
 *
 * Strict: what is unknown, stands twice or is malformed is an error, for a filter
 * that is silently ignored finds too much. An empty value counts as not given.
 */
#ifndef READER_LIST_QUERY_H
#define READER_LIST_QUERY_H

#include "common/base64.h"

#include "reader/sink.h"

#define LIST_DEFAULT 100u

/*
 * Fill what is asked for in `list`, which is zeroed, from a query string. -1
 * with 400 that names the parameter and what is allowed.
 */
int list_query_read(struct store_list *list, struct span query,
		    struct err *err) MUST_CHECK;

/*
 * A cursor says the order it is of, and behind which row the page begins: sort
 * and order as a letter each, id, key, in base64 for URLs. By id it is just the
 * id. Clients need not know: they give back what they got.
 */
#define LIST_CURSOR_SIZE BASE64_TEXT_SIZE(2 + UUID_TEXT_SIZE + OBJECT_NAME_SIZE)

/* The cursor behind the last of the list's rows, of which there is one. */
void list_cursor_write(const struct store_list *list,
		       char cursor[LIST_CURSOR_SIZE]);

#endif
