"""The eye reads what the panel's table shows, also through a shaky clock, and refuses what is no code."""

import random
import unittest

from .eye import BLINK, RHYTHMS, Eye


def watch(steps, jitter_ms=0, seed=1, start=100.0):
    """An eye that saw the steps, each (lit, ms), and the time at their end."""
    shake = random.Random(seed)
    eye, now = Eye(), start
    for lit, ms in steps:
        eye.see(lit, now)
        now += (ms + shake.uniform(-jitter_ms, jitter_ms)) / 1000
    return eye, now


def blinked(code):
    """What src/panel/blink.rs says that a code looks like."""
    steps = [(False, BLINK["LEAD_DARK_MS"]), (True, BLINK["LEAD_LIT_MS"]), (False, BLINK["GAP_MS"])]
    for digit in code:
        count = int(digit) or BLINK["ZERO"]
        for blink in range(1, count + 1):
            steps += [(True, BLINK["ON_MS"]), (False, BLINK["GAP_MS" if blink == count else "OFF_MS"])]
    return steps


class EyeTest(unittest.TestCase):
    def test_every_rhythm_is_told_and_by_its_own_name(self):
        for name, rhythm in RHYTHMS.items():
            for seed in range(20):
                eye, now = watch(rhythm * 6, jitter_ms=35, seed=seed)
                self.assertEqual(eye.state(now=now - 0.01), name)

    def test_steady_light_and_darkness(self):
        eye, now = watch([(True, 3500)])
        self.assertEqual(eye.state(now=now), "ready")
        eye, now = watch([(True, 200), (False, 4500)])
        self.assertEqual(eye.state(now=now), "dark")
        self.assertEqual(Eye().state(), "unclear")

    def test_a_rhythm_that_ended_is_not_told(self):
        eye, now = watch(RHYTHMS["window"] * 4 + [(True, 1000)])
        self.assertEqual(eye.state(now=now), "unclear")
        self.assertTrue(eye.showed("window", since=0.0))
        self.assertFalse(eye.showed("exchanging", since=0.0))

    def test_codes_are_counted(self):
        for code in ("1234", "0000", "9081", "5550"):
            for seed in range(20):
                eye, now = watch(RHYTHMS["exchanging"] * 5 + blinked(code) * 2, jitter_ms=60, seed=seed)
                self.assertEqual(eye.code(4, since=0.0, now=now), code)
        eye, now = watch(blinked("07") * 2)
        self.assertEqual(eye.code(2, since=0.0, now=now), "07")

    def test_a_code_is_told_while_it_is_blinked(self):
        steps = RHYTHMS["window"] * 3 + blinked("4711")
        eye, now = watch(steps)
        for back in (0.1, 2, 5, 8):
            self.assertEqual(eye.state(now=now - back), "code")
        eye, now = watch(steps + [(True, 3500)])
        self.assertEqual(eye.state(now=now), "ready")
        eye, now = watch(steps[:8])
        self.assertNotEqual(eye.state(now=now), "code")

    def test_a_code_counts_from_its_beginning_to_its_end_alone(self):
        steps = blinked("4711")
        for missing in range(1, 4):
            eye, now = watch(steps[missing:])
            self.assertEqual(eye.code(4, since=0.0, now=now) if missing > 1 else "", "")
        for end in range(len(steps) - 1):
            eye, now = watch(steps[:end])
            self.assertEqual(eye.code(4, since=0.0, now=now), "")

    def test_a_lost_blink_is_another_code(self):
        steps = blinked("4711")
        eye, now = watch(steps[:3] + steps[5:])
        self.assertEqual(eye.code(4, since=0.0, now=now), "3711")

    def test_more_than_ten_blinks_are_no_digit(self):
        steps = blinked("1")[:3] + [(True, 250), (False, 250)] * 11 + [(False, 1000)] + blinked("12")
        eye, now = watch(steps)
        self.assertEqual(eye.code(2, since=0.0, now=now), "12")


if __name__ == "__main__":
    unittest.main()
