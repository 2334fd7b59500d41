/* A connection to a server that says what the test wants, when it wants. */
#include "tests/unit/reader/store_fixture.h"

#include "reader/pg_link.h"

#include <arpa/inet.h>
#include <endian.h>
#include <poll.h>
#include <sys/socket.h>

static struct pg_link *pg;
static int listener = -1, peer = -1;
static int n_told;
static int room_told;

/* ---- the server ----------------------------------------------------------- */

static void listen_somewhere(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t size = sizeof(at);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(listener, (void *)&at, size), 0);
	ck_assert_int_eq(listen(listener, 5), 0);
	ck_assert_int_eq(getsockname(listener, (void *)&at, &size), 0);
	snprintf(settings.db_host, sizeof(settings.db_host), "127.0.0.1");
	snprintf(settings.db_port, sizeof(settings.db_port), "%d",
		 ntohs(at.sin_port));
	snprintf(settings.db_user, sizeof(settings.db_user), "u");
	snprintf(settings.db_password, sizeof(settings.db_password), "p");
	setenv("PGSSLMODE", "disable", 1);
	setenv("PGGSSENCMODE", "disable", 1);
}

/* A message: type, length, body (manual, 55.7). */
static void say(char type, const void *body, size_t len)
{
	uint32_t size = htobe32((uint32_t)len + 4);

	ck_assert_int_eq(send(peer, &type, 1, 0), 1);
	ck_assert_int_eq(send(peer, &size, 4, 0), 4);
	ck_assert_int_eq(send(peer, body, len, MSG_NOSIGNAL), (ssize_t)len);
}

#define SAY(type, body) say(type, body, sizeof(body) - 1)

static void say_ready(void)
{
	SAY('Z', "I");
}

static void say_error(const char *severity, const char *state,
		      const char *words)
{
	char body[300];
	int n = snprintf(body, sizeof(body), "S%s%cVERROR%cC%s%cM%s%c",
			 severity, 0, 0, state, 0, words, 0);

	say('E', body, (size_t)n + 1);
}

/* Take what the client has sent: at least one byte. */
static void take_bytes(void)
{
	char bytes[65536];

	ck_assert_int_gt(recv(peer, bytes, sizeof(bytes), 0), 0);
}

static bool is_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

/* Run turns, which may wait, only while the client has something to do. */
static void run_until_readable(int fd)
{
	while (!is_readable(fd))
		loop_run_once(loop);
}

static void accept_client(void)
{
	run_until_readable(listener);
	peer = accept(listener, NULL, NULL);
	ck_assert_int_ge(peer, 0);
	run_until_readable(peer);
	take_bytes();
}

/* ---- the client ----------------------------------------------------------- */

static void on_told(void *arg, PGresult *result, const struct err *err)
{
	ck_assert_ptr_eq(arg, &n_told);
	ck_assert(!ended);
	PQclear(result);
	last = err ? *err : ERR_INIT;
	ended = true;
	n_told++;
}

static void on_room(void *arg)
{
	ck_assert_ptr_eq(arg, &room_told);
	room_told++;
}

static void start(void)
{
	make_loop();
	listen_somewhere();
	n_told = room_told = 0;
	pg = pg_link_new(loop, &settings, workers);
	ck_assert_ptr_nonnull(pg);
	ended = false;
	pg_link_connect(pg, on_told, &n_told);
	ck_assert(!ended);
	accept_client();
}

static void start_connected(void)
{
	start();
	SAY('R', "\0\0\0\0");
	say_ready();
	ck_assert_msg(wait_end() == ERR_NONE, "%s", last.text);
	ck_assert(pg_link_is_usable(pg));
}

static void stop(void)
{
	pg_link_free(&pg);
	close(peer);
	close(listener);
	drop_loop();
}

static void ask(void)
{
	ended = false;
	pg_link_run_sql(pg, "SELECT", 0, on_told, &n_told);
	ck_assert(!ended);
	take_bytes();
}

static void say_answer(void)
{
	SAY('1', "");
	SAY('2', "");
	SAY('n', "");
	SAY('C', "SELECT 0\0");
	say_ready();
}

/* The server takes rows. */
static void start_copy(const char *update)
{
	start_connected();
	ended = false;
	pg_link_copy_begin(pg, "…", on_told, &n_told);
	take_bytes();
	say('C', update, strlen(update) + 1);
	SAY('G', "\1\0\0");
	ck_assert_msg(wait_end() == ERR_NONE, "%s", last.text);
	ck_assert(pg_link_takes_rows(pg));
}

static void end_copy(void)
{
	ended = false;
	pg_link_copy_end(pg, on_told, &n_told);
	ck_assert(!ended);
}

static int put(const char *text)
{
	return pg_link_copy_put(pg, span_of(text), on_room, &room_told);
}

/* ---- connecting ----------------------------------------------------------- */

