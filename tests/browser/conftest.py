"""Chromium without a window, for the tests of the report and of the demo.

From Debian's packages chromium and chromium-driver (they are of one version); driven with selenium, which speaks the
standard protocol to that driver. Without one of the three the tests skip and say so.
"""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.browser import serving
from tests.conftest import ROOT

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Other machines stay out of reach. This one must not: the browser's driver and the pages are on it."""
    monkeypatch.setattr(socket.socket, "connect", serving.only_here)
    monkeypatch.setattr(socket, "getaddrinfo", serving.names)


class Browser:
    """A driver with what the tests ask of it."""

    def __init__(self, driver):
        self.driver, self.asked = driver, []

    def open(self, address: str, width: int = 1100, height: int = 900, dark: bool = False) -> None:
        self.size(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(address)

    def size(self, width: int, height: int = 900) -> None:
        """Of the page itself, as on a telephone of that width."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def css(self, selector: str):
        return self.driver.find_elements("css selector", selector)

    def until(self, ready, seconds: float = 20):
        """What `ready()` gives once that is true."""
        end = time.monotonic() + seconds
        while not (found := ready()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)
        return found

    def requests(self) -> list[str]:
        """All addresses that pages have asked for since the start, and that is every one: also what was refused."""
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

    def faint(self, within: str) -> list:
        """Texts of elements in `within` with a contrast under WCAG's AA: [contrast, colours, text]."""
        return self.run((Path(__file__).parent / "contrast.js").read_text(encoding="utf-8"), within)


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser (requirements-dev.txt)")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    service = shutil.which("chromedriver")
    if not chromium or not service:
        pytest.skip("no Chromium with its driver here (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    yield started
    started.quit()


@pytest.fixture
def browser(driver) -> Browser:
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get_log("performance")
    return Browser(driver)


class Served:
    """A demo in a process of its own: its address, and what it has said."""

    def __init__(self, what: str):
        command = [sys.executable, "-W", "ignore", "-m", "tests.browser.serving", what]
        self.said: list[str] = []
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stdout))
        self.reader.start()
        end = time.monotonic() + 120
        while not (found := re.search(r"open (http://\S+)", "".join(self.said))):
            assert self.process.poll() is None and time.monotonic() < end, "".join(self.said)
            time.sleep(0.05)
        self.address = f"{found[1]}/"

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        self.reader.join(20)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def demo_of():
    """demo_of(what): a Served demo of that dial of dials.py, or of the run in that directory; one of each."""
    pytest.importorskip("gradio", reason="the demo needs gradio (requirements-demo.txt)")
    served: dict[str, Served] = {}

    def start(what: str) -> Served:
        if what not in served:
            served[what] = Served(what)
        return served[what]

    yield start
    for each in served.values():
        each.end()
