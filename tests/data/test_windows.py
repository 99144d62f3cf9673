"""From documents to windows: every token a target once, prompts and padding never, the end of a text always."""

from array import array

import pytest
import torch

from data import DataError, Document, Window, by_length, collate_windows, make_windows
from data.windows import cut_into_windows

hypothesis = pytest.importorskip("hypothesis", reason="pip install -r requirements-dev.txt to run these tests")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

EOS = 0
STRANGE = "再见，明天见。👩‍👩‍👧 ok 🙂🙂 naïve"


class Bytes:
    """A tokenizer whose ids are the bytes of a text, one added to each: 0 is the end."""

    def encode_batch(self, texts):
        return [[byte + 1 for byte in text.encode()] for text in texts]


def windows_of(*documents: tuple[str, str], max_length: int) -> list[Window]:
    """The windows of (prompt, text) documents."""
    items = [Document(text, prompt, "") for prompt, text in documents]
    return make_windows(Bytes(), items, range(len(items)), eos_token_id=EOS, max_length=max_length)


def decode(ids) -> str:
    return bytes(i - 1 for i in ids).decode()


def ids_of(windows: list[Window]) -> list[list[int]]:
    return [list(window.ids) for window in windows]


def test_a_document_is_read_between_two_end_of_text_tokens_and_its_end_is_learned():
    (window,) = windows_of(("", "abc"), max_length=9)
    assert list(window.ids) == [EOS, 98, 99, 100, EOS]
    assert list(window.targets) == [98, 99, 100, EOS]


def test_a_prompt_is_read_and_never_a_target():
    (window,) = windows_of(("ab", " c"), max_length=9)
    assert list(window.ids) == [EOS, 98, 99, 33, 100, EOS]
    assert list(window.targets) == [33, 100, EOS]


def test_prompt_and_completion_are_tokenised_apart_so_that_a_prompt_alone_has_the_same_ids(gpt2_tokenizer_dir):
    import gpt2

    tokenizer = gpt2.Tokenizer(gpt2_tokenizer_dir)
    document = Document("ing along", "Sing", "")
    (window,) = make_windows(tokenizer, [document], [0], eos_token_id=tokenizer.eos_token_id, max_length=99)
    prompt = tokenizer.encode("Sing")
    assert list(window.ids[: window.first_target]) == [tokenizer.eos_token_id, *prompt]
    assert tokenizer.decode(window.targets) == "ing along<|endoftext|>"
    assert tokenizer.encode("Singing along") != [*prompt, *tokenizer.encode("ing along")]


def test_a_document_of_exactly_max_length_is_one_window_and_one_token_more_makes_two():
    assert ids_of(windows_of(("", "abc"), max_length=5)) == [[EOS, 98, 99, 100, EOS]]
    first, second = windows_of(("", "abcd"), max_length=5)
    assert list(first.ids) == [EOS, 98, 99, 100, 101]
    assert (list(second.ids), list(second.targets)) == ([101, EOS], [EOS])  # begins with the last token before it


def test_a_prompt_is_context_in_the_first_window_only():
    first, second = windows_of(("ab", "cdef"), max_length=5)
    assert (list(first.ids), list(first.targets)) == ([EOS, 98, 99, 100, 101], [100, 101])
    assert (list(second.ids), list(second.targets)) == ([101, 102, 103, EOS], [102, 103, EOS])


@pytest.mark.parametrize("length", range(2, 12))
def test_of_a_prompt_longer_than_a_window_the_text_still_sees_the_end(length):
    windows = windows_of(("x" * 10 + "yz", "abc"), max_length=length)
    assert [i for window in windows for i in window.targets] == [98, 99, 100, EOS]
    assert windows[0].ids[windows[0].first_target - 1] == ord("z") + 1
    assert all(window.targets for window in windows)


@pytest.mark.parametrize("max_length", range(2, 9))
def test_characters_of_several_tokens_survive_a_border_between_windows(max_length):
    windows = windows_of(("", STRANGE), max_length=max_length)
    targets = [i for window in windows for i in window.targets]
    assert targets.pop() == EOS and decode(targets) == STRANGE


def test_strange_texts_come_back_out_of_gpt2_s_own_tokens(gpt2_tokenizer_dir):
    import gpt2

    tokenizer = gpt2.Tokenizer(gpt2_tokenizer_dir)
    end = tokenizer.eos_token_id
    windows = make_windows(tokenizer, [Document(STRANGE, "", "")], [0], eos_token_id=end, max_length=4)
    assert len(windows) > 5
    assert tokenizer.decode([i for window in windows for i in window.targets]) == STRANGE + "<|endoftext|>"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=12), st.text(min_size=1, max_size=40)), min_size=1, max_size=5),
    st.integers(2, 30),
)
def test_every_token_of_the_texts_and_their_ends_is_a_target_once_and_in_order(documents, max_length):
    windows = windows_of(*documents, max_length=max_length)
    for number, (prompt, text) in enumerate(documents):
        mine = [window for window in windows if window.document == number]
        (prompt_ids, text_ids) = Bytes().encode_batch([prompt, text])
        assert [i for window in mine for i in window.targets] == [*text_ids, EOS]
        whole = [EOS, *prompt_ids, *text_ids, EOS]
        at = len(whole) - len(text_ids) - 1  # where the next target stands
        for window in mine:
            assert 1 <= window.first_target < len(window.ids) <= max_length
            start = at - window.first_target
            assert list(window.ids) == whole[start : start + len(window.ids)]  # all from one place in the document
            at += len(window.targets)
    assert [window.document for window in windows] == sorted(window.document for window in windows)


