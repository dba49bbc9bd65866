/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The control socket, both ends: calls, errors, limits, connections that end badly. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/ctl/ctl.h"
#include "fs/ctl/line.h"
#include "fs/ctl/server.h"
#include "fs/util/cleanup.h"

struct fixture {
	struct id id;
	struct ctl_server *server;
	char path[CTL_PATH_MAX];
	atomic_int begun, ended;
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool late; /* lock; an answer waits until it is false */
};

static void *begin(void *ctx)
{
	struct fixture *f = ctx;

	atomic_fetch_add(&f->begun, 1);
	return calloc(1, sizeof(int));
}

static void end(void *ctx, void *state)
{
	struct fixture *f = ctx;
	SCOPED_LOCK(&f->lock);

	free(state);
	atomic_fetch_add(&f->ended, 1);
	pthread_cond_broadcast(&f->change);
}

static int call(void *ctx, void *state, const char *verb, const json_t *request, json_t *reply,
	struct err *err)
{
	int *count = state;

	if (strcmp(verb, "count") == 0) {
		json_object_set_new(reply, "count", json_integer(++*count));
		return 0;
	}
	if (strcmp(verb, "large") == 0) {
		json_int_t size = json_integer_value(json_object_get(request, "size"));
		char *text = malloc((size_t)size);

		memset(text, 'x', (size_t)size);
		json_object_set_new(reply, "text", json_stringn(text, (size_t)size));
		free(text);
		return 0;
	}
	if (strcmp(verb, "late") == 0) {
		struct fixture *f = ctx;
		SCOPED_LOCK(&f->lock);

		while (f->late)
			pthread_cond_wait(&f->change, &f->lock);
		return 0;
	}
	if (strcmp(verb, "hold") == 0) {
		json_object_set_new(reply, "identity", json_string("me"));
		json_object_set_new(reply, "size_bytes", json_integer(INT64_C(1) << 43));
		json_object_set_new(reply, "holds", json_integer(1));
		return 0;
	}
	json_object_set_new(reply, "left", json_integer(1)); /* must not get into the answer */
	err_set(err, -ESTALE, "base \xff/a: changed");
	err_hint(err, "look at it");
	return -ESTALE;
}

static const struct ctl_ops ops = {.begin = begin, .call = call, .end = end};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err = {0};

	f->id = id_new();
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->change, NULL);
	assert_int_equal(ctl_socket_path(&f->id, f->path), 0);
	assert_int_equal(ctl_server_start(&f->id, &ops, f, &f->server, &err), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ctl_server_stop(f->server);
	assert_int_equal(atomic_load(&f->begun), atomic_load(&f->ended));
	assert_int_equal(access(f->path, F_OK), -1);
	free(f);
	return 0;
}

static struct ctl *connect_to(struct fixture *f)
{
	struct err err = {0};
	struct ctl *ctl;

	assert_int_equal(ctl_connect(&f->id, &ctl, &err), 0);
	return ctl;
}

static int count(struct ctl *ctl)
{
	json_t *reply;
	int n;

	assert_int_equal(ctl_call(ctl, json_pack("{s:s}", "verb", "count"), &reply, NULL), 0);
	n = (int)json_integer_value(json_object_get(reply, "count"));
	json_decref(reply);
	return n;
}

static void test_a_connection_keeps_its_state(void **state)
{
	struct ctl *one = connect_to(*state), *two = connect_to(*state);

	assert_int_equal(count(one), 1);
	assert_int_equal(count(one), 2);
	assert_int_equal(count(two), 1);
	assert_int_equal(count(one), 3);
	ctl_close(one);
	ctl_close(two);
	ctl_close(NULL);
}

static void test_errors_come_through_whole(void **state)
{
	struct ctl *ctl = connect_to(*state);
	struct err err = {0};
	json_t *reply = NULL;

	assert_int_equal(ctl_call(ctl, json_pack("{s:s}", "verb", "fail"), &reply, &err), -ESTALE);
	assert_null(reply);
	assert_string_equal(err.message, "base ?/a: changed");
	assert_string_equal(err.hint, "look at it");
	/* And the connection goes on. */
	assert_int_equal(count(ctl), 1);
	ctl_close(ctl);
}

