"""Look inside a run: one HTML file with pictures of how it trained, what it learned, and where it errs.

`anatomy.report` computes the numbers, `drawing` draws them; the file needs no network and no script.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import drawing
from anatomy.report import report
from training.device import DEVICES, choose_place
from training.errors import UsageError, run_door
from training.files import check_target, write_atomically
from training.report import terminal_width
from training.settings import option, parse

EXAMPLES = """examples:
  python explain.py runs/tiny                                    writes runs/tiny/report.html
  python explain.py runs/tiny --text "Congratulations! You won"  one text, step by step, as well
  python explain.py runs/tiny --full runs/full                   beside a run of --train full
  python explain.py runs/tiny --plain                            tables on the screen"""


@dataclass(frozen=True)
class ExplainConfig:
    run: str | None = option(None, "directory of a run that train.py has left", group="what", positional=True)
    full: str | None = option(None, "a run of --train full to compare the updates with", group="what")
    text: str | None = option(None, "show this text on its way through the model, too", group="what")
    model: str | None = option(None, "the base, where it is not found by itself", group="model")
    output: str | None = option(None, "file to write; default report.html in RUN", group="files")
    json: str | None = option(None, "write the numbers to this file, too", group="files")
    plain: bool = option(False, "tables on standard output instead of the file", group="files")
    device: str = option("auto", "where to compute", group="machine", choices=DEVICES)

    def __post_init__(self) -> None:
        if self.plain and self.output is not None:
            raise UsageError("--plain prints tables; --output takes the page: leave one of them out")
        if self.text is not None and not self.text.strip():
            raise UsageError("--text: is empty; give a text to look at")
        check_target("--json", self.json, self.page, "the file that takes the page")
        check_target("--output", self.page)

    @property
    def page(self) -> Path | None:
        """Where the HTML goes."""
        if self.output is not None:
            return Path(self.output)
        return None if self.plain or self.run is None else Path(self.run) / "report.html"


def main(config: ExplainConfig) -> None:
    choose_place(config.device, "fp32")  # a wrong flag is told before anything is loaded
    found = report(config.run, config.full, config.text, tell, config.model, config.device)
    if config.json is not None:
        write_atomically(Path(config.json), json.dumps(found, indent=2, allow_nan=False) + "\n")
    title, lead, sections = drawing.title(found), drawing.lead(found), drawing.sections(found)
    if config.plain:
        print(drawing.plain(title, lead, sections, terminal_width()), end="")
        return
    write_atomically(config.page, drawing.page(title, lead, sections))
    print(f"written to {config.page}: open it in a browser")


def tell(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    words = {"prog": "explain.py", "description": __doc__.split("\n\n")[0], "epilog": EXAMPLES}
    sys.exit(run_door(lambda: main(parse(ExplainConfig, sys.argv[1:], **words)), lighter="a shorter --text"))
