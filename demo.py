"""A page on which one watches an adapter: type a text, drag time, rank and strength, and see the answer move.

`anatomy.dial.Dial` answers, `drawing.watching` draws; here is only what Gradio needs. It listens on this machine alone.
"""

import ipaddress
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from anatomy.dial import STRONGEST, Dial
from drawing import watching
from drawing.svg import DARK, LIGHT
from training.device import DEVICES, choose_place
from training.errors import UsageError, run_door, visible
from training.settings import check_range, option, parse

EXAMPLES = """examples:
  pip install -r requirements-demo.txt
  python demo.py runs/tiny              then open the address that it prints
  python demo.py runs/write --port 8000"""
MOST = 4000  # characters of a text that are read; the model reads fewer still
SYSTEM = ["system-ui", "Segoe UI", "Roboto", "sans-serif"]  # fonts: the browser's own, so that none is fetched
TEXT = "Congratulations! You won"
PROMPT = "See you"


@dataclass(frozen=True)
class DemoConfig:
    run: str | None = option(None, "directory of a run that train.py has left", group="what", positional=True)
    model: str | None = option(None, "the base, where it is not found by itself", group="model")
    device: str = option("cpu", "where to compute", group="machine", choices=DEVICES)
    host: str = option("127.0.0.1", "where to listen; 0.0.0.0 lets other machines in", group="machine")
    port: int = option(7860, "0 takes a free one", group="machine")

    def __post_init__(self) -> None:
        check_range(self, ("port",), 0, below=65536)


def main(config: DemoConfig) -> None:
    choose_place(config.device, "fp32")  # a wrong flag, and a missing library, are told before anything is loaded
    load_gradio()
    listener = listen(config.host, config.port)
    with listener:
        app = application(page(Watch(Dial(config.run, config.device, config.model))), config.host)
        print(f"open {address(*listener.getsockname()[:2])} in a browser (Ctrl-C ends it)", flush=True)
        serve(app, listener)


def load_gradio() -> Any:
    """The library, told first to report nothing to anybody; raises UsageError where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError:
        raise UsageError("the demo needs gradio: pip install -r requirements-demo.txt") from None
    return gradio


class Watch:
    """A dial and what the page asks of it."""

    def __init__(self, dial: Any):
        self.dial, self.writes = dial, dial.task == "language"
        self.start = dial.steps.index(dial.best), max(dial.ranks), 1.0  # time, rank, strength
        # How far each layer's axis must reach, so that one sees singular values move and not axes.
        self.tops: dict[str, float] = {}
        for row in (row for step in dial.steps for row in dial.spectrum(step, None, STRONGEST)):
            self.tops[row["layer"]] = max(self.tops.get(row["layer"], 0.0), *row["singular_values"])

    def look(self, text: str, time: float, rank: float, strength: float) -> str:
        """HTML for one position of the sliders."""
        text, long = self.read(text), len(text) > MOST
        step, where = self.position(time, rank, strength)
        if not text.strip() and not self.writes:
            return watching.nothing("Type a text above, and the answer stands here.")
        try:
            values = watching.spectra(self.dial.spectrum(step, int(rank), strength), self.tops)
            if self.writes:
                following, cut = self.dial.next_tokens(text, step, int(rank), strength)
                return watching.written(following, values, where, long or cut)
            answer = self.dial.answer(text, step, int(rank), strength)
        except ValueError as error:  # a text that this run refuses
            return watching.nothing(visible(str(error)))
        return watching.classified(answer | {"cut": long or answer["cut"]}, values, where)

    def write(self, prompt: str, time: float, rank: float, strength: float, seed: float | None) -> str:
        """HTML of two lines with the same draws: the base's and that of the sliders. Any number is a seed, and none
        is 0."""
        step, _ = self.position(time, rank, strength)
        draws = int(seed or 0) % 2**63
        lines = [self.dial.sample(self.read(prompt), step, int(rank), s, draws) for s in (0.0, strength)]
        return watching.sample(*lines)

    def read(self, text: str) -> str:
        """What of a long text goes to the model: of a prompt the end."""
        return text[-MOST:] if self.writes else text[:MOST]

    def position(self, time: float, rank: float, strength: float) -> tuple[int, str]:
        """The step at a place of the slider, and the sliders in words."""
        step = self.dial.steps[int(time)]
        best = " (the best)" if step == self.dial.best_step else ""
        when = f"step {step}{best} of {self.dial.steps[-1]}" if self.dial.steps != [0] else "as it was saved"
        return step, f"{when}, rank {int(rank)}, strength {strength:g}"


def page(watch: Watch) -> Any:
    """The Blocks: a text, three sliders, and one field of HTML."""
    gradio = load_gradio()
    dial, writes = watch.dial, watch.writes
    text = PROMPT if writes else TEXT
    quick = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    with gradio.Blocks(title="Watch an adapter", analytics_enabled=False, fill_width=True) as blocks:
        gradio.Markdown("# Watch an adapter\nThe base and what was learned on it, side by side.")
        typed = gradio.Textbox(text, label="Prompt" if writes else "Text", lines=2, max_lines=6, elem_id="text")
        with gradio.Row():
            sliders = [
                gradio.Slider(0, max(1, len(dial.steps) - 1), watch.start[0], step=1, label="Time", elem_id="time",
                              info="which snapshot", interactive=len(dial.steps) > 1),
                gradio.Slider(min(dial.ranks), max(2, *dial.ranks), max(dial.ranks), step=1, label="Rank",
                              elem_id="rank", info="directions kept", interactive=len(dial.ranks) > 1),
                gradio.Slider(0, STRONGEST, 1, step=0.05, label="Strength", elem_id="strength",
                              info="0: the base, 1: as trained"),
            ]  # fmt: skip
        asked = [typed, *map(lenient, sliders)]
        shown = gradio.HTML(safe(watch.look(text, *watch.start)), elem_id="answer")
        # Not `input`: a text's knows nothing of what is deleted or pasted, a slider's nothing of its reset.
        gradio.on([part.change for part in asked], lambda *values: safe(watch.look(*values)), asked, shown,
                  trigger_mode="always_last", **quick)  # fmt: skip
        if writes:
            with gradio.Row():
                seed = gradio.Number(0, label="Seed of the draws", precision=0, elem_id="seed")
                button = gradio.Button("Write a line", elem_id="write")
            line = gradio.HTML(elem_id="line")
            button.click(lambda *values: safe(watch.write(*values)), [*asked, seed], line, **quick)
    return blocks


def lenient(slider: Any) -> Any:
    """A slider whose number one may delete, or type too large: then it stands at its start, or at its end. Gradio's
    own refuses, with an error of the server."""
    within, start = slider.preprocess, slider.value
    ends = slider.minimum, slider.maximum
    slider.preprocess = lambda value: within(min(max(start if value is None else value, ends[0]), ends[1]))
    return slider


def safe(html: str) -> str:
    """Gradio takes the text for a template; what would steer it becomes a character reference."""
    return html.replace("{", "&#123;").replace("$", "&#36;").replace("`", "&#96;")


def application(blocks: Any, host: str) -> Any:
    """The ASGI application: Gradio's, behind a doorman who reads the Host header."""
    gradio = load_gradio()
    import fastapi

    theme = gradio.themes.Default(font=SYSTEM, font_mono=["ui-monospace", "monospace"])
    theme = theme.set(block_info_text_color=LIGHT["soft"], body_text_color_subdued=LIGHT["soft"],
                      block_info_text_color_dark=DARK["soft"], body_text_color_subdued_dark=DARK["soft"])  # fmt: skip
    app = gradio.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None), blocks, path="", footer_links=[], theme=theme,
        head=f"<style>{watching.CSS}</style>", ssr_mode=False, pwa=False, mcp_server=False, show_error=True,
    )  # fmt: skip
    return only_for(app, lambda asked: is_ours(asked, host))


