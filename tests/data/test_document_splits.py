"""Dividing documents: as rows where there are many, cut into parts where there are few."""

import random

import pytest

from data import SPLITS, DataError, Document, Documents, TextDataset, count_seen, split_documents, split_rows
from data.splits import FEW

hypothesis = pytest.importorskip("hypothesis", reason="pip install -r requirements-dev.txt to run these tests")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies


def documents_of(*texts: str, prompt: str = "", kind: str = "texts") -> Documents:
    return Documents("mine", [Document(text, prompt, f"mine:{i}") for i, text in enumerate(texts)], kind)


def divide(documents: Documents, kind="seed", test_size=0.1, val_size=0.1, seed=0):
    """The texts of (training, validation, test), each in order."""
    divided, split = split_documents(documents, kind=kind, test_size=test_size, val_size=val_size, seed=seed)
    return [[divided.items[i].text for i in part] for part in (split.train, split.val, split.test)]


def sentences(n: int, gap: str = " ") -> str:
    return gap.join(f"Sentence number {i} has some words." for i in range(n))


@pytest.mark.parametrize("kind", SPLITS)
def test_many_documents_are_divided_as_rows_without_labels_are(kind):
    texts = [f"text {i} of {i * i} and {i + 7}" for i in range(50)]
    documents, how = documents_of(*texts), {"kind": kind, "test_size": 0.2, "val_size": 0.1, "seed": 5}
    divided, split = split_documents(documents, **how)
    assert divided is documents
    assert split == split_rows(TextDataset("", texts, [0] * 50, ["all"]), **how)
    assert sorted(split.train + split.val + split.test) == list(range(50))


def test_near_duplicates_are_those_of_prompt_and_text_together():
    items = [Document(f" answer {i % 2}", f"a question about {i // 2}, of a few words that are its own: {i // 2}", "")
             for i in range(40)]  # fmt: skip
    documents = Documents("mine", items, "completions")
    assert len(set(document.text for document in items)) == 2
    _, split = split_documents(documents, kind="stratified", test_size=0.25, val_size=0.1, seed=1)
    assert len(split.test) == 10 and count_seen(documents, split) == 0
    with pytest.raises(DataError, match="near-duplicates of 'a question"):
        split_documents(documents, kind="grouped", test_size=0.25, val_size=0.1, seed=1)


def test_copies_of_a_document_are_counted_and_stay_on_one_side_of_a_grouped_split():
    documents = documents_of(*[f"{word} {word}ly {word}ing" for word in "abcdefghijklmnopqrst"] * 2)
    _, split = split_documents(documents, kind="seed", test_size=0.2, val_size=0.1, seed=0)
    assert count_seen(documents, split) > 0
    _, split = split_documents(documents, kind="grouped", test_size=0.2, val_size=0.1, seed=0)
    assert count_seen(documents, split) == 0


def test_of_one_long_text_the_last_tenth_is_held_out_and_what_stands_before_it_chooses():
    text = sentences(1000)
    (train,), (val,), (test,) = divide(documents_of(text))
    assert train + val + test == text
    assert len(test) == pytest.approx(0.1 * len(text), rel=0.01)
    assert len(val) == pytest.approx(0.09 * len(text), rel=0.01)  # a tenth of what is left, as for rows


def test_a_long_text_needs_no_validation_part():
    text = sentences(100)
    (train,), val, (test,) = divide(documents_of(text), val_size=0.0)
    assert val == [] and train + test == text


def test_each_part_of_a_cut_text_is_a_document_of_its_own_that_remembers_its_place():
    divided, split = split_documents(documents_of(sentences(90)), kind="seed", test_size=0.1, val_size=0.1, seed=0)
    assert (split.train, split.val, split.test) == ([0], [1], [2])
    assert {document.where for document in divided.items} == {"mine:0"}
    assert divided.name == "mine" and divided.kind == "texts"


