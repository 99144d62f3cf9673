"""From a user's files to documents: plain text, directories, tables, prompts with completions, and the broken ones."""

import json
from pathlib import Path

import pytest

from data import DataError, Document, Documents, Source, TextRule, load_documents

MESSAGES = Path(__file__).resolve().parents[2] / "data" / "messages" / "messages.tsv"


@pytest.fixture
def load(tmp_path):
    """Write a file of the given name and load its documents."""

    def load(name: str, content: str | bytes, rule: TextRule | None = None, only_label=None, **source) -> Documents:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_documents(Source(str(path), **source), rule or TextRule(), only_label)

    return load


@pytest.fixture
def hub(monkeypatch):
    """Make `datasets.load_dataset` give a table of these columns."""
    datasets = pytest.importorskip("datasets")
    return lambda **columns: monkeypatch.setattr(
        datasets, "load_dataset", lambda name, split: datasets.Dataset.from_dict(columns)
    )


def texts(documents: Documents) -> list[str]:
    return [document.text for document in documents.items]


def pair(**row) -> str:
    return json.dumps(row) + "\n"


def test_a_txt_file_without_separators_is_one_document_with_its_blank_lines(load):
    documents = load("book.txt", "One.\n\n\nTwo,\n  indented.\n\n")
    assert texts(documents) == ["One.\n\n\nTwo,\n  indented."]
    assert documents.kind == "texts" and documents.items[0].prompt == ""


def test_a_line_that_is_exactly_the_end_of_text_separates_documents(load, tmp_path):
    documents = load("m.txt", "one\ntwo\n<|endoftext|>\nthree\n<|endoftext|>\n")
    assert texts(documents) == ["one\ntwo", "three"]
    assert [document.where for document in documents.items] == [f"{tmp_path}/m.txt:{line}" for line in (1, 4)]


@pytest.mark.parametrize("line", ["a <|endoftext|> b", " <|endoftext|>", "<|endoftext|>.", "<|EndOfText|>"])
def test_the_end_of_text_within_a_line_is_text(load, line):
    assert texts(load("m.txt", f"one\n{line}\ntwo\n")) == [f"one\n{line}\ntwo"]


def test_blank_documents_are_dropped(load):
    content = "<|endoftext|>\n\n<|endoftext|>\none\n<|endoftext|>\n  \n\u2003\n<|endoftext|>\n<|endoftext|>\ntwo\n \n"
    assert texts(load("m.txt", content)) == ["one", "two"]
    assert texts(load("m.txt", content, TextRule(strip=False))) == ["one", "two"]


def test_blanks_around_a_document_go_unless_the_rule_says_otherwise(load):
    content = "\n  one \n<|endoftext|>\n\ttwo\n\n<|endoftext|>\n"
    assert texts(load("m.txt", content)) == ["one", "two"]
    assert texts(load("m.txt", content, TextRule(strip=False))) == ["\n  one ", "\ttwo\n"]


def test_a_txt_file_of_windows_with_a_byte_order_mark_reads_the_same(load):
    content = "one\n\ntwo\n<|endoftext|>\nthree\n"
    plain, windows = load("a.txt", content), load("b.txt", "\ufeff" + content.replace("\n", "\r\n"))
    assert texts(windows) == texts(plain) == ["one\n\ntwo", "three"]
    assert windows.fingerprint() == plain.fingerprint()
    assert texts(load("c.txt", "\ufeff<|endoftext|>\r\none\r\n")) == ["one"]


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0c", "a\rb"])
def test_only_a_newline_ends_a_line_of_a_txt_file(load, character):
    content = f"first\none{character}<|endoftext|>{character}two\n"
    assert texts(load("m.txt", content)) == [content.rstrip()]


def test_a_txt_file_may_have_another_encoding(load):
    content = "caf\xe9\n<|endoftext|>\nth\xe9\n".encode("latin-1")
    assert texts(load("m.txt", content, encoding="latin-1")) == ["café", "thé"]
    with pytest.raises(DataError, match=r"m\.txt:1: byte 4 is not utf-8; .*--encoding latin-1"):
        load("m.txt", content)


@pytest.mark.parametrize("content", ["", "\n\n", "<|endoftext|>\n", " \n<|endoftext|>\n\n<|endoftext|>\n \n"])
def test_a_txt_file_without_text_is_told(load, content):
    with pytest.raises(DataError, match=r"m\.txt: no text in it"):
        load("m.txt", content)


