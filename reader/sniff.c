#include "reader/sniff.h"

#include "common/http1.h"
#include "common/log.h"

#include <magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define UNKNOWN SPAN_LIT("application/octet-stream")

/*
 * Only what looks at the bytes in hand: nothing is unpacked, and the parsers of
 * containers that need the whole file, or take a text for a program's because of
 * a word in it, are left out.
 */
#define FLAGS (MAGIC_MIME_TYPE | MAGIC_NO_CHECK_COMPRESS | \
	       MAGIC_NO_CHECK_TAR | MAGIC_NO_CHECK_CDF | \
	       MAGIC_NO_CHECK_ELF | MAGIC_NO_CHECK_TOKENS)

struct sniffer {
	pthread_mutex_t lock;
	magic_t magic;
};

static void warn(const char *reason)
{
	log_line(LOG_WARN, "sniff",
		 LOG_STR("result", "content types stay as clients give them"),
		 LOG_STR("reason", reason));
}

/* NULL, and a log line. */
static magic_t open_magic(void)
{
	magic_t magic = magic_open(FLAGS);
	const char *error;

	if (!magic) {
		warn("out of memory for libmagic");
		return NULL;
	}
	if (magic_load(magic, NULL) == 0)
		return magic;
	error = magic_error(magic);
	warn(error ? error : "libmagic has no database");
	magic_close(magic);
	return NULL;
}

struct sniffer *sniffer_new(void)
{
	struct sniffer *sniffer = malloc(sizeof(*sniffer));

	if (!sniffer) {
		warn("out of memory");
		return NULL;
	}
	sniffer->magic = open_magic();
	if (!sniffer->magic) {
		free(sniffer);
		return NULL;
	}
	pthread_mutex_init(&sniffer->lock, NULL);
	return sniffer;
}

void sniffer_free(struct sniffer **snifferp)
{
	struct sniffer *sniffer = *snifferp;

	if (!sniffer)
		return;
	*snifferp = NULL;
	pthread_mutex_destroy(&sniffer->lock);
	magic_close(sniffer->magic);
	free(sniffer);
}

bool sniff_is_wanted(const char *content_type)
{
	struct span rest = span_of(content_type);

	return span_eq_nocase(span_trim(span_cut(&rest, ';')), UNKNOWN);
}

/* ---- the first bytes ----------------------------------------------------- */

int sniff_head_init(struct sniff_head *head, uint64_t object_size)
{
	head->len = 0;
	head->size = object_size < SNIFF_BYTES ? (size_t)object_size :
						 SNIFF_BYTES;
	head->bytes = head->size ? malloc(head->size) : NULL;
	return head->size && !head->bytes ? -1 : 0;
}

void sniff_head_release(struct sniff_head *head)
{
	free(head->bytes);
	*head = (struct sniff_head){ 0 };
}

void sniff_head_take(struct sniff_head *head, uint64_t offset,
		     struct span bytes)
{
	size_t left = head->size - head->len;

	/* Without a gap: it came later than the rest, after a stage. */
	if (offset != head->len)
		return;
	if (bytes.len > left)
		bytes.len = left;
	if (bytes.len > 0)
		memcpy(head->bytes + head->len, bytes.ptr, bytes.len);
	head->len += bytes.len;
}

/* ---- looking ------------------------------------------------------------- */

/* "inode/x-empty" and the like say what the file system has. */
static bool is_media_type(struct span type)
{
	struct span rest = type;
	struct span main_type = span_cut(&rest, '/');

	return http1_is_token(main_type) && http1_is_token(rest) &&
	       !span_eq(main_type, SPAN_LIT("inode")) &&
	       !span_eq(type, UNKNOWN);
}

void sniffer_look(struct sniffer *sniffer, const struct sniff_head *head,
		  char content_type[OBJECT_TYPE_SIZE])
{
	struct span type;

	pthread_mutex_lock(&sniffer->lock);
	type = span_of(magic_buffer(sniffer->magic, head->bytes, head->len));
	if (type.len < OBJECT_TYPE_SIZE && is_media_type(type))
		CHECK(span_to_string(type, content_type, OBJECT_TYPE_SIZE));
	pthread_mutex_unlock(&sniffer->lock);
}
