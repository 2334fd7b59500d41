/*
 * s3_xml.h - what S3 servers answer, read by expat
 *
 * Answers are small (their length is capped by whoever receives them) and flat.
 * Each element is told when it ends: one without children with its text, one
 * with children without. No document type is accepted, so there are no entities
 * but XML's own; no more than S3_XML_DEPTH levels, no text or name longer than
 * the bounds below: all of that is a malformed answer.
 */
#ifndef READER_S3_XML_H
#define READER_S3_XML_H

#include "common/err.h"
#include "common/span.h"

#define S3_XML_DEPTH 8
#define S3_XML_NAME_SIZE 64
/* A key of 1,024 bytes, percent-encoded, fits; and a message for people. */
#define S3_XML_TEXT_SIZE 4096

/*
 * An element has ended: `parent` is the name of the one around it ("" for the
 * root), `text` its text, or NULL when it has children. Valid during the call.
 */
typedef void s3_xml_fn(void *arg, const char *parent, const char *name,
		       const char *text);

/*
 * Read a whole answer; blanks before and after it are skipped (S3 sends some to
 * keep a connection open). -1 with ERR_STORE when it is no XML, or ERR_MEMORY.
 */
int s3_xml_parse(struct span body, s3_xml_fn *fn, void *arg,
		 struct err *err) MUST_CHECK;

#endif
