"""What comes out of generate.py and goes in: pieces of text, standard input, a reader that leaves, wrong settings."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import generate
import gpt2
from training.errors import run_door

ROOT = Path(__file__).resolve().parent.parent.parent


def one_line(message: str) -> str:
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


@pytest.fixture
def typed(monkeypatch):
    """Put bytes on standard input."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


# What is printed


def test_no_character_is_ever_printed_halfway(writers, capsys):
    """Of a small vocabulary an emoji is four tokens. What turns out to be no character is shown as such, and late."""
    writer = generate.load_writer(writers / "writer", device="cpu")
    text = "é 日本🙂 see you\N{REPLACEMENT CHARACTER}!"
    ids = writer.tokenizer.encode(text)
    pieces = list(writer.stream([torch.tensor([i]) for i in ids]))
    assert "".join(pieces) == text and len(ids) > len(text)
    assert {"é", "日", "本", "🙂"} <= set(pieces) and sum(generate.NOT_CLEAR in piece for piece in pieces) == 1
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):  # any bytes at all
        ids = torch.randint(1, writer.tokenizer.vocab_size, (12,), generator=generator).tolist()
        assert "".join(writer.stream([torch.tensor([i]) for i in ids])) == writer.tokenizer.decode(ids)


def test_a_prompt_with_emoji_stands_as_it_was_given(written):
    for flags in (("--greedy",), ("--num_return_sequences", 2), ("--compare",)):
        assert written("--max_new_tokens", 3, *flags, "ok 🙂 日本").count("ok 🙂 日本") == 1 + (flags[0] != "--greedy")


def test_a_terminal_that_lacks_the_characters_gets_others(writers, monkeypatch):
    ascii_alone = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", ascii_alone)
    config = generate.GenerateConfig(("café 🙂",), str(writers / "writer"), max_new_tokens=3, device="cpu")
    assert run_door(lambda: generate.main(config)) == 0
    assert ascii_alone.buffer.getvalue().startswith(b"caf? ?")


def test_standard_input_is_a_prompt_without_its_last_newline(written, typed):
    flags = "--greedy", "--max_new_tokens", 4
    typed(b"see\nyou\n")
    assert written(*flags, "-") == written(*flags, "see\nyou")
    typed("see 🙂".encode())
    assert written("dinner", "-", *flags) == written(*flags, "dinner", "see 🙂")


def test_bytes_that_are_no_text_are_told(door, typed):
    typed(b"see \xff you")
    code, out, err = door("-")
    assert (code, out) == (2, "") and "standard input: byte 5 is not utf-8" in one_line(err)
    code, out, err = door(os.fsdecode(b"see \xff you"))
    assert (code, out) == (2, "") and "not UTF-8" in one_line(err)


def test_text_comes_piece_by_piece_to_a_terminal_and_at_once_to_a_file(writers, monkeypatch):
    class Watched(io.StringIO):
        terminal, flushed = True, 0

        def isatty(self):
            return self.terminal

        def flush(self):
            self.flushed += 1

    seen = []
    for terminal in (True, False):
        stdout = Watched()
        stdout.terminal = terminal
        monkeypatch.setattr(sys, "stdout", stdout)
        config = generate.GenerateConfig(("see you",), str(writers / "writer"), max_new_tokens=20, device="cpu")
        assert run_door(lambda config=config: generate.main(config)) == 0
        seen.append((stdout.getvalue(), stdout.flushed))
    assert seen[0][0] == seen[1][0] and seen[0][1] > 10 > seen[1][1]


def test_ctrl_c_ends_it_with_130_and_what_was_written_stays(door, monkeypatch):
    plain = gpt2.generation.Generation._step
    steps = []

    def interrupted(self, *args):
        steps.append(None)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return plain(self, *args)

    monkeypatch.setattr(gpt2.generation.Generation, "_step", interrupted)
    code, out, err = door("--greedy", "see you")
    assert (code, err) == (130, "stopped\n") and out.startswith("see you") and len(steps) == 4


def test_a_reader_that_goes_away_gets_no_traceback(writers):
    command = [sys.executable, ROOT / "generate.py", "--adapter", writers / "writer", "--device", "cpu"]
    command += ["--max_new_tokens", "9", *["see you"] * 40]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stdout.read(3) == b"see"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# What is refused


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--temperature", "0"], "--temperature must be a number above 0, not 0.0"),
        (["--temperature", "nan"], "--temperature must be"),
        (["--temperature", "warm"], "--temperature: invalid float value: 'warm'"),
        (["--top_k", "0"], "--top_k 0: must be at least 1"),
        (["--top_p", "1.5"], "--top_p must be a number above 0, at most 1"),
        (["--repetition_penalty", "0"], "--repetition_penalty must be"),
        (["--max_new_tokens", "0"], "--max_new_tokens 0: must be at least 1"),
        (["--num_return_sequences", "-1"], "--num_return_sequences -1"),
        (["--seed", "-1"], "--seed -1"),
        (["--seed", str(2**63)], "below 2**63"),
        (["--greedy", "--temperature", "0.5"], "--greedy draws nothing"),
        (["--greedy", "--top_k", "5"], "--greedy draws nothing"),
        (["--greedy", "--top_p", "0.5"], "--greedy draws nothing"),
        (["--greedy", "--num_return_sequences", "2"], "--greedy gives one text"),
        (["--compare", "--merge"], "--compare needs the base, which --merge folds away"),
        (["--temprature", "1"], "did you mean --temperature"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_a_wrong_setting_gets_one_line_before_a_model_is_read(door, monkeypatch, flags, words):
    monkeypatch.setattr(generate, "load_writer", lambda *_: pytest.fail("read a model first"))
    code, out, err = door(*flags, "see you")
    assert (code, out) == (2, "") and words in one_line(err)


@pytest.mark.promise("P16")
@pytest.mark.parametrize("flags", [["--temperature", "1e-300"], ["--repetition_penalty", "1e-300"], ["--greedy"]])
def test_logits_that_are_no_numbers_are_told_and_no_text_is_made_of_them(door, monkeypatch, flags):
    if flags == ["--greedy"]:
        plain = gpt2.generation.choose
        nan = float("nan")
        monkeypatch.setattr(gpt2.generation, "choose", lambda scores, *rest: plain(scores * nan, *rest))
    code, _, err = door(*flags, "see you")
    assert code == 6 and "what the model says of the next token is no number" in one_line(err)


def test_without_adapter_and_model_it_says_what_is_needed(door):
    code, out, err = door("see you", adapter=None)
    assert (code, out) == (2, "") and "--adapter DIRECTORY is needed" in one_line(err)
