"""The whole story of two boxes, played without hands: pair them by their buttons, put a photo on one, read it from the
other, look at what went between them, take the first one's power away, and find everything again.

Every step can be broken for real, and must then fail: a check that cannot fail shows nothing.
"""

import hashlib
import json
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .assemble import Disks
from .capture import Capture, shows, tls_bytes
from .eye import read_code
from .page import Page, wait_until
from .trouble import Trouble

MIB = 1 << 20
PHOTO_MIB = 6
SECOND_MIB = 24
# A broken step is given this long to hold after all; what holds, holds within a fraction of it.
BROKEN_S = 25
PRESS_S = 0.5
HOLD_S = 3.0
MOUNT = "/srv/dust"
LEAK_PORT = 4747
# What is read on demand lies on one box alone at first; all else is well.
UP = ("ready", "only here")
# A disk of somebody's, and how much is on it.
STICK = "Photos 2019"
OWNERS_MIB = 12


class Story:
    """What is known so far; each step reads and adds."""

    def __init__(self, boxes, directory: Path):
        self.directory = directory
        self.attic, self.cellar = boxes
        self.boxes = boxes
        self.pages = {box: Page(box.board.address) for box in boxes}
        self.answered_s = {}
        self.pressed_at = 0.0
        self.codes_since = 0.0
        self.circle = ""
        self.photo = photo(1, PHOTO_MIB)
        self.device = ""
        self.slab_kib = 0
        self.kept = {}
        self.sticks = 0
        self.figures = []
        self.capture = Capture(directory / "lan.pcap")

    def end(self):
        if self.capture.process.poll() is None:
            self.capture.process.kill()

    def path(self, name) -> str:
        return f"{self.circle}/{name}"

    def press(self, box, seconds=PRESS_S):
        box.panel.down()
        time.sleep(seconds)
        box.panel.up()

    def press_both(self, seconds=PRESS_S):
        for box in self.boxes:
            box.panel.down()
        time.sleep(seconds)
        for box in self.boxes:
            box.panel.up()

    def await_leds(self, state, since, limit_s):
        """Waits until both LEDs tell the state, by what they did since then."""
        wait_until(
            lambda: all(box.eye.state(since) in (UP if state == "ready" else (state,)) for box in self.boxes),
            limit_s,
            lambda: "the LEDs tell " + ", ".join(f"{box.name}: {box.eye.state(since)}" for box in self.boxes),
        )

    def watch_page(self, box):
        """Notes how long after power-on the box's page answers first."""

        def ask():
            while box.is_on() and box not in self.answered_s:
                if self.pages[box].answers():
                    self.answered_s[box] = time.monotonic() - box.started
                time.sleep(0.1)

        threading.Thread(target=ask, daemon=True).start()

    def sign_in(self, box, pressed=True, limit_s=60.0):
        """As a person does: compares the page's code with the LED's, and presses."""
        page = self.pages[box]
        question, code = wait_until(lambda: question_of(page), 40, f"{box.name} lets nobody sign in", 1)
        since = time.monotonic()

        def blinked_code():
            # Who is not heard of any more does not sign in.
            page.signed_in(question)
            return box.eye.code(2, since)

        try:
            blinked = wait_until(blinked_code, limit_s, f"the LED of {box.name} blinks no sign-in code")
            if blinked != code:
                raise Trouble(f"the page of {box.name} shows {code}, its LED {blinked}")
            if pressed:
                self.press(box)
            wait_until(lambda: page.signed_in(question), limit_s, f"{box.name} lets nobody in without a press", 0.5)
        except Trouble:
            page.cookie = None
            raise

    def status(self, box, state="/data/dustfs") -> dict:
        """What the box's node, with this state directory, tells of itself."""
        return json.loads(box.run(f"dustfs status --json --state {state}"))

    def told(self, words):
        print(f"                 {words}")

    def slabs(self, box) -> int:
        """KiB of sealed pieces on the box's disk."""
        return int(box.run("du -sk /data/dustfs/slabs").split()[0])

    def mount_sha256(self, box, name, limit_s=120) -> str:
        # From the disk or the friend, not from the kernel's memory.
        box.run("echo 3 >/proc/sys/vm/drop_caches")
        return box.run(f"sha256sum '{MOUNT}/{self.path(name)}'", limit_s).split()[0]

    def sees(self, box, name, size, limit_s=60):
        """Waits until the box's mount shows the file with its size."""
        shown = f"stat -c %s '{MOUNT}/{self.path(name)}' 2>/dev/null || true"
        wait_until(lambda: box.run(shown).strip() == str(size), limit_s, f"{box.name} does not show {name}", 0.5)


