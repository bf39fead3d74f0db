"""A person at the box's page: signs in by code and press, puts files on it and takes them off."""

import hashlib
import http.client
import json
import time
from urllib.parse import quote

from .trouble import Trouble

PORT = 80
# Bytes in one piece of an upload.
PIECE = 65536


class Page:
    """The page of one box, with the cookie of a session once there is one."""

    def __init__(self, address: str, limit_s: float = 60):
        self.address = address
        self.limit_s = limit_s
        self.cookie = None

    def answers(self) -> bool:
        """True when the page is there."""
        try:
            return self._ask("GET", "/", limit_s=3)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def ask_to_sign_in(self) -> tuple:
        """The question's id and the code that the page shows for it."""
        answer = self.call("POST", "/v1/signin", {})
        return answer["id"], str(answer["code"])

    def signed_in(self, question: str) -> bool:
        """True when the question was answered by a press; the session's cookie is kept."""
        status, headers, body = self._ask("GET", f"/v1/signin/{question}")
        state = json.loads(body).get("state")
        if status != 200 or state == "refused":
            raise Trouble(f"signing in to {self.address} was refused: {told(body)}")
        if state == "allowed":
            self.cookie = headers["Set-Cookie"].split(";")[0]
        return state == "allowed"

    def call(self, method: str, path: str, content=None) -> dict:
        """A call of the API."""
        body = None if content is None else json.dumps(content).encode()
        status, _, answer = self._ask(method, path, body, {"Content-Type": "application/json"})
        if status >= 300:
            raise Trouble(f"{method} {path} on {self.address} gave {status}: {told(answer)}")
        return json.loads(answer or b"{}")

    def put(self, path: str, content: bytes, progress=None):
        """Puts a file; returns when the box has acknowledged it. `progress` is told each number of bytes sent."""
        connection = self._connection(self.limit_s)
        try:
            connection.putrequest("PUT", "/files/" + quote(path))
            connection.putheader("Content-Length", str(len(content)))
            if self.cookie:
                connection.putheader("Cookie", self.cookie)
            connection.endheaders()
            try:
                for at in range(0, len(content), PIECE):
                    connection.send(content[at : at + PIECE])
                    if progress:
                        progress(min(at + PIECE, len(content)))
            except (BrokenPipeError, ConnectionResetError):
                # A refusal may come before the end, and is read below.
                pass
            response = connection.getresponse()
            answer = response.read()
            if response.status not in (200, 201, 204):
                raise Trouble(f"PUT {path} on {self.address} gave {response.status}: {told(answer)}")
        finally:
            connection.close()

    def sha256(self, path: str) -> str:
        """The SHA-256 of what the page gives for a file."""
        connection = self._connection(self.limit_s)
        try:
            connection.request("GET", "/files/" + quote(path), headers=self._session())
            response = connection.getresponse()
            if response.status != 200:
                raise Trouble(f"GET {path} on {self.address} gave {response.status}: {told(response.read(4096))}")
            digest = hashlib.sha256()
            while piece := response.read(PIECE):
                digest.update(piece)
            return digest.hexdigest()
        finally:
            connection.close()

    def _connection(self, limit_s):
        return http.client.HTTPConnection(self.address, PORT, timeout=limit_s)

    def _session(self) -> dict:
        return {"Cookie": self.cookie} if self.cookie else {}

    def _ask(self, method, path, body=None, headers=None, limit_s=None):
        connection = self._connection(limit_s or self.limit_s)
        try:
            connection.request(method, path, body, {**(headers or {}), **self._session()})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()


def told(answer: bytes) -> str:
    try:
        return json.loads(answer)["error"]
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode(errors="replace")


def wait_until(holds, limit_s: float, what: str, every_s: float = 0.2):
    """Waits until `holds()` gives something true, which is returned; after the limit it is trouble that it does not."""
    end = time.monotonic() + limit_s
    while True:
        answer = holds()
        if answer:
            return answer
        if time.monotonic() >= end:
            raise Trouble(f"{what() if callable(what) else what}, after {limit_s:.0f} s")
        time.sleep(every_s)
