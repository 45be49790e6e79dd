"""Debian's Chromium without a window, driven by its DevTools protocol: JSON over a WebSocket, by what Python has."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--disable-dev-shm-usage",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip
_PATIENCE = 300.0  # seconds, on a machine that other tenants may hold up
# Keys that the browser itself does something with, and what it takes them by.
_DOING: dict[str, dict[str, Any]] = {
    "Tab": {"windowsVirtualKeyCode": 9},
    "Enter": {"windowsVirtualKeyCode": 13, "text": "\r"},
    "Escape": {"windowsVirtualKeyCode": 27},
}


class Browser:
    """One tab of a browser; it must be closed.

    Attributes:
        complaints: what the page has logged: errors, and what its policy forbids.
    """

    def __init__(self, folder: Path, width: int = 1280, height: int = 860) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if program is None:
            pytest.skip("there is no chromium here")
        self.complaints = list[str]()
        self._number = 0
        self._process = subprocess.Popen(
            [program, *_ARGUMENTS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._connect(folder / "DevToolsActivePort")
        except BaseException:
            self.close()
            raise
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")
        self.size(width, height)

    def _connect(self, said: Path) -> None:
        end = time.monotonic() + _PATIENCE
        while not said.exists() or said.read_text().count("\n") < 1:
            assert time.monotonic() < end, "chromium does not start"
            time.sleep(0.05)
        port = int(said.read_text().split("\n")[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            (tab,) = [each for each in json.load(answer) if each["type"] == "page"]
        path = tab["webSocketDebuggerUrl"].partition(str(port))[2]
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        while self._file.readline() != b"\r\n":
            pass

    def close(self) -> None:
        """End the browser."""
        self._process.kill()
        self._process.wait()

    def command(self, method: str, **parameters: object) -> dict[str, Any]:
        """Return what the browser answers to a command of the protocol."""
        self._number += 1
        data = json.dumps({"id": self._number, "method": method, "params": parameters}).encode()
        length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
        self._socket.sendall(b"\x81" + length + bytes(4) + data)  # masked, as it must be, with zeros
        while (answer := self._message()).get("id") != self._number:
            if answer["method"] in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(answer["params"]))
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _message(self) -> dict[str, Any]:
        content = b""
        while True:
            first, second = self._file.read(2)
            length = second & 127
            if length > 125:
                kind, size = (">H", 2) if length == 126 else (">Q", 8)
                (length,) = struct.unpack(kind, self._file.read(size))
            content += self._file.read(length)
            if first & 0x80:
                message: dict[str, Any] = json.loads(content)
                return message

    def size(self, width: int, height: int, scheme: str = "light") -> None:
        """Set the size of the window in pixels, and what scheme the person prefers."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def go(self, address: str) -> None:
        """Open an address."""
        self.command("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript gives, a promise's value where it is one."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _PATIENCE
        while not self._now(expression):
            assert time.monotonic() < end, f"{expression}: {self.value('document.body.innerText')}"
            time.sleep(0.05)

    def _now(self, expression: str) -> Any:
        """Return what an expression gives, None where the page is left meanwhile: the link's page leads to another."""
        try:
            return self.value(expression)
        except AssertionError as error:
            if "navigated or closed" in str(error) or "context" in str(error):
                return None
            raise

    def mouse(self, *steps: tuple[str, int, int]) -> None:
        """Move the mouse: "mouseMoved", "mousePressed" or "mouseReleased", and where."""
        for kind, x, y in steps:
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def key(self, name: str) -> None:
        """Press a key."""
        further = _DOING.get(name, {})
        for kind in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=kind, key=name, code=name, **further)

    def picture(self, path: Path) -> None:
        """Write what is seen as a PNG, for a person who wants to see what a test has seen."""
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))
