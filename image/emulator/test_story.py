"""Who plays the story says which step failed, and a broken step that holds is a failure where each is broken."""

import contextlib
import io
import time
import unittest

from .player import follow, plan
from .story import STEPS, Step, without_a_blink
from .trouble import Trouble


def step(name, breaks=True, holds=True, after=False, limit_s=5):
    def play(story, broken):
        story.append((name, broken))
        if (broken and breaks) or (not broken and not holds):
            raise Trouble("as it must")

    return Step(name, f"{name} holds", limit_s, play, after)


def told(steps, broken):
    # Notes what is played; a step that fails asks no box why.
    story, output = type("Played", (list,), {"boxes": ()})(), io.StringIO()
    with contextlib.redirect_stdout(output):
        held = follow(story, plan(steps, broken), broken)
    return held, list(story), output.getvalue()


class StoryTest(unittest.TestCase):
    def test_all_is_played_in_order(self):
        held, played, _ = told([step("one"), step("two")], None)
        self.assertTrue(held)
        self.assertEqual(played, [("one", False), ("two", False)])

    def test_a_step_that_fails_is_named_and_ends_it(self):
        held, played, output = told([step("one"), step("two", holds=False), step("three")], None)
        self.assertFalse(held)
        self.assertEqual(len(played), 2)
        self.assertRegex(output, r"FAILED .* two: as it must")

    def test_every_step_can_be_broken_by_its_name(self):
        for number, name in enumerate(["one", "two", "three"]):
            held, played, output = told([step("one"), step("two", after=True), step("three")], name)
            self.assertFalse(held)
            self.assertEqual(played[-1], (name, True))
            self.assertNotIn(("three", False), played)
            self.assertRegex(output, f"FAILED .* {name}, broken: ")

    def test_each_is_broken_and_played(self):
        held, played, _ = told([step("one"), step("two", after=True)], "each")
        self.assertTrue(held)
        self.assertEqual(played, [("one", True), ("one", False), ("two", False), ("two", True)])

    def test_a_break_that_changes_nothing_is_told(self):
        held, _, output = told([step("one"), step("two", breaks=False)], "each")
        self.assertFalse(held)
        self.assertIn("two held although it was broken", output)

    def test_a_step_ends_with_its_time(self):
        slow = Step("slow", "slow holds", 1, lambda story, broken: time.sleep(20))
        begun = time.monotonic()
        held, _, output = told([slow], None)
        self.assertFalse(held)
        self.assertLess(time.monotonic() - begun, 10)
        self.assertIn("did not end within 1 s", output)

    def test_names_are_words_of_a_command_line(self):
        names = [step.name for step in STEPS]
        self.assertEqual(len(set(names)), len(names))
        self.assertNotIn("each", names)

    def test_a_blink_is_lost(self):
        runs = [(False, 1000), (True, 2000), (False, 1000), (True, 250), (False, 250), (True, 250), (False, 1000)]
        self.assertEqual(without_a_blink(runs), runs[:2] + [(False, 1500)] + runs[5:])


if __name__ == "__main__":
    unittest.main()
