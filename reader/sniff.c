#include "reader/sniff.h"

#include "common/http1.h"

#include "reader/sniff_helper.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define UNKNOWN SPAN_LIT("application/octet-stream")

struct sniffer {
	pthread_mutex_t lock;
	struct sniff_helper helper;
};

struct sniffer *sniffer_new(void)
{
	struct sniffer *sniffer = malloc(sizeof(*sniffer));

	if (!sniffer)
		return NULL;
	if (sniff_helper_start(&sniffer->helper) < 0) {
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
	sniff_helper_stop(&sniffer->helper);
	pthread_mutex_destroy(&sniffer->lock);
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

/*
 * An MP3 whose ID3v2 tag (with a picture of the cover, say) fills all the first
 * bytes: libmagic would want to see what follows the tag.
 */
static bool is_tagged_mp3(const struct sniff_head *head)
{
	return head->len > 10 && memcmp(head->bytes, "ID3", 3) == 0 &&
	       head->bytes[3] >= 2 && head->bytes[3] <= 4;
}

void sniffer_look(struct sniffer *sniffer, const struct sniff_head *head,
		  char content_type[OBJECT_TYPE_SIZE])
{
	char type[OBJECT_TYPE_SIZE];

	pthread_mutex_lock(&sniffer->lock);
	sniff_helper_ask(&sniffer->helper, span_make(head->bytes, head->len),
			 type, sizeof(type));
	pthread_mutex_unlock(&sniffer->lock);
	if (is_media_type(span_of(type)))
		memcpy(content_type, type, sizeof(type));
	else if (is_tagged_mp3(head))
		snprintf(content_type, OBJECT_TYPE_SIZE, "audio/mpeg");
}