def test_a_directory_gives_the_documents_of_its_txt_files_in_the_order_of_their_names(load, tmp_path):
    for name, content in {"b.txt": "three\n", "a.txt": "one\n<|endoftext|>\ntwo", "C.TXT": "zero", "d.md": "x"}.items():
        load(f"texts/{name}", content) if name != "d.md" else (tmp_path / "texts" / name).write_text(content)
    (tmp_path / "texts" / "e.txt").mkdir()
    documents = load_documents(Source(str(tmp_path / "texts")), TextRule())
    assert texts(documents) == ["zero", "one", "two", "three"]
    assert documents.items[2].where == f"{tmp_path}/texts/a.txt:3"
    assert documents.kind == "texts"


def test_a_directory_without_txt_files_is_told(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataError, match="a directory without .txt files; name a file, or put") as error:
        load_documents(Source(str(tmp_path)), TextRule())
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    "name, content",
    [
        ("m.tsv", "ham\tone\nspam\ttwo, too\n"),
        ("SMSCollection", "ham\tone\r\nspam\ttwo, too\r\n"),
        ("m.tsv", "id\ttext\n1\tone\n2\ttwo, too\n"),
        ("m.csv", 'text\none\n"two, too"\n'),
        ("m.jsonl", '{"text": " one"}\n{"text": "two, too\\n", "label": 1.5}\n'),
    ],
)
def test_the_text_column_of_any_table_is_learned_and_needs_no_labels(load, name, content):
    documents = load(name, content)
    assert texts(documents) == ["one", "two, too"]
    assert documents.kind == "rows" and {document.prompt for document in documents.items} == {""}


def test_a_text_column_can_be_named(load):
    assert texts(load("m.csv", "body,text\none,x\n", text_column="body")) == ["one"]
    with pytest.raises(DataError, match=r"m\.csv:1: which column\? There are v1, v2; choose with --text_column"):
        load("m.csv", "v1,v2\na,b\n")


def test_a_hub_dataset_without_labels_is_read(hub):
    hub(text=["one\n", "two"])
    documents = load_documents(Source("someone/texts"), TextRule())
    assert texts(documents) == ["one", "two"] and documents.items[1].where == "someone/texts row 1"


def test_the_rows_of_one_label_alone_can_be_learned(load, hub):
    content = "ham\tone\nspam\twin\nham\ttwo\n"
    assert texts(load("m.tsv", content, only_label="ham")) == ["one", "two"]
    hub(text=["one", "win", "two"], label=[0, 1, 0])
    assert texts(load_documents(Source("someone/texts"), TextRule(), only_label="1")) == ["win"]


def test_an_unknown_label_is_told_with_those_there_are(load):
    with pytest.raises(DataError, match=r"m\.tsv: no row has the label 'Ham'; there are ham, spam$"):
        load("m.tsv", "ham\ta\nspam\tb\nham\tc\nham\td\nspam\te\n", only_label="Ham")
    with pytest.raises(DataError, match=r"there are l0, l1, l2, l3, l4, l5, \.\.\.$"):
        load("m.csv", "label,text\n" + "".join(f"l{i},text\n" for i in range(9)), only_label="x")


@pytest.mark.parametrize("name, content", [("m.txt", "a\n"), ("m.jsonl", pair(prompt="a", completion="b"))])
def test_a_label_where_there_are_none_is_told(load, name, content):
    with pytest.raises(DataError, match="has no labels, so none is 'ham'; leave --only_label out"):
        load(name, content, only_label="ham")


def test_the_bundled_messages_give_their_texts_and_their_ham():
    every, ham = (load_documents(Source(str(MESSAGES)), TextRule(), only) for only in (None, "ham"))
    assert len(every.items) == len(MESSAGES.read_text(encoding="utf-8").splitlines())
    assert not any("\t" in text for text in texts(every))
    assert 0.6 * len(every.items) < len(ham.items) < 0.8 * len(every.items)
    assert set(texts(ham)) < set(texts(every))


