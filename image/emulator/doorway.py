"""Lets a browser on this machine reach the boxes' pages: ports on 127.0.0.1 that lead into the boxes' namespace.

One process stays outside and takes connections; it hands them, open, through a Unix socket to the emulator inside,
which connects each to its box. Neither root nor a route between the namespaces is needed.
"""

import os
import signal
import socket
import threading

from .page import PORT

PIECE = 65536


def open_outside(ports) -> tuple:
    """Starts the outer process. Returns the inner end of its socket, and the ports that were taken for those asked."""
    listeners = [listener(port) for port in ports]
    inner, outer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        inner.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os._exit(serve(listeners, outer))
    outer.close()
    taken = [listener.getsockname()[1] for listener in listeners]
    for listening in listeners:
        listening.close()
    os.set_inheritable(inner.fileno(), True)
    return inner, taken


def listener(port) -> socket.socket:
    """On the port, or on a free one where it is taken."""
    for wanted in (port, 0):
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", wanted))
            listening.listen()
            return listening
        except OSError:
            listening.close()
    raise OSError("no port is free on 127.0.0.1")


def serve(listeners, outer) -> int:
    """Hands connections in until nobody is there to take them."""
    for number, listening in enumerate(listeners):
        threading.Thread(target=accept, args=(number, listening, outer), daemon=True).start()
    # The inner end says nothing: this returns when it is closed.
    outer.recv(1)
    return 0


def accept(number, listening, outer):
    while True:
        connection, _ = listening.accept()
        try:
            socket.send_fds(outer, [bytes([number])], [connection.fileno()])
        except OSError:
            pass
        connection.close()


class Doorway:
    """The inner end: connects each connection that is handed in to the page of its box."""

    def __init__(self, inner: int, addresses):
        self._inner = socket.socket(fileno=inner)
        self._addresses = list(addresses)
        threading.Thread(target=self._take, daemon=True).start()

    def close(self):
        self._inner.close()

    def _take(self):
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(self._inner, 1, 1)
            except OSError:
                return
            if not message:
                return
            for fd in fds:
                threading.Thread(target=self._join, args=(message[0], socket.socket(fileno=fd)), daemon=True).start()

    def _join(self, number, browser):
        with browser:
            try:
                box = socket.create_connection((self._addresses[number], PORT), timeout=10)
            except OSError:
                return
            with box:
                box.settimeout(None)
                back = threading.Thread(target=pump, args=(box, browser), daemon=True)
                back.start()
                pump(browser, box)
                back.join()


def pump(source, sink):
    """Everything that comes, until its end, which is handed on."""
    try:
        while piece := source.recv(PIECE):
            sink.sendall(piece)
    except OSError:
        pass
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