@given(st.integers(2, 200), st.integers(2, 30))
def test_no_more_windows_are_made_than_the_targets_need(n, max_length):
    windows = list(cut_into_windows(array("i", range(n)), 1, max_length))
    assert len(windows) == -(-(n - 1) // (max_length - 1))
    assert all(len(window.ids) == max_length for window in windows[:-1])


def test_the_documents_asked_for_are_cut_in_that_order_and_keep_their_numbers():
    items = [Document(text, "", "") for text in ("abcdef", "b", "c")]
    windows = make_windows(Bytes(), items, [2, 0], eos_token_id=EOS, max_length=5)
    assert [window.document for window in windows] == [2, 0, 0]


@pytest.mark.parametrize("max_length", [1, 0, -3])
def test_a_length_in_which_nothing_can_be_foretold_is_told(max_length):
    with pytest.raises(DataError, match=f"max_length {max_length}: .* 2 at least"):
        windows_of(("", "a"), max_length=max_length)


def test_labels_are_the_targets_themselves_and_nothing_else():
    batch = collate_windows(windows_of(("a", "bc"), ("", "d"), max_length=9), pad_token_id=77)
    assert batch.input_ids.tolist() == [[EOS, 98, 99, 100, EOS], [EOS, 101, EOS, 77, 77]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert batch.labels.tolist() == [[-100, -100, 99, 100, EOS], [-100, 101, EOS, -100, -100]]
    assert (batch.tokens, batch.counted) == (8, 5)
    assert {batch.input_ids.dtype, batch.attention_mask.dtype, batch.labels.dtype} == {torch.int64}


def test_the_end_of_a_text_is_learned_where_padding_is_the_same_token():
    """Labels made out of ids by leaving out all that equals the padding would never teach a model to stop."""
    batch = collate_windows(windows_of(("", "abc"), ("", "d"), max_length=9), pad_token_id=EOS)
    assert batch.input_ids[1].tolist() == [EOS, 101, EOS, EOS, EOS]
    assert batch.labels[1].tolist() == [-100, 101, EOS, -100, -100]
    assert batch.attention_mask[1].tolist() == [1, 1, 1, 0, 0]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text("ab", max_size=5), st.text("cd", min_size=1, max_size=20)), min_size=1, max_size=5),
    st.integers(2, 30),
)
def test_a_batch_counts_its_targets_and_says_each_from_the_token_before_it(documents, max_length):
    windows = windows_of(*documents, max_length=max_length)
    batch = collate_windows(windows, pad_token_id=EOS)
    assert batch.counted == sum(len(text) + 1 for _, text in documents)
    assert not (batch.labels[:, 0] != -100).any()  # the shift would drop it
    counts = batch.labels != -100
    assert torch.equal(batch.labels[counts], batch.input_ids[counts])
    assert not (counts & ~batch.attention_mask.bool()).any()


def test_a_batch_on_a_device_still_knows_its_counts_without_asking_there():
    batch = collate_windows(windows_of(("", "abc"), max_length=9), pad_token_id=EOS).to(torch.device("meta"))
    assert batch.input_ids.device.type == "meta"
    assert {batch.attention_mask.device.type, batch.labels.device.type} == {"cpu"}  # where targets stand is read there
    assert (batch.tokens, batch.counted) == (5, 4)


def test_a_window_that_holds_no_target_makes_a_batch_that_counts_for_nothing():
    batch = collate_windows([Window(array("i", [EOS]), 1, -1)], pad_token_id=EOS)
    assert batch.labels.tolist() == [[-100]] and batch.counted == 0


def test_windows_can_be_put_together_by_length():
    windows = windows_of(("", "a"), ("", "abcdef"), ("", "abc"), max_length=9)
    assert list(by_length([window.ids for window in windows], 2)) == [[1, 2], [0]]


@pytest.mark.parametrize("rows", [[0], [0, 1], [1, 2, 3], [3, 2, 1, 0]])
def test_a_batch_is_what_transformers_collator_makes_of_the_same_labels(rows, tiny_base):
    transformers = pytest.importorskip("transformers")
    import gpt2

    files = {"vocab": str(tiny_base / "vocab.json"), "merges": str(tiny_base / "merges.txt")}
    theirs = transformers.GPT2Tokenizer(**files, pad_token="<|endoftext|>", padding_side="right")
    ours = gpt2.Tokenizer(tiny_base)
    items = [Document("see you at 8", "", ""), Document(" ok", "dinner?", ""), Document("free entry " * 9, "", "")]
    windows = make_windows(ours, items, [0, 1, 2], eos_token_id=ours.eos_token_id, max_length=24)
    features = [
        {
            "input_ids": list(window.ids),
            "attention_mask": [1] * len(window.ids),
            "labels": [-100] * window.first_target + list(window.targets),
        }
        for window in (windows[row] for row in rows)
    ]
    collator = transformers.DataCollatorForSeq2Seq(theirs, padding="longest", label_pad_token_id=-100)
    expected, batch = collator(features), collate_windows([windows[row] for row in rows], ours.eos_token_id)
    assert theirs.pad_token_id == ours.eos_token_id
    for name in ("input_ids", "attention_mask", "labels"):
        assert torch.equal(getattr(batch, name), expected[name]), name
        assert getattr(batch, name).dtype == expected[name].dtype
