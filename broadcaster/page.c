#include "broadcaster/page.h"

#include "common/base64.h"
#include "common/digest.h"

#include <stdio.h>

/* The file as it is, between two labels; paths are from the root. */
__asm__(".pushsection .rodata\n"
	".global page_html, page_html_end\n"
	"page_html:\n"
	".incbin \"broadcaster/page.html\"\n"
	"page_html_end:\n"
	".byte 0\n"
	".popsection\n");
extern const char page_html[], page_html_end[];

#define SOURCE_SIZE (BASE64_TEXT_SIZE(DIGEST_SHA256_BYTES) + sizeof("'sha256-'"))

static char policy[600];

static struct span content(void)
{
	return span_make(page_html, (size_t)(page_html_end - page_html));
}

/* "'sha256-…'" of what stands between two tags (CSP 3, 2.3.1). */
static void digest_element(const char *begin, const char *end, char *source)
{
	struct span text = content();
	const char *from = memmem(text.ptr, text.len, begin, strlen(begin));
	const char *to = from ? strstr(from, end) : NULL;
	char base64[BASE64_TEXT_SIZE(DIGEST_SHA256_BYTES)];
	unsigned char bytes[DIGEST_SHA256_BYTES];
	struct span inside;

	CHECK(from && to);
	from += strlen(begin);
	inside = span_make(from, (size_t)(to - from));
	digest_once(&inside, 1, bytes);
	base64_encode(BASE64_PADDED,
		      span_make((const char *)bytes, sizeof(bytes)), base64);
	snprintf(source, SOURCE_SIZE, "'sha256-%s'", base64);
}

void page_init(void)
{
	char script[SOURCE_SIZE], style[SOURCE_SIZE];

	digest_element("<script>", "</script>", script);
	digest_element("<style>", "</style>", style);
	snprintf(policy, sizeof(policy),
		 "default-src 'none'; script-src %s; style-src %s; "
		 "connect-src 'self'; media-src 'self'; img-src 'self'; "
		 "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		 script, style);
}

static void reply_page(struct http_exchange *x)
{
	const struct http_header fields[] = {
		{ "Content-Security-Policy", policy },
		{ "X-Content-Type-Options", "nosniff" },
		{ "Referrer-Policy", "no-referrer" },
		{ "Cache-Control", "no-cache" },
	};
	struct http_reply reply = {
		.status = 200,
		.content_type = "text/html; charset=utf-8",
		.headers = fields,
		.n_headers = sizeof(fields) / sizeof(fields[0]),
	};

	http_reply(x, &reply, content());
}

bool page_serve(struct http_exchange *x, struct span path)
{
	enum http1_method method = http_request(x)->method;

	if (!span_eq(path, SPAN_LIT("/")) ||
	    (method != HTTP1_GET && method != HTTP1_HEAD))
		return false;
	reply_page(x);
	return true;
}
