/*
 * file_best.h - the first objects of the file store in an order of their own
 *
 * One look at every description, in whatever order the directories have them;
 * the best `limit` of those that stand behind the cursor are kept, in a heap
 * whose root is the first to go. So memory is that of one page.
 */
#ifndef READER_FILE_BEST_H
#define READER_FILE_BEST_H

#include "reader/file_layout.h"
#include "reader/sink.h"

/*
 * Fill list->rows, which has room for list->limit of them, in the list's order.
 * 0 or errno; list->err for what file_list_read() says. Blocks.
 */
int file_best(struct file_layout *layout, struct store_list *list);

#endif
