"""What was flushed stays; what was not is dropped, kept, mixed or torn, by the seed; and NBD is spoken as QEMU does."""

import random
import socket
import struct
import tempfile
import unittest
from pathlib import Path

from . import volatile
from .volatile import FATES, SECTOR, Volatile, exactly, left_of

SIZE = 1 << 20


class VolatileTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="dustfs-volatile-")
        base = Path(self.directory.name)
        self.image = base / "image"
        self.image.write_bytes(bytes(SIZE))
        self.disk = Volatile(self.image, base / "socket")
        self.disk.turn_on()
        self.addCleanup(self.directory.cleanup)

    def cut(self, fate, seed=1):
        self.connection.close()
        return self.disk.turn_off(random.Random(seed), fate)

    def connect(self):
        """What QEMU does until the first request."""
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(str(self.disk.socket))
        self.assertEqual(exactly(self.connection, 18), b"NBDMAGICIHAVEOPT\0\3")
        self.connection.sendall(struct.pack(">I", 3))
        # An option that is not known comes first.
        for option in (8, volatile.GO):
            self.connection.sendall(struct.pack(">QIIIH", volatile.OPTION_MAGIC, option, 6, 0, 0))
            magic, of, kind, length = struct.unpack(">QIII", exactly(self.connection, 20))
            self.assertEqual((magic, of), (volatile.REPLY_MAGIC, option))
            if kind == volatile.INFORMED:
                told = struct.unpack(">HQH", exactly(self.connection, length))
                self.assertEqual(told, (0, SIZE, volatile.EXPORT_FLAGS))
                exactly(self.connection, 20)

    def ask(self, kind, at=0, length=0, content=b"", error=0):
        request = volatile.REQUEST.pack(volatile.REQUEST_MAGIC, 0, kind, 7, at, length)
        self.connection.sendall(request + content)
        answer = volatile.ANSWER.unpack(exactly(self.connection, 16))
        self.assertEqual(answer, (volatile.ANSWER_MAGIC, error, 7))
        return exactly(self.connection, length) if kind == volatile.READ else b""

    def write(self, at, content):
        self.ask(volatile.WRITE, at, len(content), content)

    def test_what_was_not_flushed_is_gone_and_is_read_until_then(self):
        self.connect()
        self.write(4096, b"a" * 1024)
        self.ask(volatile.FLUSH)
        self.write(4096, b"b" * 512)
        self.ask(volatile.ZERO, 4608, 512)
        self.assertEqual(self.ask(volatile.READ, 4096, 1024), b"b" * 512 + bytes(512))
        self.ask(99, error=volatile.INVALID)
        self.assertEqual(self.cut("dropped"), (2, 0))
        self.assertEqual(self.image.read_bytes()[4096:5120], b"a" * 1024)

    def test_what_was_not_flushed_may_stay(self):
        self.connect()
        self.write(0, b"a" * 512)
        self.ask(volatile.TRIM, 0, 512)
        self.write(512, b"c" * 512)
        self.assertEqual(self.cut("kept"), (3, 3))
        self.assertEqual(self.image.read_bytes()[:1024], bytes(512) + b"c" * 512)

    def test_a_disk_that_lies_has_nothing(self):
        self.connect()
        self.disk.lies = True
        self.write(0, b"a" * 512)
        self.ask(volatile.FLUSH)
        self.assertEqual(self.cut("dropped"), (1, 0))
        self.assertEqual(self.image.read_bytes(), bytes(SIZE))

    def test_a_seed_gives_the_same_disk_again(self):
        images = []
        for seed in (5, 5, 6):
            self.image.write_bytes(bytes(SIZE))
            if images:
                self.disk.turn_on()
            self.connect()
            for number in range(1, 40):
                self.write(number * 8192, bytes([number]) * 4096)
            unflushed, kept = self.cut("torn", seed)
            self.assertEqual(unflushed, 39)
            self.assertTrue(0 < kept < 39)
            images.append(self.image.read_bytes())
        self.assertEqual(images[0], images[1])
        self.assertNotEqual(images[0], images[2])

    def test_a_torn_write_leaves_whole_sectors(self):
        self.connect()
        self.cut("dropped")
        rng, torn = random.Random(3), 0
        content = b"".join(bytes([number]) * SECTOR for number in range(1, 9))
        for fate in FATES:
            for _ in range(200):
                pieces = left_of(1024, content, rng, fate)
                for at, piece in pieces:
                    self.assertEqual(len(piece) % SECTOR, 0)
                    self.assertEqual(content[at - 1024 : at - 1024 + len(piece)], piece)
                torn += 0 < sum(len(piece) for _, piece in pieces) < len(content)
        self.assertGreater(torn, 50)


if __name__ == "__main__":
    unittest.main()
