"""A headless Chromium that opens one page, driven over a pipe by the DevTools protocol: no port, no library."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""Where it is; None where there is none."""

OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
    "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """A page in Chromium, with every request and every complaint noted."""

    def __init__(self, commands: int, answers: BinaryIO) -> None:
        self._commands, self._answers = commands, answers
        self._number, self._session = 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send("Page.setLifecycleEventsEnabled", enabled=True)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, note what happens until its answer comes."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def open(self, path: Path, width: int, height: int = 900, scheme: str = "light") -> None:
        """Show a file at a width, in CSS pixels, in a light or dark colour scheme."""
        self.visit(path.resolve().as_uri(), width, height, scheme)

    def visit(self, address: str, width: int, height: int = 900, scheme: str = "light") -> None:
        """Show what is at an address, as `open` does."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        loader = self.send("Page.navigate", url=address)["loaderId"]
        while not _is_load_of(loader, event := self._next()):  # not of the blank page before it
            self._note(event)

    def value(self, expression: str) -> Any:
        """Evaluate JavaScript in the page, past its policy."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 30) -> Any:
        """Evaluate JavaScript until it is true, and give its value."""
        end = time.monotonic() + seconds
        while not (value := self.value(expression)):
            text = self.value("document.body.innerText.slice(0, 500)")
            assert time.monotonic() < end, f"never true: {expression}; {self.complaints}; the page says: {text}"
            time.sleep(0.05)
        return value

    def drop(self, file: Path, x: int, y: int, further: int = 0) -> None:
        """Drop a file on a place of the page, in CSS pixels, once the page shows that it would take one there.

        `further` down, it falls the moment it crosses into what is there.
        """
        where = {"x": x, "y": y, "data": {"items": [], "files": [str(file)], "dragOperationsMask": 1}}
        self.send("Input.dispatchDragEvent", type="dragEnter", **where)
        end = time.monotonic() + 30
        while not self.value("document.querySelector('.over') !== null"):
            assert time.monotonic() < end, f"{file} is over the page, which does not show it; {self.complaints}"
            self.send("Input.dispatchDragEvent", type="dragOver", **where)
        self.send("Input.dispatchDragEvent", type="drop", **where | {"y": y + further})

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key, such as Tab with the code 9; `text` is what it types."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.send("Input.dispatchKeyEvent", type="keyUp", **named)

    def screenshot(self, path: Path) -> None:
        """Write the whole page as a PNG file."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path: Path) -> None:
        """Print the page on A4."""
        sheet = self.send(
            "Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True, preferCSSPageSize=True
        )
        path.write_bytes(base64.b64decode(sheet["data"]))

    def _next(self) -> dict[str, Any]:
        letters = bytearray()
        while (letter := self._answers.read(1)) != b"\0":
            assert letter, "Chromium has gone"
            letters += letter
        return dict(json.loads(letters))

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(params)[:500])


def _is_load_of(loader: str, event: dict[str, Any]) -> bool:
    params = event.get("params", {})
    return event.get("method") == "Page.lifecycleEvent" and (params["name"], params["loaderId"]) == ("load", loader)


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a fresh profile, and end it."""
    assert CHROMIUM is not None
    (read_commands, write_commands), (read_answers, write_answers) = os.pipe(), os.pipe()
    answers = os.fdopen(read_answers, "rb")
    words = [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}"]
    redirected = [
        "bash",
        "-c",
        f'exec "$@" 3<&{read_commands} 4>&{write_answers}',
        "chromium",
        *words,
    ]  # it reads 3, writes 4
    with subprocess.Popen(
        redirected, pass_fds=(read_commands, write_answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(read_commands)
        os.close(write_answers)
        try:
            browser = Browser(write_commands, answers)
            yield browser
            with contextlib.suppress(AssertionError, OSError):
                browser.send("Browser.close")
        finally:
            process.terminate()
            os.close(write_commands)
            answers.close()