def question_of(page):
    """A question to sign in and its code; None while another one is pending."""
    try:
        return page.ask_to_sign_in()
    except Trouble as trouble:
        if " gave 409" in str(trouble):
            return None
        raise


@dataclass(frozen=True)
class Step:
    name: str
    what: str
    limit_s: int
    play: Callable
    # Broken after it held rather than before, when 'each' is broken in one run.
    broken_after: bool = False


def boot(story: Story, broken: bool):
    for box in story.boxes:
        if not box.is_on():
            box.start()
            story.watch_page(box)
    since = time.monotonic()
    if broken:
        story.cellar.pause()
    try:
        if broken:
            wait_until(lambda: story.attic.eye.state(since) == "unpaired", 150, "the attic is not up either")
        story.await_leds("unpaired", since, BROKEN_S if broken else 170)
    finally:
        if broken:
            story.cellar.go_on()
    wait_until(lambda: len(story.answered_s) == 2, 60, "a page does not answer")


def window(story: Story, broken: bool):
    story.pressed_at = time.monotonic()
    if not broken:
        story.press_both()
    for box in story.boxes:
        wait_until(lambda: box.eye.showed("window", story.pressed_at), BROKEN_S,
                   lambda: f"the LED of {box.name} shows no window but: {box.eye.state(story.pressed_at)}")


def code(story: Story, broken: bool):
    story.codes_since = story.pressed_at
    codes = await_codes(story, 100)
    if broken:
        attic = story.attic.eye.runs(story.codes_since)
        codes[0] = read_code(without_a_blink(attic), 4)
    if codes[0] != codes[1]:
        raise Trouble(f"the LEDs blink two codes, {codes[0]} and {codes[1]}: somebody sits between the boxes")


def await_codes(story, limit_s) -> list:
    def codes():
        return [box.eye.code(4, story.codes_since) for box in story.boxes]

    wait_until(lambda: all(codes()), limit_s, lambda: f"a code is missing: {codes()}")
    return codes()


def without_a_blink(runs) -> list:
    """As if the eye had not seen the first blink of the code: the dark around it becomes one."""
    lead = next(at for at, (lit, ms) in enumerate(runs) if lit and ms > 1500)
    (_, before), (_, lit), (_, after) = runs[lead + 1 : lead + 4]
    return runs[: lead + 1] + [(False, before + lit + after)] + runs[lead + 4 :]


def ready(story: Story, broken: bool):
    # A hold counts after a whole code alone, and any press makes the code start anew.
    await_codes(story, 60)
    time.sleep(1.5)
    since = time.monotonic()
    story.press_both(PRESS_S if broken else HOLD_S)
    story.codes_since = time.monotonic()
    story.await_leds("ready", since, BROKEN_S if broken else 90)
    circles = story.status(story.attic)["circles"]
    story.circle = next(circle["name"] for circle in circles if circle["members"] == 2)
    story.device = story.status(story.attic)["device"]


def sign_in(story: Story, broken: bool):
    try:
        story.sign_in(story.attic, pressed=not broken, limit_s=BROKEN_S if broken else 60)
    finally:
        if broken:
            # The question that nobody answered has its time.
            since = time.monotonic()
            wait_until(lambda: story.attic.eye.state(since) in UP, 80, "the attic goes on asking")


def put(story: Story, broken: bool):
    story.slab_kib = story.slabs(story.cellar)
    page = story.pages[story.attic]
    if broken:
        page = Page(page.address)
    page.put(story.path("photo.jpg"), story.photo)
    if story.mount_sha256(story.attic, "photo.jpg") != sha256(story.photo):
        raise Trouble("the attic's own mount shows another photo than was put")


def elsewhere(story: Story, broken: bool):
    name, content = "photo.jpg", story.photo
    if broken:
        name, content = "early.jpg", photo(2, 1)
        story.pages[story.attic].put(story.path(name), content)
    story.sees(story.cellar, name, len(content))
    if broken:
        story.mount_sha256(story.cellar, name)
    # What is not fetched on demand would be fetched at once: the photo's pieces would be under way by now.
    time.sleep(3)
    fetched = story.slabs(story.cellar) - story.slab_kib
    if broken:
        story.slab_kib += fetched
    if fetched >= 64:
        raise Trouble(f"the cellar holds {fetched} KiB of {name} that nobody has read there")