static void expect_refusal(const char *state, const char *words,
			   enum err_code code)
{
	start();
	say_error("SCHWERWIEGEND", state, words);
	close(peer);
	ck_assert_int_eq(wait_end(), code);
	ck_assert_ptr_nonnull(strstr(last.text, words));
	ck_assert(!pg_link_is_usable(pg));
	stop();
}

START_TEST(a_refusal_is_understood_in_every_language)
{
	expect_refusal("53300", "tut mir leid, schon zu viele Clients",
		       ERR_LIMIT);
	expect_refusal("57P03", "das Datenbanksystem startet", ERR_LIMIT);
	expect_refusal("28P01", "Passwort-Authentifizierung fehlgeschlagen",
		       ERR_STORE);
	expect_refusal("XX000", "too many clients: no, something else",
		       ERR_STORE);
}
END_TEST

START_TEST(a_server_that_says_nothing_is_given_up)
{
	start();
	pg_link_reset(pg);
	settings.db_connect_timeout_ms = 20;
	pg_link_connect(pg, on_told, &n_told);
	ck_assert_int_eq(wait_end(), ERR_STORE);
	ck_assert_ptr_nonnull(strstr(last.text, "in time"));
	stop();
}
END_TEST

/* ---- statements ----------------------------------------------------------- */

START_TEST(an_answer_may_come_byte_by_byte)
{
	static const char answer[] = "1\0\0\0\4" "2\0\0\0\4" "n\0\0\0\4"
				     "C\0\0\0\015SELECT 0\0" "Z\0\0\0\5I";

	start_connected();
	ask();
	for (size_t i = 0; i < sizeof(answer) - 1; i++) {
		ck_assert(!ended);
		ck_assert_int_eq(send(peer, answer + i, 1, 0), 1);
		loop_run_once(loop);
	}
	ck_assert_int_eq(wait_end(), ERR_NONE);
	ck_assert_int_eq(n_told, 2);
	stop();
}
END_TEST

START_TEST(an_error_leaves_the_connection_usable)
{
	start_connected();
	ask();
	say_error("FEHLER", "53100", "voll");
	say_ready();
	ck_assert_int_eq(wait_end(), ERR_STORE);
	ck_assert_int_eq(last.status, 507);
	ck_assert(pg_link_is_usable(pg));
	ask();
	say_answer();
	ck_assert_int_eq(wait_end(), ERR_NONE);
	stop();
}
END_TEST

/* It may be there all the same: then its name is taken. */
START_TEST(a_connection_that_cannot_prepare_is_given_up)
{
	start_connected();
	ended = false;
	pg_link_run(pg, PG_PING, on_told, &n_told);
	take_bytes();
	say_error("FEHLER", "42P05", "gibt es schon");
	say_ready();
	ck_assert_int_eq(wait_end(), ERR_STORE);
	ck_assert_ptr_nonnull(strstr(last.text, "gibt es schon"));
	ck_assert(!pg_link_is_usable(pg));
	stop();
}
END_TEST

/* CommandComplete comes before the transaction's end: it is no success yet. */
START_TEST(success_is_not_believed_before_the_server_is_ready)
{
	start_connected();
	ask();
	SAY('1', "");
	SAY('2', "");
	SAY('n', "");
	SAY('C', "UPDATE 1\0");
	loop_run_once(loop);
	ck_assert(!ended);
	close(peer);
	ck_assert_int_eq(wait_end(), ERR_LIMIT);	/* may be asked again */
	ck_assert(!pg_link_is_usable(pg));
	stop();
}
END_TEST

START_TEST(an_error_after_the_command_is_the_answer)
{
	start_connected();
	ask();
	SAY('1', "");
	SAY('2', "");
	SAY('n', "");
	SAY('C', "UPDATE 1\0");
	say_error("FEHLER", "40001", "beim Commit");
	say_ready();
	ck_assert_int_eq(wait_end(), ERR_LIMIT);
	stop();
}
END_TEST

START_TEST(a_silent_server_is_given_up_in_time)
{
	start_connected();
	settings.db_timeout_ms = 20;
	ask();
	ck_assert_int_eq(wait_end(), ERR_STORE);
	ck_assert_ptr_nonnull(strstr(last.text, "in time"));
	ck_assert(!pg_link_is_usable(pg));
	stop();
}
END_TEST

START_TEST(what_is_lost_while_idle_is_not_used)
{
	start_connected();
	close(peer);
	while (pg_link_is_usable(pg))
		loop_run_once(loop);
	ck_assert_int_eq(n_told, 1);
	stop();
}
END_TEST

START_TEST(what_is_reset_is_told_nothing)
{
	start_connected();
	ask();
	pg_link_reset(pg);
	ck_assert_int_eq(n_told, 1);
	ended = false;
	pg_link_connect(pg, on_told, &n_told);
	close(peer);
	accept_client();
	SAY('R', "\0\0\0\0");
	say_ready();
	ck_assert_int_eq(wait_end(), ERR_NONE);
	ck_assert_int_eq(n_told, 2);
	stop();
}
END_TEST

/* ---- COPY ----------------------------------------------------------------- */

