"""Makes what a box boots from and keeps its things on: boot file system, read-only root, state and data disks.

Root is not needed. The root file system is the same overlay that the Buildroot recipe takes; what Buildroot would add
of its own (BusyBox, e2fsck, accounts) comes from Debian's static packages here.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from .boards import PREFIX, Board
from .cpio import Cpio
from .packages import Archive, run
from .trouble import Trouble

REPOSITORY = Path(__file__).parents[2]
OVERLAY = REPOSITORY / "image/overlay"
# For the disks of people.
FOREIGN = ("vfat", "exfat", "nls_cp437", "nls_ascii")
# What Debian's kernels keep in modules and every box needs; in an image of our own they are built in.
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio-rng", "squashfs", "ext4", "fuse", *FOREIGN)
STATE_MIB = 16
DATA_MIB = 512
OWNERS_MIB = 64


class Image:
    """The files of one box below `base`."""

    def __init__(self, base: Path, board: Board):
        self.board = board
        self.base = base
        self.directory = base / board.box
        self.kernel = None
        self.boot = self.directory / "boot.cpio.gz"
        self.system = self.directory / "system.squashfs"
        self.device_tree = self.directory / "machine.dtb"

    def build(self):
        """Makes what is missing or older than what it is made of."""
        archive = Archive(self.base, self.board.architecture)
        debian = archive.unpack()
        self.kernel = next((debian / "boot").glob("vmlinuz-*"))
        self.directory.mkdir(parents=True, exist_ok=True)
        parts = self._parts(debian)
        stamp = self.directory / "made-of"
        made_of = fingerprint(parts)
        if stamp.exists() and stamp.read_text() == made_of:
            return
        print(f"assembles the image of {self.board.box} ({self.board.name})", flush=True)
        stamp.unlink(missing_ok=True)
        modules = load_order(debian / "lib/modules" / archive.release(), MODULES + self.board.modules)
        self.boot.write_bytes(boot_file_system(debian, modules))
        self._make_system(debian)
        stamp.write_text(made_of)

    def _parts(self, debian):
        return [self.program(), self.board_map(), OVERLAY, Path(__file__).parent, debian / "packages"]

    def program(self) -> Path:
        return REPOSITORY / "target/cross" / self.board.target / "full/dustfs"

    def board_map(self) -> Path:
        return REPOSITORY / "board" / self.board.name / "board.toml"

    def _make_system(self, debian):
        root = self.directory / "root"
        shutil.rmtree(root, ignore_errors=True)
        lay_out(root)
        shutil.copytree(OVERLAY, root, symlinks=True, dirs_exist_ok=True)
        shutil.copy(debian / "bin/busybox", root / "bin/busybox")
        for applet in applets((root / "bin/busybox").read_bytes()):
            if not (root / "bin" / applet).exists():
                (root / "bin" / applet).symlink_to("busybox")
        shutil.copy(debian / "sbin/e2fsck.static", root / "sbin/e2fsck")
        shutil.copy(self.program(), root / "usr/bin/dustfs")
        shutil.copy(self.board_map(), root / "etc/dustfs/board.toml")
        self.system.unlink(missing_ok=True)
        # The kernel opens the console before anything is mounted.
        console = ("-p", "dev/console c 600 0 0 5 1")
        options = ("-noappend", "-all-root", "-comp", "zstd", "-quiet", "-no-progress")
        run(["mksquashfs", str(root), str(self.system), *options, *console])

    def disks(self, directory: Path, config: str) -> "Disks":
        """The box's disks below `directory`; made with this config of the node where they are not there."""
        disks = Disks(directory / f"{self.board.box}.state", directory / f"{self.board.box}.data")
        if not disks.data.exists():
            disks.make(self.board, config)
        return disks

    def make_device_tree(self, machine):
        """The machine's own device tree, with the box's LED and key on its spare lines (`board/NAME/panel.dts`)."""
        panel = REPOSITORY / "board" / self.board.name / "panel.dts"
        dump = self.directory / "bare.dtb"
        words = [f"{word},dumpdtb={dump}" if word.startswith("virt") else word for word in machine]
        run([*words, "-nodefaults", "-display", "none"])
        bare = run(["dtc", "-q", "-I", "dtb", "-O", "dts", str(dump)])
        source = self.directory / "machine.dts"
        source.write_text(bare + panel.read_text())
        run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", str(self.device_tree), str(source)])