def test_prompts_and_completions_are_told_apart_and_the_blank_between_them_is_the_user_s(load, tmp_path):
    rows = pair(prompt=" Q: 2+2?\n", completion=" 4 ") + pair(completion=" c", prompt="", more=1)
    documents = load("m.jsonl", rows)
    assert documents.items == [
        Document(" 4", "Q: 2+2?\n", f"{tmp_path}/m.jsonl:1"),
        Document("c", "", f"{tmp_path}/m.jsonl:2"),
    ]
    assert documents.kind == "completions"
    assert documents.texts == ["Q: 2+2?\n 4", "c"]
    assert load("m.jsonl", rows, TextRule(strip=False)).items[0] == Document(
        " 4 ", " Q: 2+2?\n", f"{tmp_path}/m.jsonl:1"
    )


def test_a_prompt_of_blanks_alone_leaves_no_blank_before_the_completion(load):
    (document,) = load("m.jsonl", pair(prompt=" \n", completion=" a")).items
    assert (document.prompt, document.text) == ("", "a")


@pytest.mark.parametrize("row", [{"prompt": "a"}, {"completion": "b"}, {"prompt": "a", "text": "b"}])
@pytest.mark.parametrize("line", [1, 2])
def test_a_row_without_its_prompt_or_its_completion_is_named(load, row, line):
    missing = "completion" if "prompt" in row else "prompt"
    rows = pair(prompt="a", completion="b") * (line - 1) + pair(**row)
    with pytest.raises(DataError, match=rf"m\.jsonl:{line}: '{missing}' is missing or null; a row has both prompt and"):
        load("m.jsonl", rows)


@pytest.mark.parametrize("key", ["prompt", "completion"])
def test_a_prompt_or_completion_that_is_no_text_is_named(load, key):
    with pytest.raises(DataError, match=rf"m\.jsonl:1: '{key}' is not a text"):
        load("m.jsonl", pair(**({"prompt": "a", "completion": "b"} | {key: ["x"]})))


@pytest.mark.parametrize("completion", ["", " \n"])
def test_an_empty_completion_is_named(load, completion):
    with pytest.raises(DataError, match=r"m\.jsonl:2: empty completion"):
        load("m.jsonl", pair(prompt="a", completion="b") + pair(prompt="a", completion=completion))


def test_half_a_surrogate_pair_in_a_prompt_is_named(load):
    with pytest.raises(DataError, match=r"m\.jsonl:1: .*surrogate"):
        load("m.jsonl", '{"prompt": "\\ud800", "completion": "b"}\n')


def test_a_named_text_column_is_read_whatever_the_others_are_called(load):
    documents = load("m.jsonl", pair(prompt="a", completion="b"), text_column="completion")
    assert texts(documents) == ["b"] and documents.items[0].prompt == "" and documents.kind == "rows"


def test_an_empty_text_in_a_table_names_its_row(load):
    with pytest.raises(DataError, match=r"m\.tsv:2: empty text"):
        load("m.tsv", "ham\ta\nham\t \n")


def test_plain_text_in_a_file_of_another_ending_is_told_where_it_belongs(load):
    with pytest.raises(DataError, match=r"notes\.md:1: no tab; .*; plain text is read from a \.txt file$"):
        load("notes.md", "Some words.\n")


@pytest.mark.parametrize("name", ["nowhere.txt", "nowhere.jsonl", "no/such/folder.txt"])
def test_a_file_that_is_not_there_is_told(name):
    with pytest.raises(DataError, match=f"^{name}: no such file"):
        load_documents(Source(name), TextRule())


def test_the_fingerprint_follows_prompts_texts_and_order(load):
    rows = [pair(prompt="a", completion="b"), pair(prompt="c", completion="d")]
    changed = [pair(prompt="x", completion="b"), pair(prompt="c", completion="x")]
    variants = ["".join(rows), rows[1] + rows[0], changed[0] + rows[1], rows[0] + changed[1]]
    assert len({load("m.jsonl", content).fingerprint() for content in variants}) == 4
    assert load("n.jsonl", variants[0]).fingerprint() == load("m.jsonl", variants[0]).fingerprint()


def test_bytes_are_those_of_what_is_learned_in_utf8():
    documents = Documents("d", [Document("é", "prompt", ""), Document("🙂 a", "", ""), Document("xyz", "", "")], "rows")
    assert documents.n_bytes([0, 1]) == 2 + 6
    assert documents.n_bytes(range(3)) == 11