START_TEST(a_copy_goes_its_way)
{
	start_copy("UPDATE 1");
	ck_assert_int_eq(pg->changed, 1);
	ck_assert_int_eq(put("rows"), 1);
	end_copy();
	take_bytes();
	SAY('C', "COPY 1\0");
	say_ready();
	ck_assert_int_eq(wait_end(), ERR_NONE);
	ck_assert(pg_link_is_usable(pg));
	stop();
}
END_TEST

START_TEST(an_update_that_found_nothing_is_seen)
{
	start_copy("UPDATE 0");
	ck_assert_int_eq(pg->changed, 0);
	stop();
}
END_TEST

/* The rest of the refusal comes when the COPY is being ended already. */
START_TEST(a_refusal_in_two_pieces_is_told_once)
{
	start_copy("UPDATE 1");
	say_error("FEHLER", "53100", "voll");
	while (pg_link_takes_rows(pg))
		loop_run_once(loop);
	say_ready();
	end_copy();
	ck_assert_int_eq(wait_end(), ERR_STORE);
	ck_assert_int_eq(last.status, 507);
	ck_assert(pg_link_is_usable(pg));
	ask();
	say_answer();
	ck_assert_int_eq(wait_end(), ERR_NONE);
	stop();
}
END_TEST

START_TEST(a_refusal_that_was_read_before_is_told)
{
	start_copy("UPDATE 1");
	say_error("FEHLER", "53100", "voll");
	say_ready();
	while (pg_link_takes_rows(pg))
		loop_run_once(loop);
	end_copy();
	ck_assert_int_eq(wait_end(), ERR_STORE);
	ck_assert(pg_link_is_usable(pg));
	stop();
}
END_TEST

START_TEST(a_connection_lost_between_rows_is_told_at_the_end)
{
	start_copy("UPDATE 1");
	close(peer);
	while (pg->state != PG_LINK_DOWN)
		loop_run_once(loop);
	ck_assert(!pg_link_takes_rows(pg));
	end_copy();
	ck_assert_int_eq(wait_end(), ERR_STORE);
	ck_assert_int_eq(n_told, 3);
	stop();
}
END_TEST

static char rows[200000];

/* Until the socket takes no more; bounded, whatever the server does. */
static void fill(void)
{
	int n = 0;

	memset(rows, 'r', sizeof(rows) - 1);
	while (put(rows) == 1)
		ck_assert_int_lt(n++, 1000);
}

START_TEST(who_waits_for_room_is_told_once)
{
	start_copy("UPDATE 1");
	fill();
	while (!room_told) {
		while (is_readable(peer))
			take_bytes();
		nap();
	}
	ck_assert_int_eq(room_told, 1);
	ck_assert_msg(pg_link_takes_rows(pg), "%s", pg->err.text);
	stop();
}
END_TEST

START_TEST(who_waits_for_room_is_told_of_a_loss)
{
	start_copy("UPDATE 1");
	fill();
	close(peer);
	while (!room_told)
		loop_run_once(loop);
	ck_assert(!pg_link_takes_rows(pg));
	end_copy();
	ck_assert_int_eq(wait_end(), ERR_STORE);
	ck_assert_int_eq(room_told, 1);
	stop();
}
END_TEST

START_TEST(a_server_that_takes_nothing_is_given_up_in_time)
{
	settings.db_timeout_ms = 10000;
	start_copy("UPDATE 1");
	settings.db_timeout_ms = 20;
	fill();
	while (!room_told)
		loop_run_once(loop);
	ck_assert(!pg_link_takes_rows(pg));
	end_copy();
	ck_assert_int_eq(wait_end(), ERR_STORE);
	ck_assert_ptr_nonnull(strstr(last.text, "in time"));
	stop();
}
END_TEST

#define CASES(X) \
	X(a_refusal_is_understood_in_every_language) \
	X(a_server_that_says_nothing_is_given_up) \
	X(an_answer_may_come_byte_by_byte) \
	X(an_error_leaves_the_connection_usable) \
	X(a_connection_that_cannot_prepare_is_given_up) \
	X(success_is_not_believed_before_the_server_is_ready) \
	X(an_error_after_the_command_is_the_answer) \
	X(a_silent_server_is_given_up_in_time) \
	X(what_is_lost_while_idle_is_not_used) \
	X(what_is_reset_is_told_nothing) \
	X(a_copy_goes_its_way) \
	X(an_update_that_found_nothing_is_seen) \
	X(a_refusal_in_two_pieces_is_told_once) \
	X(a_refusal_that_was_read_before_is_told) \
	X(a_connection_lost_between_rows_is_told_at_the_end) \
	X(who_waits_for_room_is_told_once) \
	X(who_waits_for_room_is_told_of_a_loss) \
	X(a_server_that_takes_nothing_is_given_up_in_time)

int main(void)
{
	Suite *suite = suite_create("pg link");
	TCase *tc = tcase_create("link");
	SRunner *sr = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 30);
#define ADD(name) tcase_add_test(tc, name);
	CASES(ADD)
#undef ADD
	suite_add_tcase(suite, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
