"""Cuts the power of a box at work, again and again, on a disk that loses what it had not flushed, or some of it.

Each piece of work is an fsync that the box tells of when it is done; the host knows every byte. After each cut the box is
started on what its disk kept, every acknowledged byte is read back, and both boxes have to show the same. At the end the
disk lies about its flushes, which must be seen: a check that cannot fail shows nothing.
"""

import os
import random
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from .boards import HOST_ADDRESS
from .page import wait_until
from .story import MOUNT, sha256
from .trouble import Trouble
from .volatile import FATES, Volatile

CIRCLE = "Friends"
DIRECTORY = f"{MOUNT}/{CIRCLE}"
# Hands at work on the box that is cut, and on the other one.
HANDS = (3, 1)
FILES = 6
SIZE_MAX = 200_000
# Bytes of the largest file that grows.
GROWN_MAX = 400_000
# How long a box may work before its power goes, and after how many more writes that its disk has not flushed.
WORK_S = (1.0, 12.0)
UNFLUSHED_MAX = 12
# For a box that comes up, and for both to show the same.
UP_S = 170
EQUAL_S = 170


def play(boxes, count: int, seed) -> int:
    """The exit code."""
    seed = int(os.environ.get("DUSTFS_SEED", time.time_ns() % 1_000_000)) if seed is None else seed
    print(f"seed {seed}: {count} power cuts")
    cutting = Cutting(boxes, random.Random(seed))
    try:
        cutting.found()
        for number in range(1, count + 1):
            cutting.cut(number)
        cutting.look_at_every_piece()
        cutting.lie()
    except (Trouble, OSError) as error:
        print(f"FAILED with seed {seed}: {error or type(error).__name__}")
        cutting.explain()
        return 1
    print(cutting.sum(count))
    return 0