class Disks:
    """The images of the two disks that a box writes. The data disk may lose what was not flushed."""

    def __init__(self, state: Path, data: Path):
        self.state = state
        self.data = data
        self.volatile = None

    def data_source(self) -> str:
        """Where QEMU finds the data disk."""
        return f"nbd+unix:///?socket={self.volatile.socket}" if self.volatile else str(self.data)

    def make(self, board, config):
        """A state partition that knows the box's name, address and config, and an empty data disk."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.data.parent) as name:
            files = Path(name)
            (files / "hostname").write_text(board.box + "\n")
            (files / "address").write_text(f"{board.address}/{PREFIX}\n")
            (files / "config.toml").write_text(config)
            self._format(self.state, "dustfs-state", STATE_MIB, ["-d", name])
        self._format(self.data, "dustfs-data", DATA_MIB)

    def blank(self, directory: Path) -> "Disks":
        """The same box with another data disk, a new one."""
        other = Disks(self.state, directory / f"{self.data.name}.blank")
        self._format(other.data, "dustfs-data", DATA_MIB)
        return other

    def ruined(self, directory: Path) -> "Disks":
        """The same box with a data disk that has no file system any more."""
        other = Disks(self.state, directory / f"{self.data.name}.ruined")
        other.data.unlink(missing_ok=True)
        with open(other.data, "wb") as empty:
            empty.truncate(DATA_MIB << 20)
        return other

    @staticmethod
    def of_owner(path: Path, label: str, files: Path) -> Path:
        """A disk full of its owner's files, from a machine that lost its power: whoever only looks at it writes."""
        Disks._format(path, label, OWNERS_MIB, ["-d", str(files)])
        run(["debugfs", "-w", "-R", "feature needs_recovery", str(path)])
        return path

    @staticmethod
    def _format(path, label, mib, options=()):
        path.unlink(missing_ok=True)
        # A 32-bit machine has nothing to gain from 64-bit block numbers.
        run(["mke2fs", "-q", "-t", "ext4", "-O", "^64bit", "-L", label, *options, str(path), f"{mib}M"])


def fingerprint(parts) -> str:
    """Changes when any file in the parts does."""
    digest = hashlib.sha256()
    for part in parts:
        if not part.exists():
            raise Trouble(f"{part} is missing: it is made by `image/cross`, or belongs to the repository")
        files = [part] if part.is_file() else sorted(part.rglob("*"))
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file} {file.stat().st_mode:o}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def lay_out(root: Path):
    """The directories of a root that is read-only: what is written lies below /run, /tmp or on the disks."""
    for path in ("dev proc sys run tmp state data srv/dust etc/dustfs usr/bin usr/lib var").split():
        (root / path).mkdir(parents=True)
    links = {"bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "bin", "lib": "usr/lib"}
    links.update({"var/run": "/run", "var/log": "/tmp", "var/tmp": "/tmp", "etc/mtab": "/proc/self/mounts"})
    for path, target in links.items():
        (root / path).symlink_to(target)
    (root / "etc/passwd").write_text("root:*:0:0:root:/run:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")


def applets(busybox: bytes) -> list:
    """The names by which BusyBox can be called: its sorted list of them, of which '[' is the first."""
    begin = busybox.find(b"\0[\0[[\0") + 1
    if begin == 0:
        raise Trouble("this BusyBox holds no list of its applets")
    return [name.decode() for name in busybox[begin : busybox.index(b"\0\0", begin)].split(b"\0")]


def load_order(modules: Path, wanted) -> list:
    """The module files that are to be loaded, each after those that it needs."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, rest = line.split(":")
        needs[stem(file)] = (modules / file, [stem(other) for other in rest.split()])
    built_in = {stem(line) for line in (modules / "modules.builtin").read_text().split()}
    order = []

    def load(name):
        if name in built_in:
            return
        if name not in needs:
            raise Trouble(f"the kernel {modules.name} has no module {name}")
        file, others = needs[name]
        # modules.dep lists the nearest first.
        for other in reversed(others):
            load(other)
        if file not in order:
            order.append(file)

    for name in wanted:
        load(stem(name))
    # ext4 and squashfs name these at run time alone.
    for name in ("crc32c_generic",):
        if name in needs and needs[name][0] not in order:
            order.insert(0, needs[name][0])
    return order


def stem(module: str) -> str:
    """A module's name; the kernel takes '-' and '_' for the same."""
    return Path(module).name.removesuffix(".ko").replace("-", "_")


def boot_file_system(debian: Path, modules) -> bytes:
    """BusyBox, the modules and `hand-over`."""
    cpio = Cpio()
    for directory in ("bin", "dev", "proc", "sys", "box", "modules"):
        cpio.directory(directory)
    cpio.character_device("dev/console", 5, 1)
    busybox = (debian / "bin/busybox").read_bytes()
    cpio.file("bin/busybox", busybox, executable=True)
    for applet in ("sh", "mount", "umount", "insmod", "sleep", "grep", "poweroff", "switch_root"):
        cpio.link(f"bin/{applet}", "busybox")
    for module in modules:
        cpio.file(f"modules/{module.name}", module.read_bytes())
    cpio.file("modules/order", "".join(f"{module.name}\n" for module in modules).encode())
    cpio.file("init", (Path(__file__).parent / "hand-over").read_bytes(), executable=True)
    return cpio.packed()
