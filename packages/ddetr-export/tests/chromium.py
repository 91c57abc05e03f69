"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
_PATIENCE_SECONDS = 60
_COMPLAINTS = ("error", "warning", "assert")
# Elements that reach beyond the window's right edge, and none around them scrolls; and the page.
_WIDER_THAN_WINDOW = """(() => {
  const width = document.documentElement.clientWidth;
  const scrolls = e => e && (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX)
    || scrolls(e.parentElement));
  const wide = [...document.body.querySelectorAll("*")].filter(e =>
    e.getBoundingClientRect().right > width + 1 && !scrolls(e.parentElement));
  const names = wide.map(e => e.tagName + " " + e.getBoundingClientRect().right);
  return document.documentElement.scrollWidth > width ? ["page", ...names] : names;
})()"""


def find_chromium() -> str | None:
    """The browser's program, if there is one."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """One page of one browser; it keeps what the console says and what the network is asked for."""

    def __init__(self, program: str, profile: Path) -> None:
        command = [program, *_OPTIONS, "--remote-allow-origins=*", f"--user-data-dir={profile}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([*command, "about:blank"], **quiet)
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []  # of the console: errors, warnings and exceptions
        self.requests: list[str] = []  # addresses, of pages too
        self._socket = self._connect(profile / "DevToolsActivePort")
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")

    def _connect(self, port_file: Path) -> Any:
        import websocket

        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (port_file.exists() and len(port_file.read_text().splitlines()) == 2):
            assert time.monotonic() < deadline, "the browser did not start"
            time.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as reply:
                pages = [each for each in json.load(reply) if each["type"] == "page"]
            if pages:
                return websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=60)
            time.sleep(0.05)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            self._note(answer.get("method", ""), answer.get("params", {}))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _note(self, event: str, content: dict[str, Any]) -> None:
        """Keep what an event complains of, or asks the network for."""
        if event == "Runtime.consoleAPICalled" and content["type"] in _COMPLAINTS:
            self.complaints.append(str([each.get("value") for each in content["args"]]))
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(content["exceptionDetails"]))
        elif event == "Log.entryAdded" and content["entry"]["level"] in _COMPLAINTS:
            entry = content["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        elif event == "Network.requestWillBeSent":
            address = content["request"]["url"]
            self.requests += [] if address.startswith("data:") else [address]

    def reset(self) -> None:
        """Leave the page, and forget what was said and asked for."""
        self.call("Emulation.clearDeviceMetricsOverride")
        self.call("Page.navigate", url="about:blank")
        self.wait_for("document.readyState === 'complete' && location.href === 'about:blank'")
        self.complaints.clear()
        self.requests.clear()

    def resize(self, width: int, height: int = 844, *, is_phone: bool = False) -> None:
        """Show the page in a window of that many CSS pixels; a phone's has a finger for a mouse."""
        scale = 2 if is_phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=is_phone,
        )

    def overflow(self) -> list[str]:
        """Name what is wider than the window, but for boxes that scroll by themselves."""
        found: list[str] = self.evaluate(_WIDER_THAN_WINDOW)
        return found

    def evaluate(self, script: str) -> Any:
        """Give the value of a JavaScript expression."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Wait until a JavaScript expression is true, and give its value."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (value := self.evaluate(script)):
            assert time.monotonic() < deadline, f"in vain: {script}"
            time.sleep(0.05)
        return value

    def open(self, address: str) -> None:
        """Load a page."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def press(self, key: str, code: int) -> None:
        """Press a key of the keyboard, by its name and its code in Windows."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def drop_file(self, path: Path, x: float, y: float) -> None:
        """Drag a file over the page and let it go there."""
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def choose_file(self, path: Path, selector: str) -> None:
        """Put a file into an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, *, whole: bool = False) -> bytes:
        """The window, or the whole page, as a PNG file's content."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=_PATIENCE_SECONDS)
