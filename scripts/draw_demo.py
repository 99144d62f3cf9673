"""A picture of demo.py at work: a text typed, the strength dragged; for README.

pip install -r requirements-demo.txt -r requirements-dev.txt
python scripts/draw_demo.py --run runs/tiny --output docs/images/demo.png
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from chromium import ROOT, Browser, Served, start

from training.errors import run_door
from training.settings import option, parse

WIDTH = 760  # pixels


@dataclass(frozen=True)
class DemoPictureConfig:
    run: str = option("runs/tiny", "directory of a run with snapshots", group="what")
    text: str = option("Congratulations! You won a free ticket, reply YES now", "what is typed", group="what")
    height: int = option(940, "pixels of the page that are shown", group="what")
    output: str = option("demo.png", "picture to write (.png)", group="files")


def main(config: DemoPictureConfig) -> None:
    served = Served([sys.executable, str(ROOT / "demo.py"), config.run, "--port", "0"])
    try:
        with tempfile.TemporaryDirectory() as profile:
            driver = start(Path(profile))
            try:
                draw(Browser(driver), served.address, config)
            finally:
                driver.quit()
    finally:
        served.end()
    print(f"written to {config.output}")


def draw(browser: Browser, address: str, config: DemoPictureConfig) -> None:
    """Type the text, drag the time three snapshots back, and take the picture."""
    left = "\ue012"  # WebDriver's arrow key
    browser.open(address, WIDTH, config.height)
    browser.until(lambda: browser.css("#answer .say"))
    box = browser.css("#text textarea")[0]
    box.clear()
    box.send_keys(config.text)
    for _ in range(3):
        browser.css("#time input[type=range]")[0].send_keys(left)
    last = config.text.split()[-1]
    browser.until(lambda: last in browser.css("#answer .tokens")[-1].text)
    browser.until(lambda: "(the best)" not in browser.css("#answer .soft")[0].text)
    Path(config.output).parent.mkdir(parents=True, exist_ok=True)
    Path(config.output).write_bytes(browser.driver.get_screenshot_as_png())


if __name__ == "__main__":
    words = {"prog": "scripts/draw_demo.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(DemoPictureConfig, sys.argv[1:], **words))))
