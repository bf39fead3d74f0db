"""From a fresh clone to two boxes that can be turned on: tools, programs, images, disks, LAN."""

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import lan
from .assemble import REPOSITORY, Image
from .boards import BOARDS
from .box import Box
from .packages import install_tools
from .trouble import Trouble

BASE = REPOSITORY / "target/emulate"
# What a box's node is started with. On demand, so that a read shows whether a friend's pieces come.
CONFIG = 'mount = "/srv/dust"\nlisten = ["[::]:47470"]\nfetch = "ondemand"\n'


def images(boards) -> list:
    return [Image(BASE, board) for board in boards]


def build(no_cross: bool, boards=BOARDS):
    """Everything that is missing or old."""
    install_tools()
    for target in sorted({board.target for board in boards}):
        if not no_cross:
            cross(target)
    for image in images(boards):
        image.build()


def cross(target):
    """The box's program; cargo knows whether anything is to be done."""
    print(f"builds dustfs for {target}", flush=True)
    done = subprocess.run([str(REPOSITORY / "image/cross"), target], stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Trouble(f"image/cross {target} failed")


@contextlib.contextmanager
def boxes(memory_mib: int, fresh: bool, kept: bool, boards=BOARDS):
    """The two boxes on their LAN, off. At the end their power is cut. Kept disks are there the next time."""
    directory = Path(tempfile.mkdtemp(prefix="dustfs-emulate-"))
    disks = BASE / "disks" if kept else directory
    if fresh and kept:
        shutil.rmtree(disks, ignore_errors=True)
    ready = images(boards)
    for image in ready:
        image.build()
    taps = lan.taps(len(ready))
    made = [
        Box(image, image.disks(disks, CONFIG), tap, memory_mib, directory) for image, tap in zip(ready, taps)
    ]
    try:
        yield made
    finally:
        for box in made:
            box.cut()
        shutil.rmtree(directory, ignore_errors=True)
