"""One emulated box: starts it, types on its console, and cuts its power."""

import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from .assemble import Disks, Image
from .eye import Eye
from .panel import GpioPanel, SerialPanel, qmp
from .trouble import Trouble

# What a shell prints at most for one command, in bytes.
OUTPUT_MAX = 4 << 20
# What a console says when it is there, as in the overlay's usr/lib/dustfs/console.
OPEN = "the console is open"


class Box:
    """A box that may be off. `eye` sees its LED, `panel` presses its button."""

    def __init__(self, image: Image, disks: Disks, tap: str, memory_mib: int, directory: Path):
        self.image = image
        self.board = image.board
        self.disks = disks
        self.tap = tap
        # The data disk hangs on the port for disks, from which it can be pulled.
        self.data_on_usb = False
        # The date that its clock keeps while it is off: a box without a battery starts in 1970.
        self.date = "1970-01-02"
        self.memory_mib = memory_mib
        self.eye = Eye()
        self.panel = None
        self.process = None
        self.console = None
        self.started = 0.0
        # A Unix socket's path is short.
        self.directory = directory
        self.log = directory / f"{self.board.box}.console"

    @property
    def name(self) -> str:
        return self.board.box

    def start(self):
        """Turns it on."""
        arguments = self._arguments()
        if self.disks.volatile:
            self.disks.volatile.turn_on()
        self.started = time.monotonic()
        log = open(self.directory / f"{self.name}.qemu", "ab")
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
        )
        log.close()
        serial = "panel" in self._sockets()
        self.panel = SerialPanel(self._connect("panel"), self.eye) if serial else self._gpio_panel()
        self.console = Console(self._connect("console"))

    def _gpio_panel(self):
        return GpioPanel(self._connect("qtest"), self._connect("qmp"), self.eye)

    def cut(self):
        """Takes its power away, at once."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.process = None
        self.panel.close()
        self.console.close()
        self.eye.see(False)
        for path in self._sockets().values():
            path.unlink(missing_ok=True)

    def plug(self, name: str, path: Path):
        """Puts a disk into the box's port."""
        file = {"driver": "file", "filename": str(path)}
        self._ask("blockdev-add", **{"driver": "raw", "node-name": name, "file": file})
        self._ask("device_add", driver="usb-storage", id=name, drive=name, bus="usb.0")

    def pull(self, name: str):
        """Pulls a disk out of it, whatever is going on."""
        self._ask("device_del", id=name)
        end = time.monotonic() + 20
        while any(node.get("node-name") == name for node in self._ask("query-named-block-nodes")):
            try:
                self._ask("blockdev-del", **{"node-name": name})
            except Trouble:
                # QEMU lets go of the device by and by.
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def _ask(self, command, **arguments):
        with self._connect("monitor") as connection:
            return qmp(connection)(command, **arguments)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def is_on(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def run(self, command: str, limit_s: float = 60) -> str:
        """What the command prints on the box's console; it must end with 0."""
        output, code = self.console.run(command, limit_s)
        if code != 0:
            raise Trouble(f"`{command}` on {self.name} ended with {code}: {output.strip()[-400:]}")
        return output

    def _sockets(self) -> dict:
        names = ("console", "qtest", "qmp", "monitor") if "virt" in self.board.qemu[2] else ("console", "panel")
        return {name: self.directory / f"{self.name}.{name}.socket" for name in names}

    def _connect(self, name) -> socket.socket:
        path = str(self._sockets()[name])
        end = time.monotonic() + 20
        while time.monotonic() < end:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(path)
                return connection
            except OSError:
                connection.close()
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        told = (self.directory / f"{self.name}.qemu").read_text(errors="replace")
        raise Trouble(f"QEMU of {self.name} did not start: {told.strip()[-400:]}")

    def _arguments(self) -> list:
        sockets = self._sockets()
        board = self.board
        machine = [*board.qemu, "-m", str(self.memory_mib)]
        words = [*machine, "-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults"]
        words += ["-kernel", str(self.image.kernel), "-initrd", str(self.image.boot)]
        words += ["-append", f"{board.kernel_arguments} quiet loglevel=1 panic=-1 dustfs.shell"]
        words += ["-rtc", f"base={self.date}"]
        words += ["-chardev", f"socket,id=console,path={sockets['console']},server=on,wait=off,logfile={self.log}"]
        words += ["-serial", "chardev:console"]
        if "panel" in sockets:
            words += ["-chardev", f"socket,id=panel,path={sockets['panel']},server=on,wait=off"]
            words += ["-serial", "chardev:panel"]
        else:
            self.image.make_device_tree(machine)
            words += ["-dtb", str(self.image.device_tree)]
            words += ["-qtest", f"unix:{sockets['qtest']},server=on,wait=off", "-qtest-log", "none"]
            words += ["-qmp", f"unix:{sockets['qmp']},server=on,wait=off"]
            words += ["-qmp", f"unix:{sockets['monitor']},server=on,wait=off"]
        if board.usb:
            words += ["-device", "qemu-xhci,id=usb"]
        words += disk("system", self.image.system, "readonly=on")
        # What the box has flushed is in the host's hands, and survives the end of QEMU.
        words += disk("state", self.disks.state, "cache=writeback")
        device = "usb-storage" if self.data_on_usb else "virtio-blk-pci"
        words += disk("data", self.disks.data_source(), "cache=writeback,discard=unmap", device)
        words += ["-netdev", f"tap,id=lan,ifname={self.tap},script=no,downscript=no"]
        words += ["-device", f"virtio-net-pci,netdev=lan,mac={board.mac},romfile="]
        words += ["-device", "virtio-rng-pci"]
        return words


def disk(name, path, options, device="virtio-blk-pci") -> list:
    drive = f"file={path},format=raw,if=none,id=drive-{name},{options}"
    return ["-drive", drive, "-device", f"{device},id={name},drive=drive-{name},serial=dustfs-{name}"]


class Console:
    """A box's shell on its serial port. What the box says is taken at once, or it would wait to say more."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._number = 0
        self._said = bytearray()
        self._more = threading.Condition()
        self._closed = False
        self._open = False
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self):
        # Ends the listener's wait as well.
        self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def run(self, command: str, limit_s: float):
        """What the command printed, and its exit code. Asks again until the shell is there."""
        end = time.monotonic() + limit_s
        self._await_shell(end)
        self._number += 1
        # Quotes part the words that are typed from those that are printed.
        self._send(f'echo "+"begin {self._number}"+"; {command}\necho "+"end {self._number} $?"+"\n')
        self._read_until(f"+begin {self._number}+\r\n", end)
        output = self._read_until(f"+end {self._number} ", end)
        code = self._read_until("+", end)
        lines = [line for line in output.splitlines() if not line.startswith('echo "+"')]
        return "\n".join(lines), int(code)

    def _await_shell(self, end):
        if not self._open:
            # A serial port whose driver is not up yet chokes on what is typed.
            self._read_until(OPEN, end)
            self._open = True
        while True:
            self._number += 1
            self._send(f'stty -echo; PS1=; echo "+"ready {self._number}"+"\n')
            try:
                self._read_until(f"+ready {self._number}+", min(end, time.monotonic() + 3))
                return
            except Trouble:
                if time.monotonic() >= end:
                    raise

    def _send(self, text):
        self._connection.sendall(text.encode())

    def _listen(self):
        while True:
            try:
                said = self._connection.recv(4096)
            except OSError:
                said = b""
            with self._more:
                self._said += said
                self._closed = not said
                self._more.notify_all()
            if not said:
                return

    def _read_until(self, mark: str, end: float) -> str:
        """Everything before the mark, which is taken as well."""
        found = mark.encode()
        with self._more:
            while (at := self._said.find(found)) < 0:
                left = end - time.monotonic()
                if left <= 0 or self._closed or len(self._said) > OUTPUT_MAX:
                    last = bytes(self._said[-300:]).decode(errors="replace")
                    raise Trouble(f"the console did not say {mark.strip()!r}, but: {last.strip()}")
                self._more.wait(left)
            before = bytes(self._said[:at])
            del self._said[: at + len(found)]
        return before.decode(errors="replace")
