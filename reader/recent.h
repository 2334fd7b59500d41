/*
 * recent.h - the last objects committed to a store that keeps no content
 *
 * A fixed table of RECENT_MAX descriptions, the oldest leaving first, so that
 * such a store too can be asked what it took. About 5 MiB, of which pages are
 * used as they fill. Any thread. Gone with the process.
 */
#ifndef READER_RECENT_H
#define READER_RECENT_H

#include "reader/sink_impl.h"

#define RECENT_MAX 1024u

struct recent;

/* An empty table, or NULL when out of memory. */
struct recent *recent_new(void);

/* Free *recent and null it. */
void recent_free(struct recent **recent);

/*
 * Commit the sink: remember a copy of its object and mark it published. When
 * the id is known already nothing changes: success if size and digest are the
 * same, else ERR_CONFLICT in sink->err.
 */
void recent_commit(struct recent *recent, struct sink *sink);

/* Abort the sink: forget its object if recent_commit() added it. */
void recent_abort(struct recent *recent, struct sink *sink);

/*
 * Answer store_find() into lookup->object or lookup->err; want_bytes is
 * ERR_NOT_FOUND, for there is no content.
 */
void recent_find(struct recent *recent, struct store_lookup *lookup);

/* Forget the object of this id, if it is known. */
void recent_remove(struct recent *recent, const char *id);

/* Answer store_list() into `list`. */
void recent_list(struct recent *recent, struct store_list *list);

#endif
