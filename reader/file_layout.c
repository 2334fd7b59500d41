#include "reader/file_layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIR_MODE 0750
#define FILE_MODE 0640
#define OPEN_DIR (O_RDONLY | O_DIRECTORY)
#define HTTP_INSUFFICIENT_STORAGE 507

/* Set once, by a kernel before 5.6 or a sandbox that does not know openat2. */
static atomic_bool no_openat2;

int file_err(struct err *err, int errnum, const char *what)
{
	bool first = !err_is_set(err);

	switch (errnum) {
	case ENOMEM:
		return err_set_errno(err, ERR_MEMORY, errnum, "%s", what);
	case EMFILE:
	case ENFILE:
		return err_set_errno(err, ERR_LIMIT, errnum, "%s", what);
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		err_set_errno(err, ERR_STORE, errnum, "%s", what);
		if (first)
			err->status = HTTP_INSUFFICIENT_STORAGE;
		return -1;
	default:
		return err_set_errno(err, ERR_STORE, errnum, "%s", what);
	}
}

/* ---- files --------------------------------------------------------------- */

static int open_beneath(int dir_fd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned int)flags,
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};

	return (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
}

int file_open(int dir_fd, const char *path, int flags, mode_t mode)
{
	int fd;

	flags |= O_CLOEXEC;
	do {
		/*
		 * Without openat2 only the last component is guarded; the ones
		 * before it are names that we made ourselves.
		 */
		if (atomic_load(&no_openat2))
			fd = openat(dir_fd, path, flags | O_NOFOLLOW, mode);
		else
			fd = open_beneath(dir_fd, path, flags, mode);
	} while (fd < 0 && errno == EINTR);
	return fd;
}

