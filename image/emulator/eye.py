"""Looks at a box's LED from outside: edges with their times in, the rhythm's name and blinked codes out.

What a rhythm means is read from the one table in `src/panel/state.rs`, and all times from `src/panel/light.rs` and
`src/panel/blink.rs`, so that eye and panel cannot drift apart.
"""

import re
import threading
import time
from pathlib import Path

from .trouble import Trouble

PANEL = Path(__file__).parents[2] / "src/panel"


def constants(file) -> dict:
    """A source file's numbers by their names."""
    found = re.findall(r"^(?:pub )?const (\w+): \w+ = ([\d_]+);", (PANEL / file).read_text(), re.MULTILINE)
    return {name: int(value.replace("_", "")) for name, value in found}


BLINK = constants("blink.rs")
LIGHT = constants("light.rs")


def even(ms):
    return [(True, ms), (False, ms)]


def flashes(count):
    beat = [(True, LIGHT["BEAT_MS"]), (False, LIGHT["BEAT_MS"])]
    return beat * (count - 1) + [beat[0], (False, LIGHT["PAUSE_MS"])]


def gaps(count):
    return [(not lit, ms) for lit, ms in flashes(count)]


def long(shorts):
    apart = [(True, LIGHT["APART_MS"]), (False, LIGHT["APART_MS"])]
    return [(True, LIGHT["LONG_MS"]), (False, LIGHT["APART_MS"])] + apart * shorts


def table() -> dict:
    """What is lit and dark for how many milliseconds, again and again, by the state that it tells."""
    rhythms = {"Even": even, "Flashes": flashes, "Gaps": gaps, "Long": long}
    lines = re.findall(r"State::(\w+) => \w+\((\w+)\(([\d_]+)\),", (PANEL / "state.rs").read_text())
    found = {in_words(state): rhythms[rhythm](int(number.replace("_", ""))) for state, rhythm, number in lines}
    if not {"unpaired", "window", "exchanging", "disk fault"} <= found.keys():
        raise Trouble("src/panel/state.rs holds another table of the LED than the emulator can read")
    return found


def in_words(state) -> str:
    """DiskFault -> disk fault."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", state).lower()


RHYTHMS = table()
# On for longer than any rhythm keeps the LED lit.
READY_MS = 3000
# Dark for longer than any rhythm keeps it dark.
DARK_MS = 4000
# A rhythm is told by two whole rounds of it, and from this many runs at least.
RUNS = 5
# The clock of an emulated box is not exact to the eye, above all on a busy machine.
SLACK_MS = 110
SLACK = 0.25


class Eye:
    """What one LED did, as it is told by `see`; any thread may look."""

    def __init__(self):
        self._edges = []
        self._lock = threading.Lock()

    def see(self, lit: bool, now: float = None):
        """The LED is lit or dark from now on. Seconds of the monotonic clock; the present unless given."""
        now = time.monotonic() if now is None else now
        with self._lock:
            if not self._edges or self._edges[-1][1] != lit:
                self._edges.append((now, lit))

    def lit(self) -> bool:
        with self._lock:
            return bool(self._edges) and self._edges[-1][1]

    def runs(self, since: float = 0.0, now: float = None) -> list:
        """(lit, milliseconds) of each time between two edges that began at `since` or later; the last is not over."""
        now = time.monotonic() if now is None else now
        with self._lock:
            edges = [edge for edge in self._edges if since <= edge[0] <= now]
        ends = [at for at, _ in edges[1:]] + [now]
        return [(lit, (end - at) * 1000) for (at, lit), end in zip(edges, ends)]

    def state(self, since: float = 0.0, now: float = None) -> str:
        """The state that the LED tells now; 'unclear' while it fits none."""
        runs = self.runs(since, now)
        if not runs:
            return "unclear"
        lit, lasted = runs[-1]
        if lit and lasted >= READY_MS:
            return "ready"
        if not lit and lasted >= DARK_MS:
            return "dark"
        for name, rhythm in RHYTHMS.items():
            if fits(runs, rhythm, max(RUNS, 2 * len(rhythm))):
                return name
        return "code" if is_code(runs) else "unclear"

    def showed(self, name: str, since: float) -> bool:
        """True when the LED told the state at any time since, if only for a moment."""
        runs = self.runs(since)
        return any(fits(runs[:end], RHYTHMS[name], 3) for end in range(3, len(runs) + 1))

    def code(self, digits: int, since: float, now: float = None) -> str:
        """The first code that was blinked whole since then; '' while there is none."""
        return read_code(self.runs(since, now), digits)


def fits(runs, rhythm, count) -> bool:
    """True when the last `count` runs are the rhythm, wherever it began; the very last need not be over."""
    last = runs[-count:]
    if len(last) < count:
        return False
    for offset in range(len(rhythm)):
        expected = [rhythm[(offset + at) % len(rhythm)] for at in range(len(last))]
        over = zip(last[:-1], expected[:-1])
        if all(lit == as_lit and near(ms, as_ms) for (lit, ms), (as_lit, as_ms) in over):
            (lit, ms), (as_lit, as_ms) = last[-1], expected[-1]
            if lit == as_lit and ms <= as_ms + slack(as_ms):
                return True
    return False


def slack(ms):
    return max(SLACK_MS, ms * SLACK)


def near(ms, expected):
    # Half of the shortest rhythm, or a quick blink would pass for one of no length.
    return abs(ms - expected) <= min(slack(expected), max(expected / 2, 75))


def is_code(runs) -> bool:
    """True when a long light was followed by blinks and nothing else."""
    leads = [at for at, (lit, ms) in enumerate(runs[:-1]) if lit and near(ms, BLINK["LEAD_LIT_MS"])]
    after = runs[leads[-1] + 1 :] if leads else []
    return len(after) > 1 and all(ms < BLINK["LEAD_LIT_MS"] for _, ms in after)


def read_code(runs, digits) -> str:
    """Counts blinks: a long light begins a code, a long dark ends a digit; ten blinks are a zero."""
    code, blinks, begun = "", 0, False
    for lit, ms in runs:
        if lit and ms >= BLINK["LEAD_AT_MS"]:
            code, blinks, begun = "", 0, True
        elif lit:
            blinks += 1
        elif begun and ms >= BLINK["GAP_AT_MS"] and blinks:
            if blinks > BLINK["ZERO"]:
                begun = False
            code, blinks = code + str(blinks % 10), 0
            if begun and len(code) == digits:
                return code
    return ""
