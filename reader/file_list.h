/*
 * file_list.h - pages of the file store's objects, in bounded memory
 *
 * Directories come in no order and may be large, so each is read for the
 * FILE_BATCH smallest names that are still wanted; their descriptions are then
 * read in order. A page of names that few objects match may read every
 * description once; nothing is indexed.
 */
#ifndef READER_FILE_LIST_H
#define READER_FILE_LIST_H

#include "reader/file_layout.h"
#include "reader/sink.h"

#define FILE_BATCH 1024u

/* Answer store_list() into list->rows or list->err. Blocks. */
void file_list(struct file_layout *layout, struct store_list *list);

#endif
