#include "common/base64.h"

#include <check.h>
#include <stdlib.h>

#include "tests/unit/random.h"

/* SPAN_LIT() is no constant initializer. */
#define LIT(s) { (s), sizeof(s) - 1 }

/* RFC 4648, 10, and what tells the two alphabets apart. */
static const struct {
	struct span bytes;
	const char *padded, *url;
} vectors[] = {
	{ LIT(""), "", "" },
	{ LIT("f"), "Zg==", "Zg" },
	{ LIT("fo"), "Zm8=", "Zm8" },
	{ LIT("foo"), "Zm9v", "Zm9v" },
	{ LIT("foob"), "Zm9vYg==", "Zm9vYg" },
	{ LIT("fooba"), "Zm9vYmE=", "Zm9vYmE" },
	{ LIT("foobar"), "Zm9vYmFy", "Zm9vYmFy" },
	{ LIT("\xfb\xff\0"), "+/8A", "-_8A" },
};

static void expect_text(enum base64_kind kind, struct span bytes,
			const char *text)
{
	char buf[64];
	size_t len = base64_encode(kind, bytes, buf);

	ck_assert_uint_eq(len, strlen(text));
	ck_assert_str_eq(buf, text);
	ck_assert(base64_decode(kind, span_of(text), buf, &len));
	ck_assert(span_eq(span_make(buf, len), bytes));
}

START_TEST(bytes_have_one_text_and_come_back)
{
	expect_text(BASE64_PADDED, vectors[_i].bytes, vectors[_i].padded);
	expect_text(BASE64_URL, vectors[_i].bytes, vectors[_i].url);
}
END_TEST

static const char *const malformed[] = {
	"Zg", "Zg=", "Zg===", "Z===", "====", "=", "Zh==", "Zm9=", "Zm-_",
	"Zm 9", "Zg==Zg==", "Zm9v\n", "Z",
};

START_TEST(another_text_is_refused)
{
	char bytes[64];
	size_t len;

	ck_assert(!base64_decode(BASE64_PADDED, span_of(malformed[_i]), bytes,
				 &len));
}
END_TEST

START_TEST(the_alphabet_for_urls_has_no_padding)
{
	char bytes[64];
	size_t len;

	ck_assert(!base64_decode(BASE64_URL, SPAN_LIT("Zg=="), bytes, &len));
	ck_assert(!base64_decode(BASE64_URL, SPAN_LIT("Z"), bytes, &len));
	ck_assert(!base64_decode(BASE64_URL, SPAN_LIT("Zh"), bytes, &len));
	ck_assert(!base64_decode(BASE64_URL, SPAN_LIT("+/8A"), bytes, &len));
}
END_TEST

START_TEST(any_bytes_come_back_within_the_promised_room)
{
	char bytes[200], text[BASE64_TEXT_SIZE(200)];
	char again[BASE64_BYTES_SIZE(sizeof(text))];
	size_t n, len;

	for (int round = 0; round < 2000; round++) {
		enum base64_kind kind = round % 2 ? BASE64_URL : BASE64_PADDED;

		n = random_below(sizeof(bytes) + 1);
		for (size_t i = 0; i < n; i++)
			bytes[i] = (char)random_below(256);
		len = base64_encode(kind, span_make(bytes, n), text);
		ck_assert_uint_lt(len, BASE64_TEXT_SIZE(n));
		ck_assert(base64_decode(kind, span_make(text, len), again,
					&len));
		ck_assert_uint_eq(len, n);
		ck_assert(n == 0 || memcmp(again, bytes, n) == 0);
	}
}
END_TEST

static void add_tests(TCase *tc)
{
	random_begin("base64");
	tcase_add_loop_test(tc, bytes_have_one_text_and_come_back, 0,
			    sizeof(vectors) / sizeof(*vectors));
	tcase_add_loop_test(tc, another_text_is_refused, 0,
			    sizeof(malformed) / sizeof(*malformed));
	tcase_add_test(tc, the_alphabet_for_urls_has_no_padding);
	tcase_add_test(tc, any_bytes_come_back_within_the_promised_room);
}

int main(void)
{
	Suite *suite = suite_create("base64");
	TCase *tc = tcase_create("base64");
	SRunner *sr = srunner_create(suite);
	int failed;

	add_tests(tc);
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
