"""Packs a boot file system as the kernel unpacks it: a 'newc' cpio archive, made without root."""

import gzip

DIRECTORY, FILE, DEVICE, LINK = 0o040755, 0o100644, 0o020600, 0o120777


class Cpio:
    """An archive that grows; parents must be added before what is in them."""

    def __init__(self):
        self._bytes = bytearray()
        self._inode = 0

    def directory(self, path):
        self._add(path, DIRECTORY, b"")

    def file(self, path, content: bytes, executable=False):
        self._add(path, FILE | (0o111 if executable else 0), content)

    def link(self, path, target):
        self._add(path, LINK, target.encode())

    def character_device(self, path, major, minor):
        self._add(path, DEVICE, b"", major, minor)

    def packed(self) -> bytes:
        whole = self._bytes + self._entry("TRAILER!!!", 0, b"", 0, 0)
        return gzip.compress(bytes(whole), compresslevel=6, mtime=0)

    def _add(self, path, mode, content, major=0, minor=0):
        self._inode += 1
        self._bytes += self._entry(path, mode, content, major, minor)

    def _entry(self, path, mode, content, major, minor) -> bytes:
        name = path.encode() + b"\0"
        # Inode, mode, owner, group, links, time, size, device (2), the node's device (2), name's size, checksum.
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + name
        return padded(header) + padded(content)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
