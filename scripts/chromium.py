"""Chromium without a window: for the tests of pages, and for pictures of them.

From Debian's packages chromium and chromium-driver (they are of one version); driven with selenium, which speaks the
standard protocol to that driver.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from training.errors import UsageError  # noqa: E402

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")


def start(profile: Path) -> Any:
    """A selenium driver; `profile` is a fresh directory. Raises UsageError that names what is not here."""
    try:
        from selenium import webdriver
    except ImportError:
        raise UsageError("selenium drives the browser: pip install -r requirements-dev.txt") from None
    chromium, service = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not service:
        raise UsageError("no Chromium with its driver here (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(service))


class Browser:
    """A driver with what is asked of it here."""

    def __init__(self, driver: Any):
        self.driver, self.asked = driver, []
        driver.get("about:blank")
        for log in ("browser", "performance"):  # of the start, and of pages before
            driver.get_log(log)

    def open(self, address: str, width: int = 1100, height: int = 900, dark: bool = False) -> None:
        self.size(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(address)

    def size(self, width: int, height: int = 900) -> None:
        """Of the page itself, as on a telephone of that width."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def css(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def until(self, ready: Callable[[], Any], seconds: float = 20) -> Any:
        """What `ready()` gives once that is true."""
        end = time.monotonic() + seconds
        while not (found := ready()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)
        return found

    def requests(self) -> list[str]:
        """All addresses that pages have asked for so far, also what was refused."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.asked.append(message["params"]["request"]["url"])
        return self.asked

    def complaints(self) -> list[str]:
        """What the console has said since the last call, warnings left out."""
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]

    def too_wide(self) -> int:
        """Pixels by which the page is wider than its window."""
        return self.run("return document.documentElement.scrollWidth - window.innerWidth")


class Served:
    """A server in a process of its own: its address, which it prints, and all that it has said."""

    def __init__(self, command: Sequence[str], seconds: float = 120):
        self.said: list[str] = []
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stdout), daemon=True)
        self.reader.start()
        end = time.monotonic() + seconds
        while not (found := re.search(r"open (http://\S+)", "".join(self.said))):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise UsageError("".join(self.said) or "the server says nothing")
            time.sleep(0.05)
        self.address = f"{found[1]}/"

    def end(self) -> int:
        """Ctrl-C, and the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        self.reader.join(20)
        self.process.stdout.close()
        return code
