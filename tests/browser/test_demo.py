"""The demo in Chromium: one types, drags and reads; nothing leaves the machine, and everybody can use it."""

import http.client
import re

import pytest

import infer
import train

pytest.importorskip("selenium", reason="selenium drives the browser (requirements-dev.txt)")
from selenium.webdriver.common.keys import Keys  # noqa: E402

pytestmark = pytest.mark.slow
DIALS = ("Made", "Writing")


def opened(browser, address, **how):
    browser.open(address, **how)
    browser.until(lambda: browser.css("#answer .say"))


def said(browser) -> str:
    return browser.css("#answer .say")[0].text


def type_text(browser, words: str) -> None:
    box = browser.css("#text textarea")[0]
    box.clear()
    box.send_keys(words)


def drag(browser, slider: str, key: str, times: int) -> None:
    """Keys on a slider do what a hand on it does; who has no mouse does the same."""
    for _ in range(times):
        browser.css(f"#{slider} input[type=range]")[0].send_keys(key)


def position(browser) -> str:
    return browser.css("#answer .soft")[0].text


def test_one_types_drags_and_reads(browser, demo_of):
    opened(browser, demo_of("Made").address)
    first = said(browser)
    type_text(browser, "see you tomorrow evening")
    browser.until(lambda: "tomorrow" in browser.css("#answer")[0].text)
    assert said(browser) != first
    tuned = said(browser)
    tokens = [[t.text for t in strip.find_elements("css selector", ".token")] for strip in browser.css(".tokens")]
    assert tokens == [["see", "·you", "·tomorrow", "·evening"]] * 2
    drag(browser, "time", Keys.ARROW_LEFT, 2)
    browser.until(lambda: "step 0 " in position(browser))
    assert said(browser) != tuned
    drag(browser, "time", Keys.ARROW_RIGHT, 2)
    browser.until(lambda: "step 40 (the best) of 60" in position(browser))
    assert said(browser) == tuned
    drag(browser, "rank", Keys.ARROW_LEFT, 3)
    browser.until(lambda: "rank 1" in position(browser))
    assert len(browser.css("#answer figure svg circle")) == 4  # layers, of one direction each


def test_strength_zero_shows_the_bases_probabilities(browser, demo_of):
    opened(browser, demo_of("Made").address)
    drag(browser, "strength", Keys.HOME, 1)
    browser.until(lambda: "strength 0" in position(browser))
    tuned, base = re.search(r", ([\d.]+ %) \(base: ([\d.]+ %)\)", said(browser)).groups()
    assert tuned == base
    colours = [[t.get_attribute("style") for t in s.find_elements("css selector", ".token")]
               for s in browser.css(".tokens")]  # fmt: skip
    assert colours[0] == colours[1]


