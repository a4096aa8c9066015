/* Reading to the end: in pieces, at the limits, and when a read or memory fails. */
#include "unit.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"

static enum fault_point fault_point;
static unsigned fault_at, fault_seen; /* which one fails; 0: none */

bool fault_hit(enum fault_point point)
{
	return point == fault_point && fault_at > 0 && ++fault_seen == fault_at;
}

static int file_of(size_t len)
{
	CLEAN_FD int fd = memfd_create("t", MFD_CLOEXEC);

	ASSERT_OK(fd);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(write(fd, &"abcdefghijklmnopqrstuvwxyz"[i % 26], 1), 1);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return TAKE_FD(fd);
}

/* One end of a socket that gives these a piece at a time, then ends. */
static int pieces(const char *const *texts, size_t count)
{
	int ends[2];

	ASSERT_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	for (size_t i = 0; i < count; i++)
		assert_int_equal(write(ends[1], texts[i], strlen(texts[i])), strlen(texts[i]));
	(void)fd_close(ends[1]);
	return ends[0];
}

static void a_text_in_pieces(void **state)
{
	static const char *const texts[] = { "one ", "two ", "three" };
	CLEAN_FD int a = pieces(texts, ELEMENTS(texts)), b = pieces(texts, ELEMENTS(texts));
	CLEAN_FD int c = pieces(texts, ELEMENTS(texts)), d = pieces(NULL, 0);
	CLEAN(mem_freep) char *whole = NULL;
	char text[64], small[7];
	size_t len = 0;

	(void)state;
	assert_int_equal(fd_read_some(a, text, sizeof(text)), 4);
	assert_int_equal(fd_read_text(a, text, sizeof(text)), 9);
	assert_string_equal(text, "two three");
	assert_int_equal(fd_read_some(a, text, sizeof(text)), 0);
	/* Cut where there is no more room. */
	assert_int_equal(fd_read_text(b, small, sizeof(small)), 6);
	assert_string_equal(small, "one tw");
	ASSERT_OK(fd_read_whole(c, 64, &whole, &len));
	assert_int_equal(len, 13);
	assert_string_equal(whole, "one two three");
	assert_int_equal(fd_read_text(d, text, sizeof(text)), 0);
	assert_string_equal(text, "");
}

static void as_much_as_is_allowed_and_no_more(void **state)
{
	static const size_t limits[] = { 0, 1, 7, 4093, 4094, 4095, 4096, 4097, 8191, 8192, 9000 };

	(void)state;
	for (size_t i = 0; i < ELEMENTS(limits); i++) {
		CLEAN_FD int fits = file_of(limits[i]), over = file_of(limits[i] + 1);
		CLEAN_FD int far_over = file_of(2 * limits[i] + 2);
		CLEAN(mem_freep) char *text = NULL;
		size_t len = 99999;

		ASSERT_OK(fd_read_whole(fits, limits[i], &text, &len));
		assert_int_equal(len, limits[i]);
		assert_int_equal(strlen(text), limits[i]);
		text = mem_free(text);
		ASSERT_ERR(fd_read_whole(over, limits[i], &text, &len), EFBIG);
		ASSERT_ERR(fd_read_whole(far_over, limits[i], &text, &len), EFBIG);
		assert_null(text);
	}
}

static void what_fails(void **state)
{
	static const struct {
		enum fault_point point;
		int error;
	} rows[] = { { FAULT_READ, EIO }, { FAULT_ALLOC, ENOMEM } };

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		for (unsigned at = 1;; at++) {
			CLEAN(mem_freep) char *text = NULL;
			CLEAN_FD int fd = file_of(9000);
			size_t len = 0;
			int r;

			fault_point = rows[i].point;
			fault_seen = 0;
			fault_at = at;
			r = fd_read_whole(fd, 9000, &text, &len);
			fault_at = 0;
			if (fault_seen < at) {
				ASSERT_OK(r);
				assert_int_equal(len, 9000);
				assert_true(at > 3);
				break;
			}
			ASSERT_ERR(r, rows[i].error);
			assert_null(text);
		}
}

static void a_text_that_cannot_be_read(void **state)
{
	CLEAN_FD int fd = file_of(10);
	char text[64];

	(void)state;
	for (unsigned at = 1; at <= 2; at++) {
		fault_point = FAULT_READ;
		fault_seen = 0;
		fault_at = at;
		ASSERT_ERR(fd_read_text(fd, text, sizeof(text)), EIO);
		fault_at = 0;
	}
	ASSERT_ERR(fd_read_text(-EBADF, text, sizeof(text)), EBADF);
	ASSERT_ERR((int)fd_read_some(-EBADF, text, sizeof(text)), EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_text_in_pieces),
		cmocka_unit_test(as_much_as_is_allowed_and_no_more),
		cmocka_unit_test(what_fails),
		cmocka_unit_test(a_text_that_cannot_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
