/*
 * short_io.c - short and interrupted transfers, for LD_PRELOAD
 *
 * Every sendmsg, recv, recvfrom, readv, writev, pwrite and sendfile moves a
 * random number of bytes, mostly very few, as the kernel is free to do; every
 * SHORT_IO_EINTR-th call of these and of send and sendto (0: none) fails with
 * EINTR before anything is moved, as signal(7) says of them. SHORT_IO_SEED makes
 * the same numbers come again.
 *
 * A short send() may be taken for a full buffer: the edge that epoll(7) promises
 * then cannot be feigned here. Small kernel buffers make real ones.
 */

/* With GNU's extensions, sendto() takes a union that ISO C cannot define. */
#undef _GNU_SOURCE
#define _DEFAULT_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FEW 16u
#define LONGEST 1500u

static _Atomic uint64_t calls;
static uint64_t seed;
static uint64_t interrupt_every;

__attribute__((constructor)) static void read_settings(void)
{
	const char *text = getenv("SHORT_IO_SEED");
	const char *every = getenv("SHORT_IO_EINTR");

	seed = text ? strtoull(text, NULL, 10) : 1;
	interrupt_every = every ? strtoull(every, NULL, 10) : 0;
}

/* SplitMix64 of the call's number: no state that threads would share. */
static uint64_t scatter(uint64_t n)
{
	uint64_t z = seed + n * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Shorten *len; false: the call is interrupted instead. */
static bool shorten(size_t *len)
{
	uint64_t n = atomic_fetch_add(&calls, 1) + 1;
	uint64_t random = scatter(n);
	size_t most = 1 + (random >> 8) % (random % 4 ? FEW : LONGEST);

	if (interrupt_every && n % interrupt_every == 0) {
		errno = EINTR;
		return false;
	}
	if (*len > most)
		*len = most;
	return true;
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	return sendto(fd, buf, len, flags, NULL, 0);
}

ssize_t sendto(int fd, const void *buf, size_t len, int flags,
	       const struct sockaddr *to, socklen_t to_len)
{
	size_t ignored = len;

	if (!shorten(&ignored))
		return -1;
	return syscall(SYS_sendto, fd, buf, len, flags, to, to_len);
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	return recvfrom(fd, buf, len, flags, NULL, NULL);
}

ssize_t recvfrom(int fd, void *restrict buf, size_t len, int flags,
		 struct sockaddr *restrict from, socklen_t *restrict from_len)
{
	if (!shorten(&len))
		return -1;
	return syscall(SYS_recvfrom, fd, buf, len, flags, from, from_len);
}

/* Of several pieces, a part of the first that is not empty. */
static struct iovec first_of(const struct iovec *pieces, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (pieces[i].iov_len)
			return pieces[i];
	return (struct iovec){ .iov_len = 0 };
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct iovec piece = first_of(message->msg_iov, message->msg_iovlen);
	struct msghdr part = *message;

	if (!shorten(&piece.iov_len))
		return -1;
	part.msg_iov = &piece;
	part.msg_iovlen = 1;
	return syscall(SYS_sendmsg, fd, &part, flags);
}

ssize_t writev(int fd, const struct iovec *pieces, int n)
{
	struct iovec piece = first_of(pieces, (size_t)n);

	if (!shorten(&piece.iov_len))
		return -1;
	return syscall(SYS_writev, fd, &piece, 1);
}

ssize_t readv(int fd, const struct iovec *pieces, int n)
{
	struct iovec piece = first_of(pieces, (size_t)n);

	if (!shorten(&piece.iov_len))
		return -1;
	return syscall(SYS_readv, fd, &piece, 1);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	if (!shorten(&len))
		return -1;
	return syscall(SYS_pwrite64, fd, buf, len, offset);
}

ssize_t sendfile(int to, int from, off_t *offset, size_t len)
{
	if (!shorten(&len))
		return -1;
	return syscall(SYS_sendfile, to, from, offset, len);
}
