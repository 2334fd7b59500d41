/*
 * fail_alloc.c - fails a program's n-th allocation, for LD_PRELOAD
 *
 * FAIL_ALLOC_FILE names a file that is mapped (struct control). Whoever started
 * the program arms it there while it runs: calls = 0, then first = n and count:
 * the n-th to (n + count - 1)-th call from then on, of any thread, gets no
 * memory. first = 0 disarms. live is the number of blocks held, for leaks. What
 * the program forks without exec (the reader's helper) is left alone: its memory
 * is another affair.
 *
 * The next library's allocator is used and not glibc's by its other names, so
 * that it may be a sanitizer's.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct control {
	_Atomic uint64_t first;
	_Atomic uint64_t count;
	_Atomic uint64_t calls;
	_Atomic uint64_t failed;
	_Atomic int64_t live;
};

static struct control before_main;
static struct control *control = &before_main;

static struct {
	void *(*malloc)(size_t size);
	void *(*calloc)(size_t n, size_t size);
	void *(*realloc)(void *ptr, size_t size);
	void *(*memalign)(size_t alignment, size_t size);
	void (*free)(void *ptr);
} next;

/* ISO C has no conversion from void * to a function; POSIX promises it. */
static void look_up(void *member, const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (!found)
		abort();
	memcpy(member, &found, sizeof(found));
}

static void look_all_up(void)
{
	look_up(&next.malloc, "malloc");
	look_up(&next.calloc, "calloc");
	look_up(&next.realloc, "realloc");
	look_up(&next.memalign, "memalign");
	look_up(&next.free, "free");
}

static void leave_control(void)
{
	control = &before_main;
}

__attribute__((constructor)) static void map_control(void)
{
	const char *path = getenv("FAIL_ALLOC_FILE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE,
		   MAP_SHARED, fd, 0);
	if (map != MAP_FAILED && pthread_atfork(NULL, NULL, leave_control) == 0)
		control = map;
	close(fd);
}

static bool is_refused(void)
{
	uint64_t first = atomic_load(&control->first), call;

	if (!next.free)
		look_all_up();
	if (first == 0)
		return false;
	call = atomic_fetch_add(&control->calls, 1) + 1;
	if (call < first || call - first >= atomic_load(&control->count))
		return false;
	atomic_fetch_add(&control->failed, 1);
	errno = ENOMEM;
	return true;
}

static void *counted(void *ptr)
{
	if (ptr)
		atomic_fetch_add(&control->live, 1);
	return ptr;
}

void *malloc(size_t size)
{
	return is_refused() ? NULL : counted(next.malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return is_refused() ? NULL : counted(next.calloc(n, size));
}

void *realloc(void *ptr, size_t size)
{
	if (!ptr)
		return malloc(size);
	if (size == 0) {
		free(ptr);
		return NULL;
	}
	return is_refused() ? NULL : next.realloc(ptr, size);
}

void free(void *ptr)
{
	int saved = errno;

	if (!ptr)
		return;
	if (!next.free)
		look_all_up();
	atomic_fetch_sub(&control->live, 1);
	next.free(ptr);
	errno = saved;
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
	return is_refused() ? NULL : counted(next.memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ptr, size_t alignment, size_t size)
{
	void *found = memalign(alignment, size);

	if (!found)
		return ENOMEM;
	*ptr = found;
	return 0;
}
