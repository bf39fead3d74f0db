"""A disk whose writes are volatile until they are flushed, for QEMU over NBD.

What is flushed lies in the image; what was written since lies in a copy of it, and in a list. When the power goes, each
write of the list is dropped, kept or torn, in any mix that a seed gives: what a disk with a cache of its own may do.
"""

import os
import random
import socket
import struct
import threading
from pathlib import Path

from .packages import run
from .trouble import Trouble

# A disk writes so many bytes whole or not at all.
SECTOR = 512
# What may become of the writes that were not flushed.
FATES = ("dropped", "kept", "mixed", "torn")

# NBD, doc/proto.md: the fixed newstyle handshake and simple replies are all that QEMU needs.
OPTION_MAGIC = 0x49484156454F5054
REPLY_MAGIC = 0x3E889045565A9
REQUEST = struct.Struct(">IHHQQI")
REQUEST_MAGIC = 0x25609513
ANSWER = struct.Struct(">IIQ")
ANSWER_MAGIC = 0x67446698
EXPORT_NAME, ABORT, INFO, GO = 1, 2, 6, 7
ACKNOWLEDGED, INFORMED, UNSUPPORTED = 1, 3, 0x80000001
READ, WRITE, DISCONNECT, FLUSH, TRIM, ZERO = 0, 1, 2, 3, 4, 6
# Flush, trim and zeroes are known. 'Write through' is not, so that QEMU flushes where the box asks for it.
EXPORT_FLAGS = 1 | 1 << 2 | 1 << 5 | 1 << 6
INVALID = 22


class Volatile:
    """The disk. `image` holds what survives."""

    def __init__(self, image: Path, socket_path: Path):
        self.image = image
        self.socket = socket_path
        self.flushes = 0
        # For a test that what is lost is seen: says that it has flushed, and has not.
        self.lies = False
        self._now = image.with_name(image.name + ".now")
        self._pending = []
        # At so many writes that are not flushed the disk stops in the middle of its work.
        self._stops_at = None
        self._stopped = threading.Event()
        self._listener = None
        self._server = None
        self._file = -1

    def turn_on(self):
        """Serves what the image holds, to one QEMU."""
        run(["cp", "--sparse=always", str(self.image), str(self._now)])
        self._file = os.open(self._now, os.O_RDWR)
        self._pending.clear()
        self._stops_at = None
        self._stopped.clear()
        self.socket.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen(1)
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._server.start()

    def stop_within(self, writes: int, limit_s: float):
        """Returns when so many writes are not flushed, and the disk does nothing more; or after the limit."""
        self._stops_at = writes
        self._stopped.wait(limit_s)

    def turn_off(self, rng: random.Random, fate: str) -> tuple:
        """The power is gone, and QEMU with it. Returns how many writes were not flushed, and how many of them the image
        got, whole or torn."""
        self._listener.close()
        self._server.join(30)
        if self._server.is_alive():
            raise Trouble("QEMU still has the disk whose power is gone")
        os.close(self._file)
        self._now.unlink()
        pending, self._pending = self._pending, []
        kept = 0
        with open(self.image, "r+b") as image:
            for at, content in pending:
                pieces = left_of(at, content, rng, fate)
                kept += bool(pieces)
                for at, content in pieces:
                    put(image.fileno(), at, content)
            os.fsync(image.fileno())
        return len(pending), kept

    def _serve(self):
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection:
            try:
                if self._greet(connection):
                    while self._answer(connection):
                        if self._stops_at is not None and len(self._pending) >= self._stops_at:
                            self._stopped.set()
                            return
            except (OSError, EOFError):
                pass

    def _greet(self, connection) -> bool:
        """The handshake; False when there is to be nothing more."""
        size = os.fstat(self._file).st_size
        export = struct.pack(">QH", size, EXPORT_FLAGS)
        connection.sendall(b"NBDMAGIC" + struct.pack(">QH", OPTION_MAGIC, 1 | 2))
        exactly(connection, 4)
        while True:
            magic, option, length = struct.unpack(">QII", exactly(connection, 16))
            exactly(connection, length)
            if magic != OPTION_MAGIC or option == ABORT:
                return False
            if option == EXPORT_NAME:
                connection.sendall(export)
                return True
            if option not in (INFO, GO):
                connection.sendall(struct.pack(">QIII", REPLY_MAGIC, option, UNSUPPORTED, 0))
                continue
            told = struct.pack(">H", 0) + export
            connection.sendall(struct.pack(">QIII", REPLY_MAGIC, option, INFORMED, len(told)) + told)
            connection.sendall(struct.pack(">QIII", REPLY_MAGIC, option, ACKNOWLEDGED, 0))
            if option == GO:
                return True

    def _answer(self, connection) -> bool:
        magic, _, kind, handle, at, length = REQUEST.unpack(exactly(connection, REQUEST.size))
        if magic != REQUEST_MAGIC or kind == DISCONNECT:
            return False
        error, content = 0, b""
        if kind == READ:
            content = os.pread(self._file, length, at)
        elif kind == WRITE:
            self.write(at, exactly(connection, length))
        elif kind in (TRIM, ZERO):
            self.write(at, length)
        elif kind == FLUSH:
            self.flush()
        else:
            error = INVALID
        connection.sendall(ANSWER.pack(ANSWER_MAGIC, error, handle) + content)
        return True

    def write(self, at: int, content):
        """Bytes, or so many zeros."""
        put(self._file, at, content)
        self._pending.append((at, content))

    def flush(self):
        """What was written is in the image."""
        self.flushes += 1
        if self.lies:
            return
        with open(self.image, "r+b") as image:
            for at, content in self._pending:
                put(image.fileno(), at, content)
        self._pending.clear()


def left_of(at: int, content, rng: random.Random, fate: str) -> list:
    """What a write that was not flushed leaves on the disk: (where, bytes or so many zeros)."""
    if fate == "kept" or (fate == "mixed" and rng.random() < 0.5):
        return [(at, content)]
    if fate != "torn" or rng.random() < 0.3:
        return []
    if isinstance(content, int):
        return [(at, content)] if rng.random() < 0.5 else []
    sectors = range(0, len(content), SECTOR)
    # Its beginning, its end, or any of its sectors.
    way, cut = rng.randrange(3), rng.randrange(len(sectors) + 1) * SECTOR
    if way < 2:
        part = (at, content[:cut]) if way == 0 else (at + cut, content[cut:])
        return [part] if part[1] else []
    return [(at + sector, content[sector : sector + SECTOR]) for sector in sectors if rng.random() < 0.5]


def put(file: int, at: int, content):
    """Writes bytes, or so many zeros, all of them."""
    if isinstance(content, int):
        while content > 0:
            piece = min(content, 1 << 20)
            os.pwrite(file, bytes(piece), at)
            at, content = at + piece, content - piece
        return
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, at)
        at, view = at + written, view[written:]


def exactly(connection, length: int) -> bytes:
    """So many bytes; the end of the stream is an error."""
    content = bytearray()
    while len(content) < length:
        piece = connection.recv(length - len(content))
        if not piece:
            raise EOFError
        content += piece
    return bytes(content)
