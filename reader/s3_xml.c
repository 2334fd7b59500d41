#include "reader/s3_xml.h"

#include <expat.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct reading {
	XML_Parser parser;
	s3_xml_fn *fn;
	void *arg;
	size_t depth;
	bool has_children;	/* the element that ends next */
	bool is_bad;
	char names[S3_XML_DEPTH][S3_XML_NAME_SIZE];
	size_t len;
	char text[S3_XML_TEXT_SIZE];
};

static void refuse(struct reading *r)
{
	r->is_bad = true;
	XML_StopParser(r->parser, XML_FALSE);
}

static void XMLCALL on_start(void *arg, const XML_Char *name,
			     const XML_Char **attributes)
{
	struct reading *r = arg;

	(void)attributes;
	if (r->depth == S3_XML_DEPTH ||
	    !span_to_string(span_of(name), r->names[r->depth],
			    S3_XML_NAME_SIZE)) {
		refuse(r);
		return;
	}
	r->depth++;
	r->has_children = false;
	r->len = 0;
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
	struct reading *r = arg;

	if (r->is_bad)
		return;
	r->depth--;
	r->text[r->len] = '\0';
	r->fn(r->arg, r->depth > 0 ? r->names[r->depth - 1] : "", name,
	      r->has_children ? NULL : r->text);
	r->has_children = true;
	r->len = 0;
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int len)
{
	struct reading *r = arg;

	if (r->is_bad)
		return;
	if ((size_t)len >= sizeof(r->text) - r->len) {
		refuse(r);
		return;
	}
	memcpy(r->text + r->len, text, (size_t)len);
	r->len += (size_t)len;
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name,
			       const XML_Char *system, const XML_Char *public,
			       int has_subset)
{
	(void)name;
	(void)system;
	(void)public;
	(void)has_subset;
	refuse(arg);
}

static struct span trim(struct span body)
{
	const char *blanks = " \t\r\n";

	while (body.len > 0 && strchr(blanks, body.ptr[0])) {
		body.ptr++;
		body.len--;
	}
	return body;
}

static int parse(struct reading *r, struct span body, struct err *err)
{
	XML_SetUserData(r->parser, r);
	XML_SetElementHandler(r->parser, on_start, on_end);
	XML_SetCharacterDataHandler(r->parser, on_text);
	XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
	if (XML_Parse(r->parser, body.ptr, (int)body.len, 1) ==
	    XML_STATUS_OK)
		return 0;
	if (XML_GetErrorCode(r->parser) == XML_ERROR_NO_MEMORY)
		return err_set(err, ERR_MEMORY, "out of memory for an answer");
	return err_set(err, ERR_STORE, "the S3 server's answer is no XML of S3");
}

int s3_xml_parse(struct span body, s3_xml_fn *fn, void *arg, struct err *err)
{
	struct reading *r = calloc(1, sizeof(*r));
	int rc = -1;

	body = trim(body);
	if (r && body.len < (size_t)INT32_MAX) {
		r->parser = XML_ParserCreate(NULL);
		r->fn = fn;
		r->arg = arg;
	}
	if (r && r->parser) {
		rc = parse(r, body, err);
		XML_ParserFree(r->parser);
	} else {
		err_set(err, ERR_MEMORY, "out of memory for an answer");
	}
	free(r);
	return rc;
}