/* What the daemon says later is no answer to what it is asked next. */
static void test_a_late_answer_is_nobodys(void **state)
{
	struct fixture *f = *state;
	struct ctl *ctl = connect_to(f), *other = connect_to(f);
	struct err err = {0};

	f->late = true;
	ctl_set_timeout(ctl, 20);
	assert_int_equal(ctl_call(ctl, json_pack("{s:s}", "verb", "late"), NULL, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.message, "did not answer"));
	assert_non_null(strstr(err.hint, "lazyclone info"));
	pthread_mutex_lock(&f->lock);
	f->late = false;
	pthread_cond_broadcast(&f->change);
	pthread_mutex_unlock(&f->lock);
	ctl_set_timeout(ctl, CTL_TIMEOUT_MS);
	assert_int_equal(ctl_call(ctl, json_pack("{s:s}", "verb", "fail"), NULL, &err), -ETIMEDOUT);
	assert_int_equal(count(other), 1);
	ctl_close(ctl);
	ctl_close(other);
}

static void test_hold_gives_identity_and_size(void **state)
{
	struct ctl *ctl = connect_to(*state);
	char *identity = NULL;
	uint64_t size = 0;
	bool first = false;

	assert_int_equal(ctl_hold(ctl, "{}", &identity, &size, &first, NULL), 0);
	assert_true(first);
	assert_string_equal(identity, "me");
	assert_int_equal(size, UINT64_C(1) << 43);
	free(identity);
	first = false;
	assert_int_equal(ctl_hold_known(ctl, "/a", "me", &first, NULL), 0);
	assert_true(first);
	ctl_close(ctl);
}

static int call_large(struct ctl *ctl, uint64_t size)
{
	return ctl_call(ctl, json_pack("{s:s, s:I}", "verb", "large", "size", (json_int_t)size),
		NULL, NULL);
}

static void test_replies_have_a_limit(void **state)
{
	struct ctl *ctl = connect_to(*state);

	assert_int_equal(call_large(ctl, CTL_LINE_MAX - 100), 0);
	assert_int_equal(count(ctl), 1);
	/* Too large to send: said instead, and the connection ends. */
	assert_int_equal(call_large(ctl, CTL_LINE_MAX), -EMSGSIZE);
	assert_int_equal(call_large(ctl, 1), -ECONNREFUSED);
	ctl_close(ctl);
}

static void test_requests_have_a_limit(void **state)
{
	struct ctl *ctl = connect_to(*state);
	AUTO_FREE char *text = malloc(CTL_REQUEST_MAX + 1);

	memset(text, 'x', CTL_REQUEST_MAX);
	text[CTL_REQUEST_MAX] = '\0';
	assert_int_equal(ctl_attach(ctl, text, NULL), -EMSGSIZE);
	assert_int_equal(count(ctl), 1);
	ctl_close(ctl);
}

static int raw_connect(const struct fixture *f)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void expect_line(int fd, const char *part)
{
	struct line_reader reader;
	char *line;
	size_t len;

	line_reader_init(&reader, fd, CTL_LINE_MAX);
	assert_int_equal(line_receive(&reader, 10000, 10000, &line, &len), 0);
	assert_non_null(strstr(line, part));
	line_reader_release(&reader);
}

static void test_what_is_no_request_is_refused(void **state)
{
	static const char *const bad[] = {"", "nonsense", "[]", "{}", "{\"verb\":7}", "{\"verb\":",
		"{\"verb\":\"a\",\"verb\":\"b\"}", "\xff\xfe",
		"{\"verb\":\"a name of a verb that is far too long\"}"};
	AUTO_CLOSE int fd = raw_connect(*state);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(line_send(fd, bad[i], strlen(bad[i]), 1000), 0);
		expect_line(fd, "\"ok\":false");
	}
}

