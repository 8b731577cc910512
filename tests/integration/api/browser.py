"""A headless Chromium driven over its own debugging protocol; tests without one are skipped."""

import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

PATIENCE_SECONDS = 20.0


class Page:
    """One open page, as wide as a phone."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        sent = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(sent))
        while True:
            message = json.loads(self._socket.recv(PATIENCE_SECONDS))
            if message.get("id") == self._number:
                assert "error" not in message, message
                found: dict[str, Any] = message["result"]
                return found

    def run(self, script: str) -> Any:
        """What an expression comes to."""
        answer = self.command("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until the expression is true."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.run(condition) is not True:
            assert time.monotonic() < deadline, condition
            time.sleep(0.05)

    def tap(self, words: str, times: int = 1) -> None:
        """Tap the button with those words, as soon as it is there, so often without a pause."""
        button = f"[...document.querySelectorAll('button')].find(x => x.textContent === {words!r})"
        self.wait(f"Boolean({button})")
        self.run(f"((button) => {{ for (let i = 0; i < {times}; i++) button.click(); }})({button})")

    def text(self) -> str:
        return str(self.run("document.body.innerText"))


@contextmanager
def opened(url: str) -> Iterator[Page]:
    """A page at that address, on a screen of 390 by 844 points."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on the PATH")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        browser = subprocess.Popen(
            [program, *flags, f"--user-data-dir={folder}", "about:blank"],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            with connect(_first_page(browser), max_size=None, proxy=None) as socket:
                page = Page(socket)
                phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
                page.command("Emulation.setDeviceMetricsOverride", **phone)
                page.command("Page.navigate", url=url)
                page.wait("location.href !== 'about:blank' && document.readyState === 'complete'")
                yield page
        finally:
            browser.kill()
            browser.wait()


def _first_page(browser: "subprocess.Popen[str]") -> str:
    """Where the browser's first page listens."""
    assert browser.stderr is not None
    for line in browser.stderr:
        _, _, address = line.partition("DevTools listening on ws://")
        if address:
            place = address.split("/")[0].strip()
            request = urllib.request.Request(f"http://{place}/json/new?about:blank", method="PUT")
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310
                return str(json.load(answer)["webSocketDebuggerUrl"])
    raise AssertionError("the browser ended before it listened")