@pytest.mark.parametrize("dial", DIALS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_readable_light_and_dark_on_a_telephone_and_on_a_desk(browser, faint, demo_of, dial, dark):
    opened(browser, demo_of(dial).address, dark=dark)
    for width in (1100, 360):
        browser.size(width)
        assert browser.too_wide() <= 0, width
        assert faint("body") == [], width
    ground = browser.run("return getComputedStyle(document.querySelector('.watch')).backgroundColor")
    assert (ground == "rgb(22, 25, 29)") == dark
    for picture in browser.css("#answer svg"):
        assert picture.get_attribute("role") == "img" and len(picture.accessible_name) > 20


@pytest.mark.parametrize("dial", DIALS)
def test_nothing_leaves_the_machine_and_the_console_is_silent(browser, demo_of, dial):
    served = demo_of(dial)
    address = served.address
    opened(browser, address)
    type_text(browser, "some words")
    browser.until(lambda: "words" in browser.css("#answer")[0].text or dial == "Writing")
    foreign = [url for url in browser.requests() if not url.startswith((address, "data:", "blob:"))]
    assert foreign == [] and len(browser.requests()) > 5
    assert browser.complaints() == []
    assert len(served.said) == 1  # the server's address, and no try to reach another machine


def test_all_of_it_is_reached_by_keyboard(browser, demo_of):
    opened(browser, demo_of("Writing").address)
    own, reached = ("text", "time", "rank", "strength", "seed", "write", "answer"), set()
    for _ in range(40):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        reached |= {name for name in own if browser.run(f"return !!document.activeElement.closest('#{name}')")}
    assert reached == set(own)


def test_a_long_text_is_cut_and_that_is_said(browser, demo_of):
    opened(browser, demo_of("Made").address)
    box = browser.css("#text textarea")[0]
    event = "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    browser.run(f"arguments[0].value = 'word '.repeat(2000); {event}", box)
    browser.until(lambda: "only its beginning was read" in position(browser))


def test_an_empty_text_is_no_fault(browser, demo_of):
    opened(browser, demo_of("Made").address)
    browser.css("#text textarea")[0].send_keys(Keys.CONTROL + "a")
    browser.css("#text textarea")[0].send_keys(Keys.DELETE)
    browser.until(lambda: "Type a text" in said(browser))
    assert browser.complaints() == []


@pytest.mark.parametrize("words", ["{{value}} ${alert(1)} `x`", "<img src=x onerror=alert(1)>", "{{#if}} {% %}"])
def test_a_text_is_shown_as_it_is_and_steers_nothing(browser, demo_of, words):
    opened(browser, demo_of("Made").address)
    type_text(browser, words)
    shown = words.replace(" ", "·")
    browser.until(
        lambda: "".join(t.text for t in browser.css(".tokens")[0].find_elements("css selector", "*")) == shown
    )
    assert not browser.css("#answer img") and browser.complaints() == []


def test_a_writer_shows_next_tokens_and_a_sampled_line(browser, demo_of):
    opened(browser, demo_of("Writing").address)
    assert said(browser).startswith("next: ·at, 32.0 % (base: 30.0 %)")
    browser.css("button#write, #write button")[0].click()
    browser.until(lambda: browser.css("#line .watch"))
    assert browser.css("#line")[0].text.split("\n") == [
        "base See you <i>at</i> {{nine}} ${1} 0 0", "tuned See you <i>at</i> {{nine}} ${1} 1 0",
    ]  # fmt: skip


def test_a_page_under_another_name_gets_nothing(demo_of):
    address = demo_of("Made").address
    port = int(address.rsplit(":")[-1].strip("/"))
    ours = (f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST")
    for host in (*ours, "evil.example", f"evil.example:{port}", "192.168.0.7", "127.0.0.1.evil.example", ""):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/", headers={"Host": host})
        assert connection.getresponse().status == (200 if host in ours else 403), host
        connection.close()


@pytest.fixture(scope="module")
def run(tiny_base, messages_file, tmp_path_factory) -> str:
    """A short run of a small base, with snapshots."""
    directory = tmp_path_factory.mktemp("runs") / "lora"
    common = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
    steps = {"max_steps": 6, "learning_rate": 1e-2, "snapshots": 3, "output_dir": str(directory)}
    train.main(train.TrainConfig(**(common | steps)))
    return str(directory)


def test_with_a_real_run_strength_zero_is_the_base_and_one_is_the_tuned_model(browser, demo_of, run):
    classifier = infer.load_classifier(run, device="cpu")
    text = "free entry in our ten prize draw"
    tuned = classifier.probabilities([text])[0][1]
    with classifier.untrained() as untrained:
        base = untrained.probabilities([text])[0][1]
    opened(browser, demo_of(run).address)
    type_text(browser, text)
    browser.until(lambda: "draw" in browser.css("#answer .tokens")[0].text)
    numbers = [cell.get_attribute("textContent") for cell in browser.css("#answer figure td.n")]
    assert numbers[2:4] == [f"{100 * base:.1f} %", f"{100 * tuned:.1f} %"] and base != tuned
    drag(browser, "strength", Keys.HOME, 1)
    browser.until(lambda: "strength 0" in position(browser))
    numbers = [cell.get_attribute("textContent") for cell in browser.css("#answer figure td.n")]
    assert numbers[2:4] == [f"{100 * base:.1f} %"] * 2


def test_a_sliders_number_may_be_deleted_or_too_large(browser, demo_of):
    served = demo_of("Made")
    opened(browser, served.address)
    drag(browser, "time", Keys.HOME, 1)
    browser.until(lambda: "step 0 " in position(browser))
    box = browser.css("#time input[type=number]")[0]
    box.send_keys(Keys.CONTROL + "a")
    box.send_keys(Keys.DELETE)
    browser.until(lambda: "step 40 (the best)" in position(browser))
    box.send_keys("99")
    browser.until(lambda: "step 60 " in position(browser))
    assert browser.complaints() == [] and "Traceback" not in "".join(served.said)


def test_any_number_is_a_seed_and_none_is_0(browser, demo_of):
    served = demo_of("Writing")
    opened(browser, served.address)
    for typed, seed in (("1" + "0" * 24, int(1e24) % 2**63), ("", 0)):
        box = browser.css("#seed input")[0]
        box.send_keys(Keys.CONTROL + "a")
        box.send_keys(Keys.DELETE, typed, Keys.TAB)
        browser.css("button#write, #write button")[0].click()
        browser.until(lambda end=f" {seed}": browser.css("#line")[0].text.endswith(end))
    assert browser.complaints() == [] and "Traceback" not in "".join(served.said)