static void test_an_endless_request_is_cut_off(void **state)
{
	AUTO_CLOSE int fd = raw_connect(*state);
	AUTO_FREE char *text = malloc(2 * CTL_REQUEST_MAX);

	memset(text, ' ', 2 * CTL_REQUEST_MAX);
	line_send(fd, text, 2 * CTL_REQUEST_MAX, 1000); /* cut off in the middle, or not */
	expect_line(fd, "\"ok\":false");
}

static void test_several_requests_in_one_packet(void **state)
{
	static const char two[] = "{\"verb\":\"count\"}\n{\"verb\":\"count\"}";
	AUTO_CLOSE int fd = raw_connect(*state);
	struct line_reader reader;
	char *line;
	size_t len;

	line_reader_init(&reader, fd, 4096);
	assert_int_equal(line_send(fd, two, strlen(two), 1000), 0);
	for (int i = 1; i <= 2; i++) {
		json_t *reply;

		assert_int_equal(line_receive(&reader, 10000, 1000, &line, &len), 0);
		reply = json_loadb(line, len, 0, NULL);
		assert_int_equal(json_integer_value(json_object_get(reply, "count")), i);
		json_decref(reply);
	}
	line_reader_release(&reader);
}

static void test_a_client_that_vanishes_gives_back_its_state(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);

	assert_int_equal(line_send(fd, "{\"verb\":\"large\",\"size\":8000000}", 31, 1000), 0);
	close(fd);
	SCOPED_LOCK(&f->lock);
	while (atomic_load(&f->ended) == 0)
		pthread_cond_wait(&f->change, &f->lock);
}

static void test_too_many_connections_are_told(void **state)
{
	struct ctl *ctl[CTL_CONNECTIONS_MAX];
	struct ctl *more;
	struct err err = {0};

	for (int i = 0; i < CTL_CONNECTIONS_MAX; i++) {
		ctl[i] = connect_to(*state);
		assert_int_equal(count(ctl[i]), 1);
	}
	more = connect_to(*state);
	assert_int_equal(ctl_stop(more, &err), -EBUSY);
	ctl_close(more);
	for (int i = 0; i < CTL_CONNECTIONS_MAX; i++)
		ctl_close(ctl[i]);
}

static void test_no_daemon(void **state)
{
	const struct id nobody = id_new();
	struct err err = {0};
	struct ctl *ctl;

	assert_int_equal(ctl_connect(&nobody, &ctl, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.message, "not running"));
}

static void test_a_stopped_server_is_no_daemon(void **state)
{
	struct fixture *f = *state;
	struct ctl *ctl = connect_to(f);
	struct err err;

	assert_int_equal(count(ctl), 1);
	ctl_server_close(f->server);
	/* Who is connected is served until the stop. */
	assert_int_equal(count(ctl), 2);
	ctl_server_stop(f->server);
	f->server = NULL;
	assert_int_equal(ctl_stop(ctl, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.hint, "it may have done"));
	ctl_close(ctl);
	test_no_daemon(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_connection_keeps_its_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors_come_through_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_late_answer_is_nobodys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hold_gives_identity_and_size, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replies_have_a_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_requests_have_a_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_request_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_endless_request_is_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several_requests_in_one_packet, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_a_client_that_vanishes_gives_back_its_state,
			setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many_connections_are_told, setup, teardown),
		cmocka_unit_test(test_no_daemon),
		cmocka_unit_test_setup_teardown(test_a_stopped_server_is_no_daemon, setup, teardown),
	};
	char dir[] = "/tmp/lazyclone-ctl-XXXXXX";
	int rc;

	/* As root the place is fixed; an ordinary user's must not be the real one. */
	if (!mkdtemp(dir))
		return 1;
	setenv("XDG_RUNTIME_DIR", dir, 1);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	if (chdir(dir) == 0)
		rmdir("lazyclone");
	rmdir(dir);
	return rc;
}
