"""The two boxes at a terminal: their LEDs drawn as they glow, their buttons under two keys."""

import os
import select
import sys
import termios
import time
import tty

from .doorway import Doorway

# A terminal repeats a held key, and tells no release. The first repeat comes late, the others fast.
FIRST_REPEAT_S = 0.75
REPEAT_S = 0.15
FRAME_S = 0.05
GLOW = {True: "\x1b[92m●\x1b[0m", False: "\x1b[90m○\x1b[0m"}


class Finger:
    """One key of the terminal on one box's button: down with the key's first byte, up when no more come."""

    def __init__(self, panel):
        self._panel = panel
        self._lifts_at = None
        self.since = None

    def byte(self, now):
        if self.since is None:
            self.since = now
            self._panel().down()
            self._lifts_at = now + FIRST_REPEAT_S
        else:
            self._lifts_at = max(self._lifts_at, now + REPEAT_S)

    def tick(self, now):
        if self.since is not None and now >= self._lifts_at:
            self.lift()

    def lift(self):
        if self.since is not None:
            self.since = None
            self._panel().up()


def run(boxes, inner, ports) -> int:
    """Turns the boxes on, opens the way to their pages, and plays until the end."""
    doorway = Doorway(inner, [box.board.address for box in boxes])
    for box, port in zip(boxes, ports):
        box.start()
        print(f"{box.name}: {box.board.name}, page at http://127.0.0.1:{port}/ when it has started")
    print("Hold 1 or 2 to hold a box's button: a tap is a press, 2 to 4 seconds confirm a pairing code.")
    play(boxes)
    doorway.close()
    gone = [box.name for box in boxes if not box.is_on()]
    if gone:
        print(f"turned off: {', '.join(gone)}")
    return 0


def play(boxes):
    """Draws and listens until `q`."""
    if not sys.stdin.isatty():
        print("no terminal: the boxes run until this is ended", flush=True)
        while all(box.is_on() for box in boxes):
            time.sleep(1)
        return
    keys = {str(number): Finger(lambda box=box: box.panel) for number, box in enumerate(boxes, 1)}
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        while all(box.is_on() for box in boxes):
            typed = os.read(sys.stdin.fileno(), 64).decode(errors="replace") if is_typed() else ""
            now = time.monotonic()
            if "q" in typed:
                break
            for key in typed:
                if key in keys:
                    keys[key].byte(now)
            for finger in keys.values():
                finger.tick(now)
            draw(boxes, keys, now)
    finally:
        for finger in keys.values():
            finger.lift()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        print()


def is_typed() -> bool:
    return bool(select.select([sys.stdin], [], [], FRAME_S)[0])


def draw(boxes, keys, now):
    words = []
    for (key, finger), box in zip(keys.items(), boxes):
        held = f" held {now - finger.since:3.1f} s" if finger.since is not None else ""
        words.append(f"[{key}] {GLOW[box.eye.lit()]} {box.name}: {box.eye.state()}{held}")
    sys.stdout.write("\r\x1b[K" + "   ".join(words) + "   [q] ends")
    sys.stdout.flush()