def same(story: Story, broken: bool):
    expected = sha256(story.photo)
    if broken:
        expected = sha256(story.photo[:-1] + bytes([story.photo[-1] ^ 1]))
    page = story.pages[story.cellar]
    if not page.cookie:
        story.sign_in(story.cellar)
    mounted = story.mount_sha256(story.cellar, "photo.jpg", 170)
    for way, found in (("mount", mounted), ("page", page.sha256(story.path("photo.jpg")))):
        if found != expected:
            raise Trouble(f"the cellar's {way} shows another photo: {found}, not {expected}")


def sealed(story: Story, broken: bool):
    if broken:
        # Some of the photo goes from box to box as it is.
        story.cellar.run(f"(timeout 60 nc -l -p {LEAK_PORT} >/dev/null 2>&1 &)")
        time.sleep(1)
        leak = f"head -c 100000 '{MOUNT}/{story.path('photo.jpg')}'"
        story.attic.run(f"{leak} | timeout 30 nc {story.cellar.board.address} {LEAK_PORT}; true")
    frames = story.capture.frames()
    carried = tls_bytes(frames)
    if carried < len(story.photo):
        raise Trouble(f"TLS carried {carried} bytes between the boxes, the photo has {len(story.photo)}")
    if shows(frames, story.photo):
        raise Trouble("a piece of the photo went over the LAN as it is")
    story.told(f"{carried / MIB:.1f} MiB in TLS between the boxes, nothing of the photo's {PHOTO_MIB} MiB in the open")


def cut(story: Story, broken: bool):
    if story.attic.is_on():
        cut_while_it_takes(story)
    if broken:
        story.cellar.pause()
    try:
        page = Page(story.pages[story.cellar].address, BROKEN_S if broken else 120)
        page.cookie = story.pages[story.cellar].cookie
        found = page.sha256(story.path("photo.jpg"))
    except OSError as error:
        raise Trouble(f"the cellar does not serve the photo: {error}") from error
    finally:
        if broken:
            story.cellar.go_on()
    if found != sha256(story.photo):
        raise Trouble("the cellar serves another photo")
    if story.mount_sha256(story.cellar, "photo.jpg") != sha256(story.photo):
        raise Trouble("the cellar's mount shows another photo")


def cut_while_it_takes(story):
    """One connection puts a large file, another small ones, each acknowledged; then the power goes."""
    page = Page(story.attic.board.address)
    page.cookie = story.pages[story.attic].cookie
    second = photo(3, SECOND_MIB)
    sent, over = threading.Event(), threading.Event()

    def progress(count):
        if count >= len(second) // 3:
            sent.set()
            # However fast the box is, it is still taking it when its power goes.
            over.wait(0.2)

    def put_second():
        try:
            page.put(story.path("second.jpg"), second, progress)
        except (OSError, Trouble):
            pass

    putting = threading.Thread(target=put_second, daemon=True)
    putting.start()
    number = 0
    while not sent.is_set() or number < 5:
        if not putting.is_alive() and not sent.is_set():
            raise Trouble("the attic does not take the second file")
        number += 1
        name, content = f"note {number}.txt", random.Random(number).randbytes(1000 * number)
        story.pages[story.attic].put(story.path(name), content)
        story.kept[name] = sha256(content)
    story.attic.cut()
    taking = putting.is_alive()
    over.set()
    if not taking:
        raise Trouble("the attic had taken the second file before its power went: nothing was cut")
    story.told(f"its power went with {number} small files acknowledged, and a large one on its way")


def back(story: Story, broken: bool):
    if broken:
        disks = story.attic.disks
        story.attic.disks = disks.blank(story.directory)
    since = time.monotonic()
    story.attic.start()
    try:
        wait_until(lambda: story.attic.eye.state(since) in (*UP, "unpaired"), 170, "the attic does not come up")
        comes_back(story, since)
    except Trouble:
        if broken:
            story.attic.cut()
            story.attic.disks = disks
        raise


def comes_back(story, since):
    status = story.status(story.attic)
    if status["device"] != story.device:
        raise Trouble(f"the attic is another device than it was: {status['device']}, not {story.device}")
    story.await_leds("ready", since, 60)
    for name, expected in {"photo.jpg": sha256(story.photo), **story.kept}.items():
        if story.mount_sha256(story.attic, name) != expected:
            raise Trouble(f"the attic acknowledged {name}, and has lost bytes of it")
    torn = story.attic.run(f"stat -c %s '{MOUNT}/{story.path('second.jpg')}' 2>/dev/null || true").strip()
    if torn:
        raise Trouble(f"the file that was cut short shows, with {torn} bytes")
    story.figures = figures(story)
    name, expected = list(story.kept.items())[-1]
    story.sees(story.cellar, name, 1000 * len(story.kept))
    if story.mount_sha256(story.cellar, name) != expected:
        raise Trouble(f"the cellar reads another {name}")


