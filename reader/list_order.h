/*
 * list_order.h - which objects a list wants, and in which order
 *
 * For stores that have no index and look at one description after the other.
 * To such a store every match contains the query and has the score 1, so that
 * relevance means the order of ids. Pure but for the types.
 */
#ifndef READER_LIST_ORDER_H
#define READER_LIST_ORDER_H

#include "reader/sink.h"

/*
 * Is it what the list asks for? The query is part of name, title or creator
 * (ASCII letters without case), and type, time and size are within the bounds.
 * Where the page begins is another question.
 */
bool list_wants(const struct store_list *list, const struct object *object);

/* Below 0: `a` stands before `b` in the list's order; 0 for the same id only. */
int list_compare(const struct store_list *list, const struct object *a,
		 const struct object *b);

/* Does it stand behind the last row of the page before? */
bool list_is_behind(const struct store_list *list, const struct object *object);

/*
 * Does the page begin behind the last possible match? A cursor may be another
 * store's, and of a row that matches worse than those of such a store can.
 */
bool list_is_over(const struct store_list *list);

/* Do the ids alone make the order? */
bool list_is_by_id(const struct store_list *list);

/* The page is complete: note what the next one begins behind. */
void list_finish(struct store_list *list);

#endif
