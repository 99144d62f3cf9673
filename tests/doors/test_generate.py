"""generate.py as its users meet it: what it writes, that each of its settings does something, and where it stops."""

import dataclasses

import pytest
import torch

import generate
import gpt2
import lora


def one_line(message: str) -> str:
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


# What is written


def test_greedy_is_the_likeliest_token_each_time_and_the_prompt_stands_before_it(written, writers):
    out = written("--greedy", "--max_new_tokens", 12, "see you")
    writer = generate.load_writer(writers / "writer", device="cpu", fast=False)
    ids = [writer.tokenizer.eos_token_id, *writer.tokenizer.encode("see you")]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + 12 and (len(ids) == start or ids[-1] != writer.tokenizer.eos_token_id):
            ids.append(int(writer.model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert len(set(ids[start:])) > 3
    assert out == "see you" + writer.tokenizer.decode(ids[start:]).removesuffix("<|endoftext|>") + "\n"


def test_a_seed_writes_the_same_text_again_and_another_one_another(written):
    first, again, other, default = (written("--seed", seed, "see you") for seed in (7, 7, 8, 0))
    assert first == again != other and default == written("see you")
    assert all(text.startswith("see you") and text.endswith("\n") for text in (first, other))


@pytest.mark.parametrize(
    "flags",
    [("--temperature", 0.3), ("--top_k", 2), ("--top_p", 0.2), ("--repetition_penalty", 1000), ("--max_new_tokens", 5),
     ("--seed", 1), ("--greedy",), ("--model", "BASE")],
    ids=lambda flags: flags[0],
)  # fmt: skip
def test_every_setting_changes_what_is_written(written, lively_base, flags):
    if flags[0] == "--model":
        assert written("see you", "--model", lively_base, adapter=None) != written("see you")
    else:
        assert written(*flags, "see you") != written("see you")


def test_several_texts_are_lines_of_their_own_and_differ(written):
    lines = written("--num_return_sequences", 4, "--max_new_tokens", 6, "see you").split("see you")
    assert lines[0] == "" and len(set(lines[1:])) == 4


def test_each_prompt_is_gone_on_from_and_without_one_a_new_text_begins(written):
    flags = "--greedy", "--max_new_tokens", 6
    assert written(*flags, "see you", "dinner") == written(*flags, "see you") + written(*flags, "dinner")
    assert written(*flags) == written(*flags, "") and len(written(*flags)) > 1


def test_a_flag_directly_before_a_prompt_leaves_it_a_prompt(written):
    want = written("--max_new_tokens", 4, "see you", "--greedy")
    assert written("--max_new_tokens", 4, "--greedy", "see you") == want
    assert written("--max_new_tokens", 4, "--greedy", "--compare", "see you").count("see you") == 2
    assert written("--max_new_tokens", 4, "--greedy", "--merge", "see you") == want


def test_compare_shows_what_the_base_writes_beside_what_the_tuned_model_writes(written, lively_base):
    flags = "--seed", 3, "--max_new_tokens", 12, "see you"
    untuned, tuned = written(*flags, "--model", lively_base, adapter=None), written(*flags)
    assert written("--compare", *flags) == f"base:  {untuned}tuned: {tuned}"


@pytest.mark.parametrize("fast", ["true", "false"])
def test_merged_the_adapter_writes_what_it_writes_live(written, fast):
    flags = "--greedy", "--max_new_tokens", 40, "--fast", fast, "see you"
    assert written("--merge", *flags) == written(*flags)


def test_the_plain_form_writes_what_the_fast_one_writes(written):
    for flags in (("--greedy",), ("--seed", 4), ("--num_return_sequences", 3)):
        assert written(*flags, "see you", "--fast", "false") == written(*flags, "see you", "--fast", "true")


def test_an_adapter_on_the_embedding_writes_live_and_is_not_merged(door, writers):
    """The head is the same matrix: folded in, the adapter would change what the model says as well as what it reads."""
    code, out, err = door("--greedy", "see you", adapter="wte")
    assert (code, err) == (0, "") and out.startswith("see you")
    code, out, err = door("--merge", "--greedy", "see you", adapter="wte")
    assert (code, out) == (4, "") and "wte" in one_line(err)


def test_a_model_trained_whole_writes_but_has_no_base_beside_it(door, written):
    assert written("--greedy", "see you", adapter="full").startswith("see you")
    code, out, err = door("--compare", "see you", adapter="full")
    assert (code, out) == (2, "") and "its base is not beside it" in one_line(err)


def test_the_base_alone_writes(written, lively_base):
    model = gpt2.GPT2LMHeadModel.from_pretrained(lively_base)
    tokenizer = gpt2.Tokenizer(lively_base)
    ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer.encode("see you")]])
    want = gpt2.generate_ids(model, ids, gpt2.GenerationConfig(max_new_tokens=8))[0, ids.shape[1] :]
    out = written("--greedy", "--max_new_tokens", 8, "see you", "--model", lively_base, adapter=None)
    assert out == f"see you{tokenizer.decode(want.tolist())}\n"


