"""Plays the story's steps in order, each within its time, whole or broken, and says which one failed."""

import signal
import tempfile
import time
from http.client import HTTPException
from pathlib import Path

from .story import STEPS, Story
from .trouble import Trouble


def tell(boxes, broken) -> int:
    """Plays the steps; `broken` names one to break, or is 'each', which breaks all in one run. The exit code."""
    with tempfile.TemporaryDirectory(prefix="dustfs-story-") as directory:
        story = Story(boxes, Path(directory))
        begun = time.monotonic()
        try:
            if not follow(story, plan(STEPS, broken), broken):
                return 1
            story.capture.end()
            if not broken:
                print("\n".join(story.figures))
        finally:
            story.end()
    also = ", and each failed when it was broken" if broken == "each" else ""
    print(f"all {len(STEPS)} steps held{also}: {time.monotonic() - begun:.0f} s")
    return 0


def plan(steps, broken) -> list:
    """(step, whether it is broken) in order. A step that is broken by its name is the last."""
    order = []
    for step in steps:
        if broken == "each":
            order += [(step, False), (step, True)] if step.broken_after else [(step, True), (step, False)]
        elif broken == step.name:
            return order + ([(step, False), (step, True)] if step.broken_after else [(step, True)])
        else:
            order.append((step, False))
    return order


def follow(story, order, broken) -> bool:
    """True when every step held. Where each is broken in turn, every broken one must have failed as well."""
    for step, is_broken in order:
        held = play(story, step, is_broken)
        if is_broken and held:
            print(f"{step.name} held although it was broken: it shows nothing")
        if held == (is_broken and broken == "each"):
            return False
    return True


def play(story, step, is_broken) -> bool:
    """True when the step held, within its time."""
    begun = time.monotonic()
    name = f"{step.name}, broken" if is_broken else step.name
    signal.signal(signal.SIGALRM, lambda *_: out_of_time(step))
    signal.alarm(step.limit_s)
    try:
        step.play(story, is_broken)
    except (Trouble, OSError, HTTPException, ValueError, LookupError) as error:
        print(f"FAILED {time.monotonic() - begun:6.1f} s  {name}: {error or type(error).__name__}")
        if not is_broken:
            signal.alarm(0)
            explain(story)
        return False
    finally:
        signal.alarm(0)
    print(f"ok     {time.monotonic() - begun:6.1f} s  {name}: {step.what}")
    return True


def out_of_time(step):
    raise Trouble(f"it did not end within {step.limit_s} s")


def explain(story):
    """What the boxes themselves say, for whoever looks for the reason."""
    for box in story.boxes:
        print(f"--- {box.name}: the LED tells {box.eye.state()}")
        try:
            print(box.run("logread | tail -n 25; cat /run/dustfs/problem 2>/dev/null; dustfs status; true", 20))
        except (Trouble, OSError, AttributeError) as error:
            print(f"no word from it: {error}")