@pytest.mark.parametrize(
    "text, ends",
    [
        (sentences(200, "\n"), "."),  # a line's end is left out of what is looked at
        (sentences(200), "."),
        ("Er ging. „Nein.“ Sie auch!” " * 90, ".“”!"),
        ("我们明天见。你说什么？好的！" * 90, "。？！"),
        ("no sentence ends here and words go on " * 90, "abcdefghijklmnopqrstuvwxyz"),
    ],
)
def test_a_text_is_cut_after_a_line_or_a_sentence_else_between_words(text, ends):
    parts = [part for (part,) in divide(documents_of(text))]
    assert "".join(parts) == text
    for before, after in zip(parts, parts[1:]):
        assert before.rstrip("\n")[-1] in ends
        if "\n" in text:
            assert before.endswith("\n") and not after[0].isspace()
        elif " " in text:
            assert after.startswith(" ")


def test_a_line_comes_before_a_nearer_sentence_and_a_sentence_before_a_nearer_word():
    text = f"{'word ' * 196}end.\n{'more ' * 3}stop. {'rest ' * 20}"
    (train,), _, (test,) = divide(documents_of(text), test_size=0.1, val_size=0.0)
    assert train.endswith("end.\n")
    (train,), _, (test,) = divide(documents_of(text.replace("\n", " ")), test_size=0.1, val_size=0.0)
    assert train.endswith("stop.") and test.startswith(" rest")


def test_a_sentence_ends_after_its_closing_quotes():
    for sentence in ('She said: "Never again." ', "(He said: ‘Never.’) ", "他说：「好。」"):
        for (part,) in divide(documents_of((sentence * 217).strip())):
            assert part.strip().startswith(sentence[0]) and part.strip().endswith(sentence.strip()[-1])


def test_no_border_is_worth_a_part_of_another_size():
    text = f"{'x' * 7000}\n{'x' * 2000}"
    (train,), _, (test,) = divide(documents_of(text), test_size=0.1, val_size=0.0)
    assert train + test == text and len(test) == 900
    (train,), _, (test,) = divide(documents_of(text), test_size=0.3, val_size=0.0)
    assert train.endswith("\n") and len(test) == 2000


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("ab .\n。🙂", max_size=400), min_size=1, max_size=FEW - 1),
    st.floats(0.02, 0.9),
    st.one_of(st.just(0.0), st.floats(0.02, 0.9)),
)
def test_cut_parts_put_together_are_the_texts_and_none_is_on_two_sides(texts, test_size, val_size):
    documents = documents_of(*texts)
    try:
        divided, split = split_documents(documents, kind="seed", test_size=test_size, val_size=val_size, seed=0)
    except DataError as error:
        assert "too few to hold some out" in str(error)
        return
    numbers = split.train + split.val + split.test
    assert sorted(numbers) == list(range(len(divided.items)))
    for document in documents.items:
        assert "".join(d.text for d in divided.items if d.where == document.where) == document.text
    assert split.test and len(split.train) == len(texts) and bool(split.val) == (val_size > 0)


def test_of_a_few_texts_each_is_cut_and_one_that_is_too_short_trains_whole():
    long, short = sentences(100), "A short one."
    train, val, test = divide(documents_of(long, short, sentences(50)))
    assert (len(train), len(val), len(test)) == (3, 2, 2)
    assert train[1] == short


def test_texts_too_short_to_be_cut_and_too_few_to_be_divided_are_told():
    with pytest.raises(DataError, match=r"^mine: 2 short texts are too few to hold some out; give 10 or longer ones$"):
        divide(documents_of("see you at eight", "ok"))


def test_prompts_and_completions_are_never_cut():
    documents = documents_of(*[sentences(50 + i) for i in range(5)], prompt="Q: ", kind="completions")
    train, val, test = divide(documents, test_size=0.2)
    assert (len(train), len(val), len(test)) == (3, 1, 1)
    with pytest.raises(DataError, match="mine: 1 rows are too few"):
        divide(documents_of(sentences(50), kind="completions"))


def test_the_cut_follows_no_seed_and_shares_that_make_no_sense_are_told():
    text = "".join(random.Random(0).choices("abc .\n", k=5000))
    assert divide(documents_of(text), seed=1) == divide(documents_of(text), seed=2, kind="grouped")
    for bad in ({"kind": "other"}, {"test_size": 0.0}, {"test_size": 1.0}, {"val_size": 1.0}):
        with pytest.raises(DataError, match="is not one of|must lie between"):
            divide(documents_of(text), **bad)