# Where it stops


def ended_by(writers, token: int | None) -> generate.Writer:
    """The writer, for whom this token is the end."""
    writer = generate.load_writer(writers / "writer", device="cpu")
    writer.model.config = dataclasses.replace(writer.model.config, eos_token_id=token)
    writer.tokenizer.eos_token_id = writer.tokenizer.eos_token_id if token is None else token
    return writer


def test_at_the_end_token_it_stops_and_does_not_print_it(writers, capsys):
    how = gpt2.GenerationConfig(max_new_tokens=40)
    free = list(ended_by(writers, None).start("see you", how))
    end = int(free[7])
    writer = ended_by(writers, end)
    start = [end, *writer.tokenizer.encode("see you")]
    whole = [int(tokens) for tokens in gpt2.generate(writer.model, torch.tensor([start]), how)]
    assert whole.index(end) == len(whole) - 1 < 39
    assert "".join(writer.pieces("see you", how)) == writer.tokenizer.decode(whole[:-1])
    assert writer.texts(writer.start("see you", how)) == [writer.tokenizer.decode(whole[:-1])]


def test_the_end_is_the_tokenizer_s_whatever_the_config_json_of_the_base_names(writers, lively_base):
    assert gpt2.read_config(lively_base).eos_token_id == 50256
    for name in ("writer", "full"):
        writer = generate.load_writer(writers / name, device="cpu")
        assert writer.model.config.eos_token_id == writer.tokenizer.eos_token_id == 0
    assert gpt2.read_config(writers / "full" / "model").eos_token_id == 0


def test_at_the_last_position_it_stops_and_says_so_on_stderr_alone(door, writers):
    code, out, err = door("--greedy", "--max_new_tokens", 1000, "see you")
    assert code == 0 and err == "stopped at the model's last position: prompt and text are 64 tokens\n"
    assert "stopped" not in out
    writer = generate.load_writer(writers / "writer", device="cpu")
    writing = writer.start("see you", gpt2.GenerationConfig(max_new_tokens=1000))
    assert out == f"see you{writer.texts(writing)[0]}\n" and writing.length == 64


@pytest.mark.parametrize("flags", [(), ("--num_return_sequences", "3"), ("--compare",)], ids=str)
def test_a_prompt_that_leaves_no_position_is_refused_before_anything_is_printed(door, writers, flags):
    code, out, err = door(*flags, "see you at ten " * 40)
    assert (code, out) == (2, "") and "tokens, the model 64 positions; give a shorter one" in one_line(err)
    tokens = len(generate.load_writer(writers / "writer", device="cpu").tokenizer.encode("see you at ten " * 40)) + 1
    assert f"the prompt has {tokens} tokens" in err


# An adapter of peft's


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_peft_s_own_adapter_writes_what_peft_writes(lively_base, writers, tmp_path, capsys):
    """Made, changed and saved by peft; no task.json."""
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(4)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(lively_base)
    recipe = peft.LoraConfig(
        task_type="CAUSAL_LM", target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True
    )
    theirs = peft.get_peft_model(theirs, recipe).eval()
    theirs.save_pretrained(tmp_path)
    writer = generate.load_writer(tmp_path, lively_base, device="cpu")
    assert writer.record is None
    ids = torch.tensor([[writer.tokenizer.eos_token_id, *writer.tokenizer.encode("see you")]])
    how = {"max_new_tokens": 20, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    want = theirs.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)[0, ids.shape[1] :].tolist()
    want = want[: want.index(writer.tokenizer.eos_token_id)] if writer.tokenizer.eos_token_id in want else want
    assert "".join(writer.pieces("see you", gpt2.GenerationConfig(max_new_tokens=20))) == writer.tokenizer.decode(want)
    with lora.disable_lora(writer.model):
        untuned = "".join(writer.pieces("see you", gpt2.GenerationConfig(max_new_tokens=20)))
    assert untuned != writer.tokenizer.decode(want)
