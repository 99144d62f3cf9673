"""demo.py without a browser: who is let in, and one line where it cannot start."""

import asyncio
import socket
import sys
import types

import pytest

import demo
from tests.browser import dials, serving
from training.errors import UsageError, run_door
from training.settings import parse

LOOPBACK = ("127.0.0.1", "127.0.0.1:7860", "localhost", "LocalHost:7860", "[::1]:7860", "[::1]")
FOREIGN = ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost.evil.example", "", ":7860", "[")
FOREIGN += ("evillocalhost", "evil0.0.0.0")


def outcome(host: str | None, listening: str = "127.0.0.1") -> int:
    """The status that a request with this Host header gets; None: without one."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    headers = [] if host is None else [(b"host", host.encode())]
    doorman = demo.only_for(app, lambda asked: demo.is_ours(asked, listening))
    asyncio.run(doorman({"type": "http", "headers": headers}, None, send))
    return sent[0]["status"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_is_let_in(host):
    assert outcome(host) == 200


@pytest.mark.parametrize("host", [*FOREIGN, "192.168.0.7", None])
def test_a_page_whose_name_was_bent_to_this_machine_is_not(host):
    assert outcome(host) == 403


def test_a_name_of_this_machine_that_others_know_is_not_let_in_where_only_it_may_ask(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "box")
    assert outcome("box:7860") == 403 and outcome("box:7860", "0.0.0.0") == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_nor_is_it_where_other_machines_are_let_in(host):
    assert outcome(host, "0.0.0.0") == 403
    assert outcome("192.168.0.7:7860", "0.0.0.0") == outcome(socket.gethostname(), "0.0.0.0") == 200
    assert outcome("box.home:7860", "box.home") == 200


def test_the_address_is_one_that_a_browser_opens():
    assert [demo.address(h, 80) for h in ("127.0.0.1", "0.0.0.0", "::", "::1", "10.0.0.7")] == [
        "http://127.0.0.1:80", "http://127.0.0.1:80", "http://[::1]:80", "http://[::1]:80", "http://10.0.0.7:80",
    ]  # fmt: skip


def call(*argv) -> int:
    return run_door(lambda: demo.main(parse(demo.DemoConfig, argv, prog="demo.py", description="")))


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert call("a-run") == 2
    assert capsys.readouterr().err == "error: the demo needs gradio: pip install -r requirements-demo.txt\n"


def test_nothing_is_reported_to_anybody(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    with pytest.raises(UsageError):
        demo.load_gradio()
    assert demo.os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_a_port_that_is_taken_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(demo, "load_gradio", lambda: None)
    monkeypatch.setattr(socket, "getaddrinfo", serving.names)  # of this machine alone
    with demo.listen("127.0.0.1", 0) as taken:
        assert call("a-run", "--port", str(taken.getsockname()[1])) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --host 127.0.0.1 --port ") and said.count("\n") == 1


@pytest.mark.parametrize("argv", [(), ("a-run", "--port", "70000"), ("a-run", "--device", "abacus")])
def test_a_wrong_flag_is_told_before_anything_is_loaded(argv, capsys):
    assert call(*argv) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_would_steer_gradios_template_is_a_character_reference():
    html = demo.safe(demo.Watch(dials.Made()).look("{{x}} ${y} `z`", 2, 4, 1.0))
    assert not set(html) & set("{}$`") - {"}"}
    assert "&#123;&#123;x}}" in html


def test_a_text_that_the_run_refuses_is_told_in_its_place(monkeypatch):
    watch = demo.Watch(dials.Made())

    def refuse(*args):
        raise UsageError("no <text> for me\x1b")

    monkeypatch.setattr(watch.dial, "answer", refuse, raising=False)
    assert "no &lt;text&gt; for me\\x1b" in watch.look("words", 2, 4, 1.0)


def test_axes_of_singular_values_stand_still_while_one_drags():
    watch = demo.Watch(dials.Made())
    assert watch.tops["h.0.attn.c_attn"] == pytest.approx(1.5 * 60 / 40)  # the last step, at the greatest strength


def test_a_number_that_was_deleted_or_is_too_large_stands_at_the_start_or_at_the_end():
    slider = types.SimpleNamespace(preprocess=lambda value: value, value=2, minimum=1, maximum=4)
    assert [demo.lenient(slider).preprocess(typed) for typed in (None, 99, -99, 3)] == [2, 4, 1, 3]


@pytest.mark.parametrize("seed, draws", [(None, 0), (7, 7), (10**40, 10**40 % 2**63), (-1, 2**63 - 1), (1e30, None)])
def test_any_number_is_a_seed_and_none_is_0(seed, draws):
    told = demo.Watch(dials.Writing()).write("see", 2, 4, 1.0, seed)
    number = int(told.split("</p>")[0].split()[-1])
    assert 0 <= number < 2**63 and draws in (None, number)


def test_only_the_step_with_the_best_scores_is_told_as_the_best(monkeypatch):
    watch = demo.Watch(dials.Made())
    assert "step 40 (the best) of 60," in watch.look("words", 2, 4, 1.0)
    for name, value in (("best", 60), ("best_step", 20)):  # --load_best_model_at_end false
        monkeypatch.setattr(watch.dial, name, value, raising=False)
    assert "step 60 of 60," in watch.look("words", 3, 4, 1.0) and "step 20 (the best) of" in watch.look("w", 1, 4, 1.0)


def test_an_adapter_alone_has_no_step(monkeypatch):
    for name, value in (("steps", [0]), ("best", 0), ("best_step", None)):
        monkeypatch.setattr(dials.Made, name, value)
    assert "as it was saved, rank 4" in demo.Watch(dials.Made()).look("words", 0, 4, 1.0)
