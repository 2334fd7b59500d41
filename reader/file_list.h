/*
 * file_list.h - pages of the file store's objects, in bounded memory
 *
 * In the order of ids: directories come in no order and may be large, so each is
 * read for the FILE_BATCH first names that are still wanted; their descriptions
 * are then read in order, until the page is full. In another order every page
 * reads every description once: see file_best.h. Nothing is indexed.
 */
#ifndef READER_FILE_LIST_H
#define READER_FILE_LIST_H

#include "reader/file_layout.h"
#include "reader/sink.h"

#define FILE_BATCH 1024u

/* Answer store_list() into list->rows or list->err. Blocks. */
void file_list(struct file_layout *layout, struct store_list *list);

/* What the names in objects/, and those in a shard, look like. */
bool file_is_shard(const char *name);
bool file_is_id(const char *name);

/*
 * Read one committed object; is it one that the list asks for? An object that
 * cannot be read must not hide all the others: it is left out, and the log says
 * so. One that was deleted meanwhile is no news. A shortage of memory or of
 * descriptors fails the list: list->err.
 */
bool file_list_read(struct file_layout *layout, struct store_list *list,
		    const char *id, struct object *row);

#endif