def bring_in(story: Story, broken: bool):
    attic = story.attic
    if not story.pages[attic].cookie or not story.sticks:
        story.sign_in(attic)
    story.sticks += 1
    files = owners_files(story.directory / f"owner {story.sticks}")
    stick = story.directory / "stick.image"
    if broken:
        # Nothing that a kernel can read.
        stick.write_bytes(bytes(8 * MIB))
    else:
        Disks.of_owner(stick, STICK, files)
    before = sha256(stick.read_bytes())
    since = time.monotonic()
    attic.plug("stick", stick)
    try:
        wait_until(lambda: attic.eye.state(since) == "disk offered", BROKEN_S if broken else 60,
                   lambda: f"the attic's LED tells {attic.eye.state(since)}")
        disk = story.status(attic)["disks"][0]
        if disk["name"] != STICK or disk["used_bytes"] < OWNERS_MIB * MIB:
            raise Trouble(f"the attic tells of another disk: {disk}")
        page = story.pages[attic]
        since = time.monotonic()
        page.call("POST", "/v1/import-disk", {"path": disk["path"]})
        progress = wait_until(lambda: (now := page.call("GET", "/v1/import-progress"))["ended"] and now, 150,
                              "the import does not end", 1)
        if progress["failed"] or progress["stopped"]:
            raise Trouble(f"not everything was imported: {progress}")
        device = attic.run(f"sed -n 's,^\\([^ ]*\\) {disk['path']} .*,\\1,p' /proc/mounts").strip()
        wrote = f"dd if=/dev/zero of={device} bs=512 count=1 conv=notrunc 2>/dev/null || touch {disk['path']}/x 2>/dev/null"
        if attic.run(f"{wrote} && echo yes; true").strip():
            raise Trouble("the attic can write its owner's disk")
        wait_until(lambda: attic.eye.state(since) in UP, 60, "the attic goes on offering")
    finally:
        attic.pull("stick")
    wait_until(lambda: not story.status(attic)["disks"], 30, "the attic tells of a disk that is gone", 0.5)
    if sha256(stick.read_bytes()) != before:
        raise Trouble("the owner's disk is another one than it was")
    shown = attic.run(f"cd '{MOUNT}/Home/{STICK}' && find . -type f -exec sha256sum '{{}}' + ; cd /", 120)
    found = dict(line.split("  ./", 1)[::-1] for line in shown.splitlines())
    expected = {str(path.relative_to(files)): sha256(path.read_bytes()) for path in files.rglob("*") if path.is_file()}
    if found != expected:
        raise Trouble(f"other files came in than lay on the disk: {sorted(found.items() ^ expected.items())[:4]}")
    story.told(f"{progress['files']} files, {progress['bytes'] / MIB:.1f} MiB, in {progress['time_ms'] / 1000:.1f} s")


def owners_files(directory: Path) -> Path:
    """Photos as they lie on somebody's disk."""
    draw = random.Random(5)
    for number in range(60):
        path = directory / f"{2015 + number % 5} b\u00e4ume" / f"IMG {number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw.randbytes(OWNERS_MIB * MIB // 60 + draw.randrange(9_000)))
    return directory


def pulled(story: Story, broken: bool):
    attic = story.attic
    attic.cut()
    attic.data_on_usb = True
    since = time.monotonic()
    attic.start()
    try:
        story.await_leds("ready", since, 170)
        written = f"{MOUNT}/{story.path('pulled.bin')}"
        attic.run(f"head -c 300000 /dev/urandom | dd of={written} bs=64k conv=fsync 2>/dev/null")
        expected = story.mount_sha256(attic, "pulled.bin")
        # Somebody goes on writing.
        attic.run(f"(while head -c 100000 /dev/urandom; do sleep 0.2; done >{written}.more 2>/dev/null &)")
        since = time.monotonic()
        if not broken:
            attic.pull("data")
        wait_until(lambda: attic.eye.state(since) == "disk fault", BROKEN_S if broken else 90,
                   lambda: f"the attic's LED tells {attic.eye.state(since)}")
        wait_until(story.pages[attic].answers, 60, "the attic's page does not answer")
        told = wait_until(lambda: rescue_problems(story), 60, "the attic's node is not back", 1)
        if "pulled out" not in told:
            raise Trouble(f"the attic does not say that its disk was pulled out, but: {told}")
        since = time.monotonic()
        attic.plug("data-again", attic.disks.data)
        story.await_leds("ready", since, 120)
        for name, content in {"photo.jpg": sha256(story.photo), **story.kept, "pulled.bin": expected}.items():
            if story.mount_sha256(attic, name) != content:
                raise Trouble(f"the attic acknowledged {name}, and has lost bytes of it")
        story.told(f"{len(story.kept) + 2} acknowledged files are whole after the disk was pulled and put back")
    finally:
        attic.data_on_usb = False
        if broken:
            attic.cut()