def only_for(app: Callable[..., Awaitable[None]], ours: Callable[[str], bool]) -> Callable[..., Awaitable[None]]:
    """`app` for requests to us. A page from elsewhere whose name was bent to this machine (DNS rebinding) names
    itself in the Host header, and gets nothing."""

    async def doorman(scope: Any, receive: Any, send: Any) -> None:
        hosts = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
        if scope["type"] == "lifespan" or (len(hosts) == 1 and ours(hosts[0])):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": b"This address is not the one that demo.py printed.\n"})

    return doorman


def is_ours(asked: str, host: str) -> bool:
    """Whether a Host header names this machine. Where others are let in, any number does: no rebinding uses one."""
    name = asked[1 : asked.find("]")] if asked.startswith("[") else asked.rsplit(":", 1)[0]
    if name.lower() in ("localhost", host.lower()):
        return True
    try:
        number = ipaddress.ip_address(name)
    except ValueError:
        return not is_loopback(host) and name.lower() == socket.gethostname().lower()
    return number.is_loopback or not is_loopback(host)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound; raises UsageError where that is not possible."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UsageError(f"--host {host} --port {port}: {error.strerror or error}; give others") from None


def address(host: str, port: int) -> str:
    """What to type into a browser on this machine."""
    number = ipaddress.ip_address(host)
    if number.is_unspecified:  # 0.0.0.0 and :: listen everywhere, and are nowhere
        number = ipaddress.ip_address("127.0.0.1" if number.version == 4 else "::1")
    return f"http://{f'[{number}]' if number.version == 6 else number}:{port}"


def serve(app: Any, listener: socket.socket) -> None:
    """Until Ctrl-C; pages that are still open get a second."""
    import uvicorn

    uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)).run(sockets=[listener])


if __name__ == "__main__":
    words = {"prog": "demo.py", "description": __doc__.split("\n\n")[0], "epilog": EXAMPLES}
    sys.exit(run_door(lambda: main(parse(DemoConfig, sys.argv[1:], **words)), lighter="a smaller base"))
