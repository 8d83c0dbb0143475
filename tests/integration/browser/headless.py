"""A headless Chromium, driven over a pipe by its own protocol: no driver, no further package.

Protocol: https://chromedevtools.github.io/devtools-protocol/ (`--remote-debugging-pipe`: JSON, ended by a NUL byte).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
_SECONDS = 60.0


def program() -> str | None:
    """The browser that is installed here."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Seen:
    """What a page did while it was shown."""

    title: str = ""
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    width: int = 0
    overflowing: list[str] = field(default_factory=list)
    text: str = ""


class Browser:
    """One tab."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda m: m.get("id") == number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def run(self, script: str) -> Any:
        """The value of a script in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    def show(self, url: str, width: int, dark: bool = False) -> Seen:
        """Open a page in a window of ``width`` pixels and look at it."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.events.clear()
        self.call("Page.navigate", url=url)
        self._until(lambda m: m.get("method") == "Page.loadEventFired", self.events)
        seen = Seen(title=self.run("document.title"), text=self.run("document.body.innerText"))
        seen.width = self.run("document.documentElement.scrollWidth")
        seen.overflowing = self.run(_OVERFLOWING)
        seen.problems, seen.requests = self.problems(), self.requests()
        return seen

    def problems(self) -> list[str]:
        """Errors and warnings of the console, and exceptions, since the page was opened."""
        found = []
        for event in self.events:
            parameters = event.get("params", {})
            if event["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
            elif event["method"] == "Runtime.exceptionThrown":
                found.append(parameters["exceptionDetails"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
                found.append(str(parameters["args"]))
        return found

    def requests(self) -> list[str]:
        """Addresses that the page asked for since it was opened."""
        sent = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def wait(self, script: str) -> None:
        """Until a script is true in the page."""
        deadline = time.monotonic() + _SECONDS
        while not self.run(script):
            if time.monotonic() > deadline:
                raise TimeoutError(script)
            time.sleep(0.05)

    def _until(
        self, wanted: Callable[[dict[str, Any]], bool], known: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        for event in known or ():
            if wanted(event):
                return event
        deadline = time.monotonic() + _SECONDS
        while True:
            while b"\0" in self._buffer:
                text, self._buffer = self._buffer.split(b"\0", 1)
                message: dict[str, Any] = json.loads(text)
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._answers, 1 << 20) if ready else b""
            if not chunk:
                raise TimeoutError("the browser does not answer")
            self._buffer += chunk


#: What sticks out of the window and is not inside something that scrolls by itself.
_OVERFLOWING = """
[...document.querySelectorAll("body *")].filter(node => {
  if (node.getBoundingClientRect().right <= document.documentElement.clientWidth + 1) return false;
  for (let up = node; up && up !== document.body; up = up.parentElement)
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(up).overflowX) || up.tagName === "svg") return false;
  return true;
}).slice(0, 5).map(node => node.outerHTML.slice(0, 120))
"""


#: The browser takes commands from descriptor 3 and answers on 4, whatever numbers the pipes have here.
_LAUNCH = """
import fcntl, os, sys
command, answer = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(command, 3)
os.dup2(answer, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start the installed browser with a fresh profile; it ends with the block."""
    found = program()
    if found is None:
        raise RuntimeError("no Chromium or Chrome is installed")
    read_command, commands = os.pipe()
    answers, write_answer = os.pipe()
    line = [sys.executable, "-c", _LAUNCH, str(read_command), str(write_answer), found]
    line += [*FLAGS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        line, pass_fds=(read_command, write_answer), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(read_command)
    os.close(write_answer)
    try:
        yield Browser(commands, answers)
    finally:
        os.close(commands)  # the browser ends when nobody commands it
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(answers)
