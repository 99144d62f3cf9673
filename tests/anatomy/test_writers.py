"""What a writer reads and writes: of a long prompt the end, of kinds of token those of the text they stand in."""

import shutil

import pytest

import demo
import drawing
from anatomy import writer
from anatomy.dial import Dial
from anatomy.opened import open_run
from anatomy.report import report

LONG = "mum says dinner is at nine then " * 30


@pytest.fixture(scope="module")
def dial(runs):
    return Dial(runs / "writer")


def test_of_a_long_prompt_the_end_is_read_and_that_is_known(dial):
    short, cut = dial.next_tokens("see you")
    assert not cut
    at_ten, cut = dial.next_tokens(f"{LONG} see you at ten")
    assert cut and at_ten != short
    assert at_ten == dial.next_tokens(f"WINNER! {LONG} see you at ten")[0] != dial.next_tokens(f"{LONG} urgent")[0]


def test_a_long_prompt_leaves_room_to_write_in(dial):
    ids, cut = dial.opened.prompt(LONG, 40)
    assert (len(ids), cut) == (32, True)  # half of the 64 positions, as 40 are asked for
    assert dial.opened.prompt("see you", 40) == (dial.opened.encode("see you")[0], False)
    assert any(dial.sample(LONG, seed=seed) for seed in range(3))


def test_the_demo_says_that_only_the_end_of_a_long_prompt_was_read(dial):
    watch = demo.Watch(dial)
    for prompt in (LONG, "x" * (demo.MOST + 1)):
        assert "only its end was read" in watch.look(prompt, *watch.start)
    assert "too long" not in watch.look("see you", *watch.start)


def test_a_line_that_ends_at_once_is_not_an_empty_one(dial, monkeypatch):
    monkeypatch.setattr(dial, "sample", lambda *args: "")
    assert demo.Watch(dial).write("see you", 0, 1, 1.0, 0).count("(ends at once)") == 2


def test_a_long_text_that_is_looked_at_is_cut_and_that_is_said(runs):
    seen = report(runs / "writer", text=LONG)
    assert seen["text"]["cut"] and "(the rest was cut)" in drawing.plain("", "", drawing.sections(seen))
    seen["text"]["cut"] = False
    assert "cut" not in drawing.plain("", "", drawing.sections(seen))


@pytest.mark.parametrize("what", ["adapter", "model"])
def test_an_adapter_or_a_model_alone_is_drawn_as_it_was_saved(runs, tiny_base, tmp_path, what):
    path = shutil.copytree(runs / "writer" / "adapter", tmp_path / "alone") if what == "adapter" else tiny_base
    page = drawing.plain("", "", drawing.sections(report(path, text="see you")))
    assert "One line written by the model as it was saved." in " ".join(page.split()) and "as saved" in page


@pytest.mark.parametrize(
    "before, text, kind",
    [("", "see", "word start"), ("(", "see", "word start"), ("\n", "See", "word start"), ("se", "en", "inside a word"),
     ("se", " en", "word start"), ("9", "th", "word start"), ("t", "'s", "punctuation"), ("", " 9", "number"),
     ("", " ", "blank"), ("é", "s", "inside a word")],
)  # fmt: skip
def test_letters_are_inside_a_word_where_they_go_on_from_letters(before, text, kind):
    assert writer.kind_of(before, text) == kind


def test_the_first_word_of_a_text_is_a_start(runs):
    opened = open_run(runs / "writer", device="cpu")
    end = opened.tokenizer.eos_token_id
    ids = [end, *opened.tokenizer.encode("mum says"), end, *opened.tokenizer.encode("see"), end]
    kinds = writer.kinds_of(opened, ids)
    assert len(kinds) == len(ids) - 1 and kinds[0] == "word start" and kinds[-1] == "end of text"
    assert kinds[kinds.index("end of text") + 1] == "word start"