@dataclass
class Hand:
    """Somebody at work on a box: gives one command at a time, and knows what the box has acknowledged."""

    name: str
    rng: random.Random
    # What files hold, by the last command that was acknowledged.
    files: dict = field(default_factory=dict)
    # The file of the command under way: what it may hold when it is cut short.
    open: tuple = None
    acknowledged: int = 0
    wrong: str = None
    number: int = 0

    def next(self) -> tuple:
        """A command, the file it changes, what that has before and after, and which bytes may be mixed when it is cut."""
        self.number += 1
        name = f"{self.name}{self.rng.randrange(FILES)}"
        before = self.files.get(name)
        path, line = f"{DIRECTORY}/{name}", f"{self.name} {self.number}"
        content = words(line, self.rng.randrange(1, SIZE_MAX))
        write = f"yes '{line}' | head -c {len(content)}"
        way = self.rng.randrange(10)
        if before is None or (way < 2 and len(before) + len(content) > GROWN_MAX):
            command = f"{write} | dd of={path} bs=64k conv=fsync 2>/dev/null"
            return command, name, before, content, any_part
        if way < 4:
            command = f"{write} >>{path} && dd of={path} bs=1 count=0 conv=notrunc,fsync 2>/dev/null"
            return command, name, before, before + content, any_part
        if way < 6:
            at = self.rng.randrange(len(before) // 512 + 1)
            command = f"{write} | dd of={path} bs=512 seek={at} conv=notrunc,fsync 2>/dev/null"
            changed = before[: at * 512].ljust(at * 512, b"\0") + content
            return command, name, before, changed + before[len(changed) :], any_part
        if way < 9:
            command = f"{write} | dd of={path}.new bs=64k conv=fsync 2>/dev/null && mv {path}.new {path} && sync {DIRECTORY}"
            return command, name, before, content, either
        return f"rm {path} && sync {DIRECTORY}", name, before, None, either

    def work(self, shell, stop: threading.Event):
        """Until the box is gone, or it is told to stop."""
        with shell:
            answers = shell.makefile("rb")
            while not stop.is_set():
                command, name, before, after, may_be = self.next()
                self.open = (name, before, after, may_be)
                try:
                    shell.sendall(f"{command} && echo yes || echo no\n".encode())
                    answer = answers.readline()
                except OSError:
                    return
                if answer == b"no\n":
                    self.wrong = f"`{command}` failed"
                    return
                if answer != b"yes\n":
                    return
                self.open = None
                self.acknowledged += 1
                self.files.pop(name, None)
                if after is not None:
                    self.files[name] = after


def words(line: str, size: int) -> bytes:
    """What `yes` says."""
    piece = line.encode() + b"\n"
    return (piece * (size // len(piece) + 1))[:size]


def either(found, before, after) -> bool:
    """The file is as before or as after."""
    return found in (before, after)


def any_part(found, before, after) -> bool:
    """Of a file that is written in place, any part is as it was, as it was to become, or not written yet."""
    if found is None or found == after:
        return found == before or found == after
    if len(found) > max(len(before or b""), len(after)):
        return False
    old, new = (before or b"").ljust(len(found), b"\0"), after.ljust(len(found), b"\0")
    return all(byte in (was, will, 0) for byte, was, will in zip(found, old, new))


class Cutting:
    def __init__(self, boxes, rng):
        self.attic, self.shed = boxes
        self.boxes = boxes
        self.rng = rng
        self.hands = [
            [Hand(f"{box.name[0]}{number}", random.Random(rng.random())) for number in range(many)]
            for box, many in zip(boxes, HANDS)
        ]
        self.disk = Volatile(self.attic.disks.data, self.attic.directory / "data.socket")
        self.attic.disks.volatile = self.disk
        self.unflushed = 0
        self.kept = 0
        self.up_s = []

    def found(self):
        """Two boxes in one circle."""
        for box in self.boxes:
            box.start()
        for box in self.boxes:
            await_node(box)
        # The address of the network's card alone is told to friends.
        invite = self.attic.run("dustfs invite").split()
        invite = next(word for word in invite if word.startswith("dustfs1-"))
        self.shed.run(f"dustfs join {invite}")
        for box in self.boxes:
            await_mount(box)

    def at_work(self, box, hands, stop) -> list:
        """Each hand with a shell on the box."""
        threads = []
        for hand in hands:
            thread = threading.Thread(target=hand.work, args=(shell_on(box), stop), daemon=True)
            thread.start()
            threads.append(thread)
        return threads

    def cut(self, number):
        """Work, a cut, a start, and a look at everything."""
        stop = threading.Event()
        begun = [sum(hand.acknowledged for hand in hands) for hands in self.hands]
        flushes = self.disk.flushes
        threads = [self.at_work(box, hands, stop) for box, hands in zip(self.boxes, self.hands)]
        for _ in range(3):
            time.sleep(self.rng.uniform(*WORK_S) / 3)
            # BusyBox counts the seconds in 32 bits.
            self.attic.run(f"date -s @{self.rng.randrange(1 << 31)} >/dev/null")
        fate = self.rng.choice(FATES)
        self.disk.stop_within(self.rng.randrange(1, UNFLUSHED_MAX), 5)
        self.attic.cut()
        unflushed, kept = self.disk.turn_off(self.rng, fate)
        for thread in threads[0]:
            thread.join(30)
        acknowledged = [sum(hand.acknowledged for hand in hands) - before for hands, before in zip(self.hands, begun)]
        self.attic.date = f"{self.rng.randrange(1970, 2040)}-{self.rng.randrange(1, 13):02}-02"
        started = time.monotonic()
        self.attic.start()
        await_mount(self.attic)
        self.up_s.append(time.monotonic() - started)
        read = self.read_back(self.attic, self.hands[0])
        stop.set()
        for thread in threads[1]:
            thread.join(60)
        self.read_back(self.shed, self.hands[1])
        files = self.equal()
        self.unflushed += unflushed
        self.kept += kept
        print(
            f"cut {number:2}: {acknowledged[0]} and {acknowledged[1]} fsyncs acknowledged,"
            f" {self.disk.flushes - flushes} flushes, {unflushed} writes not flushed, {kept} of them left ({fate});"
            f" back in {self.attic.date[:4]} after {self.up_s[-1]:.1f} s, {read / 1e6:.1f} MB read back, {files} files equal on both"
        )

    def read_back(self, box, hands) -> int:
        """Everything that the box has acknowledged; returns how many bytes."""
        # What the other box's hands are just changing is none of this.
        sums = listing(box, f"{box.name[0]}*")
        read = 0
        for hand in hands:
            if hand.wrong:
                raise Trouble(f"{box.name}: {hand.wrong}")
            if hand.open:
                name, before, after, may_be = hand.open
                content = fetch(box, name) if name in sums else None
                if not may_be(content, before, after):
                    told = [len(one) if one is not None else "none" for one in (content, before, after)]
                    raise Trouble(f"{box.name}: {name}, which was under way, has other bytes ({told[0]}) than before"
                                  f" ({told[1]}) and after ({told[2]})")
                hand.files.pop(name, None)
                if content is not None:
                    hand.files[name] = content
                hand.open = None
            for name, content in hand.files.items():
                if sums.get(name) != sha256(content):
                    what = "is gone" if name not in sums else "has other bytes"
                    raise Trouble(f"{box.name} had acknowledged {name} ({len(content)} bytes), which {what}")
                read += len(content)
            spare = [name for name in sums if name.startswith(hand.name) and name not in hand.files]
            if any(not name.endswith(".new") for name in spare):
                raise Trouble(f"{box.name} shows what nobody wrote, or what was deleted: {spare}")
        return read

    def equal(self) -> int:
        """Waits until both show the same files; returns how many."""
        shown = []

        def same():
            shown[:] = [listing(box) for box in self.boxes]
            return shown[0] == shown[1]

        def differ():
            one, other = (set(sums.items()) for sums in shown)
            return f"the boxes differ: {sorted(name for name, _ in one ^ other)}"

        wait_until(same, EQUAL_S, differ, 1)
        return len(shown[0])

    def look_at_every_piece(self):
        """Reads and hashes all that the ledger names."""
        for box in self.boxes:
            box.run("dustfs check --full", 300)

    def lie(self):
        """The same, with a disk that tells the box of flushes that were none."""
        self.disk.lies = True
        stop = threading.Event()
        threads = self.at_work(self.attic, self.hands[0], stop)
        time.sleep(WORK_S[1])
        self.attic.cut()
        self.disk.turn_off(self.rng, "dropped")
        for thread in threads:
            thread.join(30)
        self.disk.lies = False
        try:
            self.attic.start()
            await_mount(self.attic)
            self.read_back(self.attic, self.hands[0])
        except Trouble as trouble:
            print(f"and where the disk lies it is seen: {trouble}")
            return
        raise Trouble("the disk lost what it said it had flushed, and nobody saw it")

    def sum(self, count) -> str:
        acknowledged = sum(hand.acknowledged for hands in self.hands for hand in hands)
        return (
            f"{count} power cuts: {acknowledged} fsyncs acknowledged, {self.unflushed} writes not flushed,"
            f" {self.unflushed - self.kept} of them lost; no acknowledged byte lost, both boxes equal after each;"
            f" back after {sum(self.up_s) / len(self.up_s):.1f} s, at most {max(self.up_s):.1f} s"
        )

    def explain(self):
        for box in self.boxes:
            try:
                print(f"--- {box.name}")
                friends = "; ".join(f"ping -c 1 -W 2 {other.board.address}" for other in self.boxes if other is not box)
                print(box.run(f"logread | tail -n 30; dustfs status; ls -la {DIRECTORY}; netstat -tn; {friends}; true", 40))
            except (Trouble, OSError, AttributeError) as error:
                print(f"no word from it: {error}")


def await_node(box):
    """Waits until the box's node answers on its data disk."""
    wait_until(lambda: box.run("dustfs status >/dev/null 2>&1; echo $?", UP_S).strip() == "0", UP_S,
               f"the node of {box.name} does not answer", 0.3)


def await_mount(box):
    await_node(box)
    wait_until(lambda: box.run(f"ls -d {DIRECTORY} 2>/dev/null; true").strip(), UP_S,
               f"{box.name} does not show {CIRCLE}", 0.3)


def listing(box, names="*") -> dict:
    """The sums of the files that the box shows, by name."""
    said = box.run(f"cd {DIRECTORY} && for file in {names}; do [ ! -f $file ] || sha256sum $file 2>&1; done; cd /", 170)
    sums = {}
    for line in said.splitlines():
        if len(line.split()[0]) != 64:
            raise Trouble(f"{box.name} cannot read a file: {line}")
        digest, name = line.split()
        sums[name] = digest
    return sums


def listener() -> socket.socket:
    listening = socket.socket()
    listening.settimeout(60)
    listening.bind((HOST_ADDRESS, 0))
    listening.listen(1)
    return listening


def shell_on(box) -> socket.socket:
    """A shell on the box, besides its console."""
    with listener() as listening:
        box.run(f"(nc {HOST_ADDRESS} {listening.getsockname()[1]} -e sh >/dev/null 2>&1 &)")
        shell, _ = listening.accept()
    shell.settimeout(None)
    shell.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # A box whose power is gone says nothing.
    shell.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    shell.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    shell.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5)
    shell.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 7000)
    return shell


def fetch(box, name) -> bytes:
    with listener() as listening:
        box.run(f"(nc {HOST_ADDRESS} {listening.getsockname()[1]} <{DIRECTORY}/{name} >/dev/null 2>&1 &)")
        connection, _ = listening.accept()
    content = bytearray()
    with connection:
        while piece := connection.recv(65536):
            content += piece
    return bytes(content)
