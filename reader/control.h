/*
 * control.h - commit and delete
 *
 * Both find an object wherever it is: held by another request, at rest in
 * the staging table, or committed in the store. Commit and delete wait for a
 * commit or removal of the same object that is under way, also on another
 * thread, and go on by what it left; so repeating them is safe at any time.
 */
#ifndef READER_CONTROL_H
#define READER_CONTROL_H

#include "reader/thread.h"

/* Answer POST /objects/{id}/commit; `id` is a valid UUID. */
void control_commit(struct reader_thread *thread, struct http_exchange *x,
		    const char *id);

/*
 * Answer DELETE /objects/{id}; an upload that runs is told to abort. With
 * preconditions (RFC 9110, 13) only if what is committed under the id fulfils
 * them when it is looked up, otherwise 412, and nothing is aborted.
 */
void control_delete(struct reader_thread *thread, struct http_exchange *x,
		    const char *id);

#endif