/* Is openat2 there? Sandboxes answer ENOSYS or, older ones, EPERM. */
static void probe_openat2(int root_fd)
{
	int fd = open_beneath(root_fd, ".", O_PATH | O_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	else if (errno == ENOSYS || errno == EPERM)
		atomic_store(&no_openat2, true);
}

int file_write(int fd, struct span bytes, uint64_t offset)
{
	while (bytes.len > 0) {
		ssize_t n = pwrite(fd, bytes.ptr, bytes.len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO;
		if (n <= 0)
			return -1;
		bytes.ptr += n;
		bytes.len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int file_sync(int fd)
{
	int rc;

	do
		rc = fsync(fd);
	while (rc < 0 && errno == EINTR);
	return rc;
}

/* ---- names --------------------------------------------------------------- */

void file_staging_path(const char *id, const char *name, char *buf)
{
	snprintf(buf, FILE_PATH_SIZE, "%s/%s", id, name);
}

static void shard_of(const char *id, char shard[FILE_SHARD_SIZE])
{
	snprintf(shard, FILE_SHARD_SIZE, "%.5s", id);
}

void file_object_path(const char *id, char *buf)
{
	snprintf(buf, FILE_PATH_SIZE, "%.5s/%s", id, id);
}

/* ---- removing ------------------------------------------------------------ */

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* A stream over a directory; NULL with errno. */
static DIR *open_dir(int dir_fd, const char *path)
{
	int fd = file_open(dir_fd, path, OPEN_DIR, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !dir)
		close(fd);
	return dir;
}

/* Unlink a directory's files. 0, or the first errno that is not ENOENT. */
static int unlink_files(DIR *dir)
{
	struct dirent *entry;
	int errnum = 0;

	while ((errno = 0, entry = readdir(dir))) {
		if (is_dots(entry->d_name))
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) < 0 &&
		    errno != ENOENT && errnum == 0)
			errnum = errno;
	}
	return errnum ? errnum : errno;
}

/* Without opendir(3), which needs memory. True: the directory is gone. */
static bool remove_object(int dir_fd, const char *name)
{
	int fd = file_open(dir_fd, name, OPEN_DIR, 0);

	if (fd < 0)
		return errno == ENOENT;
	unlinkat(fd, FILE_DATA, 0);
	unlinkat(fd, FILE_META, 0);
	close(fd);
	return unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

/* Remove the directory `name` and the files in it. 0 or errno. */
static int remove_dir(int dir_fd, const char *name)
{
	DIR *dir;
	int errnum;

	if (remove_object(dir_fd, name))
		return 0;
	dir = open_dir(dir_fd, name);
	if (!dir)
		return errno == ENOENT ? 0 : errno;
	errnum = unlink_files(dir);
	closedir(dir);
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errnum == 0 &&
	    errno != ENOENT)
		errnum = errno;
	return errnum;
}

int file_remove_staged(struct file_layout *layout, const char *name,
		       struct err *err)
{
	int errnum = remove_dir(layout->staging_fd, name);

	return errnum ? file_err(err, errnum, "cannot remove from staging") : 0;
}

static int remove_entry(int dir_fd, const char *name)
{
	if (unlinkat(dir_fd, name, 0) == 0)
		return 0;
	return errno == EISDIR ? remove_dir(dir_fd, name) : errno;
}

/* Empty staging/: what a process left that ended in the middle. */
static int clean_staging(struct file_layout *layout, struct err *err)
{
	DIR *dir = open_dir(layout->staging_fd, ".");
	struct dirent *entry;
	int errnum = 0;

	if (!dir)
		return file_err(err, errno, "cannot read staging");
	while (errnum == 0 && (errno = 0, entry = readdir(dir)))
		if (!is_dots(entry->d_name))
			errnum = remove_entry(layout->staging_fd,
					      entry->d_name);
	if (errnum == 0)
		errnum = errno;
	closedir(dir);
	return errnum ? file_err(err, errnum, "cannot empty staging") : 0;
}

/* ---- start --------------------------------------------------------------- */

static int open_root(struct file_layout *layout, const char *dir,
		     struct err *err)
{
	bool made = mkdir(dir, DIR_MODE) == 0;
	int parent;

	if (!made && errno != EEXIST)
		return err_set_errno(err, ERR_CONFIG, errno,
				     "cannot make READER_FILE_DIR=\"%.100s\"",
				     dir);
	layout->root_fd = open(dir, OPEN_DIR | O_CLOEXEC);
	if (layout->root_fd < 0)
		return err_set_errno(err, ERR_CONFIG, errno,
				     "cannot open READER_FILE_DIR=\"%.100s\"",
				     dir);
	if (!made)
		return 0;
	parent = openat(layout->root_fd, "..", OPEN_DIR | O_CLOEXEC);
	if (parent < 0 || file_sync(parent) < 0)
		file_err(err, errno, "cannot sync what READER_FILE_DIR is in");
	if (parent >= 0)
		close(parent);
	return err_is_set(err) ? -1 : 0;
}

/*
 * A directory without our lock file is new or somebody else's. An empty
 * staging/ is made anew in a moment; one with something in it is not ours to
 * empty.
 */
static int refuse_foreign(struct file_layout *layout, struct err *err)
{
	if (faccessat(layout->root_fd, "lock", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (unlinkat(layout->root_fd, "staging", AT_REMOVEDIR) == 0 ||
	    errno == ENOENT)
		return 0;
	return err_set_errno(err, ERR_CONFIG, errno,
			     "READER_FILE_DIR has a \"staging\" that is not "
			     "this program's");
}

static int take_lock(struct file_layout *layout, struct err *err)
{
	layout->lock_fd = file_open(layout->root_fd, "lock", O_RDWR | O_CREAT,
				    FILE_MODE);
	if (layout->lock_fd < 0)
		return err_set_errno(err, ERR_CONFIG, errno,
				     "READER_FILE_DIR is not writable");
	if (flock(layout->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_set(err, ERR_CONFIG,
			       "READER_FILE_DIR is in use by another process");
	return file_err(err, errno, "cannot lock READER_FILE_DIR");
}

static int make_dir(struct file_layout *layout, const char *name, int *fd,
		    struct err *err)
{
	if (mkdirat(layout->root_fd, name, DIR_MODE) < 0 && errno != EEXIST)
		return file_err(err, errno,
				"cannot make a directory in READER_FILE_DIR");
	*fd = file_open(layout->root_fd, name, OPEN_DIR, 0);
	if (*fd < 0)
		return file_err(err, errno,
				"cannot open a directory in READER_FILE_DIR");
	return 0;
}

static int open_all(struct file_layout *layout, const char *dir,
		    struct err *err)
{
	if (open_root(layout, dir, err) < 0)
		return -1;
	probe_openat2(layout->root_fd);
	if (refuse_foreign(layout, err) < 0 || take_lock(layout, err) < 0 ||
	    make_dir(layout, "staging", &layout->staging_fd, err) < 0 ||
	    make_dir(layout, "objects", &layout->objects_fd, err) < 0)
		return -1;
	if (file_sync(layout->root_fd) < 0)
		return file_err(err, errno, "cannot sync READER_FILE_DIR");
	if (clean_staging(layout, err) < 0)
		return -1;
	return file_layout_check(layout, err);
}

int file_layout_open(struct file_layout *layout, const char *dir,
		     struct err *err)
{
	*layout = (struct file_layout){
		.root_fd = -1,
		.lock_fd = -1,
		.staging_fd = -1,
		.objects_fd = -1,
	};
	pthread_mutex_init(&layout->lock, NULL);
	if (open_all(layout, dir, err) == 0)
		return 0;
	file_layout_close(layout);
	return -1;
}

void file_layout_close(struct file_layout *layout)
{
	int fds[] = { layout->objects_fd, layout->staging_fd, layout->lock_fd,
		      layout->root_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	pthread_mutex_destroy(&layout->lock);
}

static int check_space(struct file_layout *layout, struct err *err)
{
	struct statvfs fs;

	if (fstatvfs(layout->staging_fd, &fs) < 0)
		return file_err(err, errno, "cannot ask for free space");
	/* File systems that count no blocks say 0 of 0. */
	if (fs.f_blocks > 0 && fs.f_bavail == 0)
		return file_err(err, ENOSPC, "cannot store");
	return 0;
}

/*
 * The caller may run on several threads and in no order: each name is used
 * once, as those of removed objects are.
 */
int file_layout_check(struct file_layout *layout, struct err *err)
{
	char name[FILE_PATH_SIZE];
	int fd;

	snprintf(name, sizeof(name), "check-%u",
		 atomic_fetch_add(&layout->n_removed, 1));
	fd = file_open(layout->staging_fd, name, O_WRONLY | O_CREAT | O_EXCL,
		       FILE_MODE);
	if (fd < 0)
		return file_err(err, errno, "cannot make a file in staging");
	close(fd);
	if (unlinkat(layout->staging_fd, name, 0) < 0)
		return file_err(err, errno, "cannot remove from staging");
	return check_space(layout, err);
}

/* ---- publishing ---------------------------------------------------------- */

/* Is the shard's entry in objects/ on disk? Makes it so. 0 or errno. */
static int settle_shard(struct file_layout *layout, const char *shard)
{
	bool made = mkdirat(layout->objects_fd, shard, DIR_MODE) == 0;

	if (!made && errno != EEXIST)
		return errno;
	if (!made && strcmp(layout->durable_shard, shard) == 0)
		return 0;
	layout->durable_shard[0] = '\0';
	if (file_sync(layout->objects_fd) < 0)
		return errno;
	memcpy(layout->durable_shard, shard, FILE_SHARD_SIZE);
	return 0;
}

int file_open_shard(struct file_layout *layout, const char *id, struct err *err)
{
	char shard[FILE_SHARD_SIZE];
	int errnum, fd;

	shard_of(id, shard);
	/* Held while syncing: nobody relies on a shard that is not durable. */
	pthread_mutex_lock(&layout->lock);
	errnum = settle_shard(layout, shard);
	pthread_mutex_unlock(&layout->lock);
	if (errnum)
		return file_err(err, errnum, "cannot make a shard");
	fd = file_open(layout->objects_fd, shard, OPEN_DIR, 0);
	if (fd < 0)
		file_err(err, errno, "cannot open a shard");
	return fd;
}

static int rename_new(int from_fd, const char *from, int to_fd, const char *to)
{
	int rc = renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE);

	/*
	 * Some file systems know no flags. Without them rename(2) of a
	 * directory replaces an empty directory at most, and ours never are.
	 */
	if (rc < 0 && (errno == EINVAL || errno == ENOSYS))
		rc = renameat(from_fd, from, to_fd, to);
	return rc;
}

int file_publish(struct file_layout *layout, int shard_fd, const char *id,
		 struct err *err)
{
	if (rename_new(layout->staging_fd, id, shard_fd, id) == 0)
		return 0;
	if (errno == EEXIST || errno == ENOTEMPTY)
		return 1;
	return file_err(err, errno, "cannot rename into the objects");
}

/* 0 renamed, 1 there is none, -1 with `err`. */
static int take_away(struct file_layout *layout, int shard_fd, const char *id,
		     const char *name, struct err *err)
{
	if (rename_new(shard_fd, id, layout->staging_fd, name) < 0) {
		if (errno == ENOENT)
			return 1;
		return file_err(err, errno, "cannot rename an object away");
	}
	if (file_sync(shard_fd) < 0)
		file_err(err, errno, "cannot sync a shard");
	return 0;
}

int file_unpublish(struct file_layout *layout, const char *id, struct err *err)
{
	char shard[FILE_SHARD_SIZE], name[FILE_PATH_SIZE];
	int shard_fd, rc;

	shard_of(id, shard);
	shard_fd = file_open(layout->objects_fd, shard, OPEN_DIR, 0);
	if (shard_fd < 0)
		return errno == ENOENT ?
			       0 :
			       file_err(err, errno, "cannot open a shard");
	snprintf(name, sizeof(name), "%s.deleted-%u", id,
		 atomic_fetch_add(&layout->n_removed, 1));
	rc = take_away(layout, shard_fd, id, name, err);
	close(shard_fd);
	if (rc == 0)
		rc = file_remove_staged(layout, name, err);
	return rc < 0 || err_is_set(err) ? -1 : 0;
}