def rescue_problems(story) -> str:
    try:
        return "; ".join(story.status(story.attic, "/run/dustfs/rescue")["problems"])
    except Trouble:
        return ""


def without_disk(story: Story, broken: bool):
    story.attic.cut()
    disks = story.attic.disks
    if not broken:
        story.attic.disks = disks.ruined(story.directory)
    since = time.monotonic()
    story.attic.start()
    try:
        settled = ("disk fault", *UP, "unpaired", "no friend online")
        state = wait_until(lambda: (now := story.attic.eye.state(since)) in settled and now, 170,
                           lambda: f"the attic's LED tells {story.attic.eye.state(since)}")
        if state != "disk fault":
            raise Trouble(f"the attic's LED tells '{state}', not 'disk fault'")
        wait_until(story.pages[story.attic].answers, 60, "the attic's page does not answer")
        told = "; ".join(story.status(story.attic, "/run/dustfs/rescue")["problems"])
        if "dustfs-data" not in told:
            raise Trouble(f"the attic does not name the disk as its problem, but: {told}")
        # A disk of its owner's does not take the place of the box's own.
        stick = Disks.of_owner(story.directory / "only.image", STICK, owners_files(story.directory / "owner"))
        story.attic.plug("stick", stick)
        told = "dustfs status --state /run/dustfs/rescue | grep -c 'no room for them here'; true"
        wait_until(lambda: story.attic.run(told).strip() == "1", 60, "the attic says nothing of its owner's disk", 1)
    finally:
        story.attic.disks = disks


def figures(story) -> list:
    """Start and memory of each box, for the note."""
    lines = []
    for box in story.boxes:
        memory = box.run("grep -E '^Vm(HWM|RSS)' /proc/$(pidof dustfs)/status")
        mib = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in memory.splitlines() if line.startswith("Vm")}
        lines.append(
            f"{box.name} ({box.board.name}, {box.memory_mib} MiB): page {story.answered_s[box]:.1f} s after power-on,"
            f" node {mib['VmRSS']:.1f} MiB resident, {mib['VmHWM']:.1f} MiB at most"
        )
    return lines


def photo(seed, mib) -> bytes:
    """What looks like a photo: a JPEG's opening, and bytes that nothing can shorten."""
    opening = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")
    return opening + random.Random(seed).randbytes(mib * MIB - len(opening))


def sha256(content) -> str:
    return hashlib.sha256(content).hexdigest()


STEPS = (
    Step("unpaired", "both boxes boot, their LEDs tell 'unpaired', their pages answer", 240, boot),
    Step("window", "a press on both opens the pairing window on both LEDs", 60, window),
    Step("code", "the codes that the LEDs blink, read outside the boxes, are equal", 120, code),
    Step("ready", "held for 3 seconds, both LEDs tell 'ready'", 180, ready),
    Step("sign-in", "the attic's page and LED show one code, and a press lets the page in", 150, sign_in),
    Step("photo", "a photo goes to the attic over HTTP", 180, put),
    Step("on-demand", "the cellar shows it, and holds nothing of it", 120, elsewhere),
    Step("same", "read through the cellar's mount and over its page, it is the same photo", 300, same),
    Step("sealed", "the LAN carried that many bytes in TLS, and nothing of the photo in the open", 120, sealed, True),
    Step("cut", "the attic's power goes while it takes a second file; the cellar still serves the photo", 300, cut),
    Step("back", "the attic comes back as it was, with every byte that it had acknowledged", 300, back),
    Step("import", "a disk with its owner's files is offered, imported, and not a byte of it changes", 300, bring_in),
    Step("pulled", "the data disk is pulled out and put back, and nothing that was acknowledged is lost", 400, pulled),
    Step("no-disk", "with a ruined data disk the attic's LED and page say so; its owner's disk does not take its place", 300, without_disk),
)
