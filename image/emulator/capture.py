"""What went over the LAN from box to box: captured by tcpdump, read as TCP streams and TLS records."""

import os
import struct
import subprocess
import time
from pathlib import Path

from .lan import BRIDGE, HOST_MAC
from .trouble import Trouble

# Bytes in a row of a file that must not be seen. So many random bytes do not match by chance.
WINDOW = 16
TLS_HANDSHAKE, TLS_DATA = 22, 23
TLS_TYPES = range(20, 24)
ETHERNET, VLAN_NONE, IPV4, IPV6, TCP = 14, 12, 0x0800, 0x86DD, 6


class Capture:
    """Every frame on the LAN, from the start on, that is neither from nor to this machine."""

    def __init__(self, path: Path):
        self.path = path
        command = ["tcpdump", "-i", BRIDGE, "-U", "-n", "-s", "0", "-B", "32768", "-w", str(path)]
        # As root it would become another user, who may not write there.
        stay = ["-Z", "root"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            command + stay + ["not", "ether", "host", HOST_MAC],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        told = self.process.stderr.readline()
        if b"listening" not in told:
            raise Trouble(f"tcpdump does not listen: {told.decode(errors='replace')}")

    def frames(self) -> list:
        """Everything up to now."""
        # tcpdump takes what is in the kernel's buffer once a second.
        time.sleep(1.5)
        return read_frames(self.path.read_bytes())

    def end(self):
        """Ends it; a capture with holes proves nothing."""
        self.process.terminate()
        told = self.process.stderr.read().decode()
        self.process.wait()
        dropped = [line for line in told.splitlines() if "dropped by kernel" in line]
        if not dropped or not dropped[0].startswith("0 "):
            raise Trouble(f"the capture is not whole: {told.strip()}")


def read_frames(pcap: bytes) -> list:
    """The Ethernet frames of a capture file in this machine's byte order; a cut last one is left out."""
    if len(pcap) < 24 or struct.unpack_from("<I", pcap)[0] != 0xA1B2C3D4:
        raise Trouble("the capture is no pcap file with microseconds")
    frames, at = [], 24
    while at + 16 <= len(pcap):
        size = struct.unpack_from("<I", pcap, at + 8)[0]
        frame = pcap[at + 16 : at + 16 + size]
        if len(frame) < size:
            break
        frames.append(frame)
        at += 16 + size
    return frames


def shows(frames, content: bytes) -> bool:
    """True when a frame holds WINDOW bytes of the content in a row, from a multiple of WINDOW."""
    pieces = {content[at : at + WINDOW] for at in range(0, len(content) - WINDOW + 1, WINDOW)}
    return any(
        frame[at : at + WINDOW] in pieces for frame in frames for at in range(ETHERNET, len(frame) - WINDOW + 1)
    )


def tls_bytes(frames) -> int:
    """Bytes of TLS application data in the streams that begin with a TLS handshake."""
    return sum(data_bytes(stream) for stream in tcp_streams(frames))


def data_bytes(stream: bytes) -> int:
    total, at = 0, 0
    if not stream or stream[0] != TLS_HANDSHAKE:
        return 0
    while at + 5 <= len(stream):
        kind, major, _, size = struct.unpack_from(">BBBH", stream, at)
        if kind not in TLS_TYPES or major != 3:
            break
        if kind == TLS_DATA and at + 5 + size <= len(stream):
            total += size
        at += 5 + size
    return total


def tcp_streams(frames) -> list:
    """Each direction of each TCP connection whose beginning was seen: its bytes in order, up to the first hole."""
    flows = {}
    for frame in frames:
        segment = tcp_segment(frame)
        if segment is None:
            continue
        key, sequence, is_first, payload = segment
        if is_first:
            # A port may be used again: the flow before it is closed.
            flows.setdefault(key, []).append((sequence, {}))
        elif payload and key in flows:
            first, parts = flows[key][-1]
            parts.setdefault((sequence - first - 1) % 2**32, payload)
    return [joined(parts) for flow in flows.values() for _, parts in flow]


def joined(parts: dict) -> bytes:
    """Segments by their offset, without what was sent twice."""
    stream = bytearray()
    for offset in sorted(parts):
        if offset > len(stream):
            break
        stream += parts[offset][len(stream) - offset :]
    return bytes(stream)


def tcp_segment(frame):
    """(flow, sequence, whether it opens the flow, payload) of a TCP frame, else None."""
    if len(frame) < ETHERNET + 20:
        return None
    (ethertype,) = struct.unpack_from(">H", frame, VLAN_NONE)
    if ethertype == IPV4 and frame[23] == TCP:
        header, size = ETHERNET + (frame[14] & 15) * 4, struct.unpack_from(">H", frame, 16)[0]
        addresses, end = frame[26:34], ETHERNET + size
    elif ethertype == IPV6 and frame[20] == TCP:
        header, size = ETHERNET + 40, struct.unpack_from(">H", frame, 18)[0]
        addresses, end = frame[22:54], header + size
    else:
        return None
    if len(frame) < header + 20:
        return None
    sequence = struct.unpack_from(">I", frame, header + 4)[0]
    payload = frame[header + (frame[header + 12] >> 4) * 4 : end]
    return addresses + frame[header : header + 4], sequence, bool(frame[header + 13] & 2), payload
