"""Chromium, for the tests of the report and of the demo; without it, or without selenium, they skip and say so."""

import socket
import sys
from pathlib import Path

import pytest

from scripts.chromium import Browser, Served, start
from tests.browser import serving
from training.errors import UsageError

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Other machines stay out of reach. This one must not: the browser's driver and the pages are on it."""
    monkeypatch.setattr(socket.socket, "connect", serving.only_here)
    monkeypatch.setattr(socket, "getaddrinfo", serving.names)


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    try:
        started = start(tmp_path_factory.mktemp("chromium"))
    except UsageError as error:
        pytest.skip(str(error))
    yield started
    started.quit()


@pytest.fixture
def browser(driver) -> Browser:
    return Browser(driver)


@pytest.fixture
def faint(browser):
    """faint(selector): texts there with a contrast under WCAG's AA, as [contrast, colours, text]."""
    return lambda selector: browser.run(CONTRAST, selector)


@pytest.fixture(scope="session")
def demo_of():
    """demo_of(what): a Served demo of that dial of dials.py, or of the run in that directory; one of each."""
    pytest.importorskip("gradio", reason="the demo needs gradio (requirements-demo.txt)")
    served: dict[str, Served] = {}

    def start(what: str) -> Served:
        if what not in served:
            served[what] = Served([sys.executable, "-W", "ignore", "-m", "tests.browser.serving", what])
        return served[what]

    yield start
    for each in served.values():
        each.end()
