"""Passes a folder through as a file system of its own (FUSE), so that stopping this process hangs it.

volume.py FOLDER MOUNTPOINT; it unmounts and ends on SIGTERM, and with the process that started it.
"""

import ctypes
import os
import signal
import sys

import fusepy

PR_SET_PDEATHSIG = 1


class Volume(fusepy.Operations):
    """Every operation, done in the folder below; handles are its file descriptors."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, operation, path, *rest):
        return super().__call__(operation, self.folder + path, *rest)

    def getattr(self, path, fh=None):
        found = os.lstat(path)
        names = ("mode", "nlink", "size", "uid", "gid", "atime", "mtime", "ctime", "blocks")
        return {f"st_{name}": getattr(found, f"st_{name}") for name in names}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(path)]

    def statfs(self, path):
        found = os.statvfs(path)
        names = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "namemax")
        return {f"f_{name}": getattr(found, f"f_{name}") for name in names}

    def create(self, path, mode, fi=None):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path, flags):
        # Where a write goes is in its offset already.
        return os.open(path, flags & ~os.O_APPEND)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(path if fh is None else fh, length)

    def fsync(self, path, datasync, fh):
        os.fsync(fh)

    def release(self, path, fh):
        os.close(fh)

    def mkdir(self, path, mode):
        os.mkdir(path, mode)

    def rmdir(self, path):
        os.rmdir(path)

    def unlink(self, path):
        os.unlink(path)

    def rename(self, old, new):
        os.rename(old, self.folder + new)

    def link(self, target, source):
        os.link(self.folder + source, target)

    def chmod(self, path, mode):
        os.chmod(path, mode)

    def chown(self, path, uid, gid):
        os.chown(path, uid, gid)

    def utimens(self, path, times=None):
        os.utime(path, times)


ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
folder, mountpoint = sys.argv[1:]
fusepy.FUSE(Volume(folder), mountpoint, foreground=True, big_writes=True, default_permissions=True)
