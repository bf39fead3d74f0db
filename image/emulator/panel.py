"""Plays a box's front panel from outside: its LED's changes go to an eye, its button goes down and up."""

import json
import socket
import threading
import time

from .eye import Eye
from .trouble import Trouble

# The lines of the ARM box's GPIO controller, as in board/qemu-arm/panel.dts.
LED_LINE = 0
KEY_LINE = 1
# The controller's data register, read with all lines in the mask.
GPIO_DATA = 0x09030000 + (0xFF << 2)

# The bytes of a Synology microP, as in src/panel/microp.rs.
BUTTON_BYTE = b"`"
LIT_BYTES = b"8:"
DARK_BYTE = ord("7")
# A panel tells that a key is still held by the same byte again.
REPEAT_S = 0.1


class GpioPanel:
    """LED and key on lines of a PL061, watched and moved through QEMU's qtest and QMP sockets."""

    def __init__(self, qtest: socket.socket, monitor: socket.socket, eye: Eye):
        self._qtest = qtest
        self._eye = eye
        self._send_lock = threading.Lock()
        self._controller = find_controller(monitor)
        self._send(f"irq_intercept_out {self._controller}")
        self._send(f"readl {GPIO_DATA:#x}")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def down(self):
        self._send(f"set_irq_in {self._controller} unnamed-gpio-in {KEY_LINE} 1")

    def up(self):
        self._send(f"set_irq_in {self._controller} unnamed-gpio-in {KEY_LINE} 0")

    def close(self):
        self._qtest.close()

    def _send(self, line):
        with self._send_lock:
            self._qtest.sendall(line.encode() + b"\n")

    def _read(self):
        try:
            for line in self._qtest.makefile():
                self._take(line.split())
        except OSError:
            pass

    def _take(self, words):
        match words:
            case ["IRQ", edge, line] if int(line) == LED_LINE:
                self._eye.see(edge == "raise")
            case ["OK", value]:
                self._eye.see(bool(int(value, 16) >> LED_LINE & 1))


def qmp(connection: socket.socket):
    """Asks QEMU by its machine protocol: a function of a command and its arguments."""
    stream = connection.makefile("rw")

    def ask(command, **arguments):
        stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        stream.flush()
        while True:
            answer = json.loads(stream.readline())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise Trouble(f"QEMU refuses {command}: {answer['error']}")

    stream.readline()
    ask("qmp_capabilities")
    return ask


def find_controller(connection: socket.socket) -> str:
    """The QMP path of the machine's GPIO controller."""
    ask = qmp(connection)
    for child in ask("qom-list", path="/machine/unattached"):
        if child["type"] == "child<pl061>":
            return f"/machine/unattached/{child['name']}"
    raise Trouble("the machine has no PL061")


class SerialPanel:
    """A microP on the other end of the box's second serial port."""

    def __init__(self, port: socket.socket, eye: Eye):
        self._port = port
        self._eye = eye
        self._held = threading.Event()
        self._closed = False
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._repeat, daemon=True).start()

    def down(self):
        self._held.set()

    def up(self):
        self._held.clear()

    def close(self):
        self._closed = True
        self._held.set()
        self._port.close()

    def _read(self):
        try:
            while received := self._port.recv(256):
                for byte in received:
                    if byte in LIT_BYTES or byte == DARK_BYTE:
                        self._eye.see(byte in LIT_BYTES)
        except OSError:
            pass

    def _repeat(self):
        try:
            while self._held.wait() and not self._closed:
                self._port.sendall(BUTTON_BYTE)
                time.sleep(REPEAT_S)
        except OSError:
            pass
