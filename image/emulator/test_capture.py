"""The capture's reader counts TLS bytes, orders segments, and finds plaintext wherever it lies."""

import random
import struct
import unittest

from .capture import read_frames, shows, tcp_streams, tls_bytes
from .trouble import Trouble


def frame(payload, sequence, flags=0x10, ports=(1000, 2000)):
    tcp = struct.pack(">HHIIBBHHH", *ports, sequence % 2**32, 0, 5 << 4, flags, 0, 0, 0)
    size = 20 + len(tcp) + len(payload)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, 6, 0, bytes([10, 47, 0, 11]), bytes([10, 47, 0, 12]))
    return bytes(12) + b"\x08\0" + ip + tcp + payload


def pcap(frames):
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return header + b"".join(struct.pack("<IIII", 0, 0, len(f), len(f)) + f for f in frames)


def record(kind, content):
    return struct.pack(">BBBH", kind, 3, 3, len(content)) + content


class CaptureTest(unittest.TestCase):
    def setUp(self):
        draw = random.Random(7)
        self.photo = draw.randbytes(5000)
        self.sealed = draw.randbytes(5000)
        self.first = 2**32 - 700

    def segments(self, stream, size=600):
        yield frame(b"", self.first, flags=2)
        for at in range(0, len(stream), size):
            yield frame(stream[at : at + size], self.first + 1 + at)

    def test_tls_bytes_are_counted_in_any_order_and_once(self):
        stream = record(22, b"hello") + record(20, b"\1")
        stream += record(23, self.sealed[:3000]) + record(23, self.sealed[3000:])
        syn, *rest = self.segments(stream)
        random.Random(1).shuffle(rest)
        frames = read_frames(pcap([syn, *rest, *rest[:4]]))
        self.assertEqual(tcp_streams(frames), [stream])
        self.assertEqual(tls_bytes(frames), 5000)
        self.assertFalse(shows(frames, self.photo))

    def test_what_is_not_tls_does_not_count(self):
        frames = list(self.segments(self.photo))
        self.assertEqual(tls_bytes(frames), 0)
        self.assertTrue(shows(frames, self.photo))

    def test_a_hole_ends_the_count(self):
        stream = record(22, b"hello") + record(23, self.sealed[:2000]) + record(23, self.sealed[2000:])
        frames = list(self.segments(stream))
        self.assertEqual(tls_bytes(frames[:5] + frames[6:]), 2000)

    def test_a_few_bytes_of_plaintext_are_found(self):
        hidden = self.sealed[:333] + self.photo[1601:1632] + self.sealed[333:400]
        self.assertTrue(shows([frame(hidden, 1)], self.photo))
        hidden = self.sealed[:333] + self.photo[1601:1615] + self.sealed[333:400]
        self.assertFalse(shows([frame(hidden, 1)], self.photo))

    def test_broken_captures(self):
        whole = pcap([frame(b"x" * 100, 1)] * 2)
        self.assertEqual(len(read_frames(whole[:-1])), 1)
        for bad in (b"", whole[:20], b"x" * 40):
            with self.assertRaises(Trouble):
                read_frames(bad)
        self.assertEqual(tcp_streams([b"", b"x" * 30, frame(b"", 1)[:40]]), [])


if __name__ == "__main__":
    unittest.main()
