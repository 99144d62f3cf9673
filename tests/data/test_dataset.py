"""From rows to a data set: which texts and labels can be learned from, how labels are numbered, and the hub."""

import hashlib
import json
import sys
import time
import types

import huggingface_hub.utils
import pytest

from data import DataError, Source, TextRule, load_texts


@pytest.fixture
def load(tmp_path):
    """Write a file of the given name and load it."""

    def load(name: str, content: str, rule: TextRule | None = None, **columns):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8", newline="")
        return load_texts(Source(str(path), **columns), rule or TextRule())

    return load


@pytest.fixture
def hub(monkeypatch):
    """Make `datasets.load_dataset` give a table of the given columns; returns the list of ids asked for."""
    datasets = pytest.importorskip("datasets")
    asked = []

    def publish(columns: dict[str, list], names: list[str] | None = None) -> list[str]:
        table = datasets.Dataset.from_dict(columns)
        if names:
            table = table.cast_column("label", datasets.ClassLabel(names=names))
        monkeypatch.setattr(datasets, "load_dataset", lambda name, split: asked.append((name, split)) or table)
        return asked

    return publish


def test_ham_and_spam_are_numbered_so_that_spam_is_the_positive_one(load):
    dataset = load("m.tsv", "spam\tb\nham\ta\nspam\tc\n")
    assert dataset.label_names == ["ham", "spam"]
    assert dataset.labels == [1, 0, 1]
    assert dataset.texts == ["b", "a", "c"]
    assert dataset.id2label == {0: "ham", 1: "spam"}
    assert dataset.label2id == {"ham": 0, "spam": 1}


def test_numeric_labels_are_numbered_in_numerical_order(load):
    assert load("m.tsv", "10\ta\n2\tb\n-1\tc\n0\td\n").label_names == ["-1", "0", "2", "10"]
    assert load("m.tsv", "10\ta\n2\tb\nx\tc\n").label_names == ["10", "2", "x"]


def test_texts_are_stripped_unless_the_rule_says_otherwise(load):
    content = '{"text": " a \\n", "label": "x"}\n{"text": "b", "label": "y"}\n'
    assert load("m.jsonl", content).texts == ["a", "b"]
    assert load("m.jsonl", content, TextRule(strip=False)).texts == [" a \n", "b"]


@pytest.mark.parametrize("content", ["", "\n", "\n\n\n", "\ufeff"])
def test_a_file_without_rows_is_told(load, content):
    with pytest.raises(DataError, match=r"m\.tsv: no rows"):
        load("m.tsv", content)


@pytest.mark.parametrize("name, header", [("m.csv", "label,text\n"), ("m.tsv", "label\ttext\n")])
def test_a_file_with_a_header_only_is_told(load, name, header):
    with pytest.raises(DataError, match="no rows"):
        load(name, header)


@pytest.mark.parametrize("text", ["", "   ", "\u2003"])
def test_an_empty_text_names_its_row(load, text):
    with pytest.raises(DataError, match=r"m\.tsv:2: empty text"):
        load("m.tsv", f"ham\ta\nspam\t{text}\nham\tc\n")


def test_half_a_surrogate_pair_in_a_text_names_its_row(load):
    with pytest.raises(DataError, match=r"m\.jsonl:2: .*surrogate"):
        load("m.jsonl", '{"text": "a", "label": "x"}\n{"text": "b \\ud800", "label": "y"}\n')
    assert load("m.jsonl", '{"text": "\\ud83d\\ude00", "label": "x"}\n{"text": "b", "label": "y"}\n').texts[0] == "😀"


def test_half_a_surrogate_pair_in_a_label_names_its_row(load):
    with pytest.raises(DataError, match=r"m\.jsonl:2: "):
        load("m.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": "\\ud800"}\n')


def test_one_label_only_is_told(load):
    with pytest.raises(DataError, match="all rows have the label 'ham'; at least two"):
        load("m.tsv", "ham\ta\nham\tb\n")


def test_an_empty_label_names_its_row(load):
    with pytest.raises(DataError, match=r"m\.tsv:2: empty label"):
        load("m.tsv", "ham\ta\n\tb\nspam\tc\n")


@pytest.mark.parametrize("twin", ["Spam", "spam ", "SPAM", "1.0", "True"])
def test_spellings_of_one_label_are_one_label_under_its_commonest_name_and_that_is_said(load, twin):
    label = {"1.0": "1", "True": "true"}.get(twin, "spam")
    dataset = load("m.csv", f"label,text\n{twin},a\n{label},b\n{label},c\nham,d\n")
    assert sorted(dataset.label_names) == sorted(["ham", label])
    assert [dataset.label_names[number] for number in dataset.labels] == [label, label, label, "ham"]
    assert dataset.notes == (f"{dataset.name}: labels {twin!r}, {label!r} are one label, {label!r}",)


@pytest.mark.parametrize("names", [("0.0", "1.0"), ("Ham ", "SPAM"), ("True", "False")])
def test_a_label_that_is_written_in_one_way_keeps_its_name(load, names):
    dataset = load("m.csv", f"label,text\n{names[0]},a\n{names[1]},b\n")
    assert set(dataset.label_names) == set(names) and dataset.notes == ()


def test_bad_rows_are_left_out_with_their_places_and_reasons_if_that_is_wanted(load):
    rows = ["ham,a", "ham,", " ,b", "spam,c", "spam,  "]
    dataset = load("m.csv", "label,text\n" + "\n".join(rows) + "\n", on_bad_row="skip")
    assert dataset.texts == ["a", "c"] and [r for _, r in dataset.rejected] == [
        "empty text",
        "empty label",
        "empty text",
    ]
    assert [where.rsplit(":")[-1] for where, _ in dataset.rejected] == ["3", "4", "6"]
    lines = [
        '{"text": "a", "label": "x"}',
        '{"text": null, "label": "x"}',
        '{"text": "b"}',
        '{"text": "c", "label": 2}',
    ]
    dataset = load("m.jsonl", "\n".join(lines), on_bad_row="skip")
    assert dataset.texts == ["a", "c"] and [r for _, r in dataset.rejected] == ["null text", "null label"]
    with pytest.raises(DataError, match=r"m\.jsonl:2: 'text' is missing or null, .*--on_bad_row skip"):
        load("m.jsonl", "\n".join(lines))
    with pytest.raises(DataError, match=r"no rows but 1 that were left out, the first .*m\.csv:2"):
        load("m.csv", "label,text\nham,\n", on_bad_row="skip")


def test_a_parquet_file_is_read_row_for_row(tmp_path):
    datasets = pytest.importorskip("datasets")
    path = tmp_path / "m.parquet"
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1.0, 0.0], "n": [1, 2]}).to_parquet(path)
    dataset = load_texts(Source(str(path)), TextRule())
    assert (dataset.texts, dataset.labels, dataset.label_names) == (["a", "b"], [1, 0], ["0", "1"])
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"m\.parquet: no parquet file that can be read"):
        load_texts(Source(str(path)), TextRule())


def test_a_parquet_file_without_the_library_is_told(tmp_path, monkeypatch):
    path = tmp_path / "m.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"m\.parquet: a parquet file needs `pip install datasets`"):
        load_texts(Source(str(path)), TextRule())


def test_the_text_column_given_as_label_column_is_told(load):
    rows = "".join(f"ham,message {i}\n" for i in range(300))
    with pytest.raises(DataError, match="both text and label; choose with --text_column, --label_column"):
        load("m.csv", "kind,text\n" + rows, label_column="text")


def test_the_text_column_given_as_label_column_is_told_in_a_small_file_too(load):
    with pytest.raises(DataError, match="--label_column"):
        load("m.csv", "kind,text\nham,one\nspam,two\nham,three\n", label_column="text")


def test_the_fingerprint_follows_texts_labels_and_order(load):
    content = "ham\ta\nspam\tb\nham\tc\n"
    same, text, label, order = (
        load("m.tsv", c).fingerprint()
        for c in (content, content.replace("b", "d"), "ham\ta\nspam\tb\nspam\tc\n", "spam\tb\nham\ta\nham\tc\n")
    )
    assert load("n.tsv", content).fingerprint() == same
    assert len({same, text, label, order}) == 4


def test_the_fingerprint_follows_the_names_of_the_labels_and_keeps_the_part_that_older_files_hold(load):
    here, renamed = load("m.tsv", "ham\ta\nspam\tb\n"), load("m.tsv", "ham\ta\nwham\tb\n")
    (version, rows, names), (_, same_rows, other_names) = (d.fingerprint().split(":") for d in (here, renamed))
    assert version == "2" and rows == same_rows and names != other_names
    assert rows == hashlib.sha256(b"0\0a\x001\0b\0").hexdigest()


def test_a_hub_dataset_keeps_its_own_label_names_and_their_order(hub):
    asked = hub({"sms": ["b\n", "a\n", "c\n"], "label": [1, 0, 1]}, names=["zebra", "ant"])
    dataset = load_texts(Source("someone/messages"), TextRule())
    assert asked == [("someone/messages", "train")]
    assert dataset.label_names == ["zebra", "ant"]
    assert dataset.labels == [1, 0, 1]
    assert dataset.texts == ["b", "a", "c"]


def test_a_hub_dataset_whose_texts_end_in_a_newline_equals_the_file(hub, load):
    messages = [("ham", "see you at 8"), ("spam", "win £100"), ("ham", "a\tb")]
    hub(
        {"sms": [t + "\n" for _, t in messages], "label": [int(k == "spam") for k, _ in messages]},
        names=["ham", "spam"],
    )
    from_hub = load_texts(Source("ucirvine/sms_spam"), TextRule())
    from_file = load("m.tsv", "".join(f"{label}\t{text}\n" for label, text in messages))
    assert from_hub.texts == from_file.texts
    assert from_hub.labels == from_file.labels
    assert from_hub.fingerprint() == from_file.fingerprint()


def test_a_hub_dataset_without_label_names_is_numbered_like_a_file(hub):
    hub({"text": ["a", "b", "c"], "label": [10, 2, 10]})
    dataset = load_texts(Source("someone/numbers"), TextRule())
    assert dataset.label_names == ["2", "10"]
    assert dataset.labels == [1, 0, 1]


def test_a_hub_row_without_a_label_is_named(hub):
    hub({"text": ["a", "b", "c"], "label": [0, 1, None]}, names=["ham", "spam"])
    with pytest.raises(DataError, match="someone/messages row 2: 'label' is missing or null"):
        load_texts(Source("someone/messages"), TextRule())


def test_a_hub_row_marked_as_unlabelled_is_named(hub):
    hub({"text": ["a", "b", "c"], "label": [0, 1, -1]}, names=["ham", "spam"])
    with pytest.raises(DataError, match="someone/messages row 2"):
        load_texts(Source("someone/messages"), TextRule())


def test_a_wrong_hub_column_lists_the_columns_there_are(hub):
    hub({"body": ["a", "b"], "topic": [0, 1]})
    with pytest.raises(DataError, match=r"no column 'text'; there are body, topic .*--text_column"):
        load_texts(Source("someone/messages"), TextRule())
    with pytest.raises(DataError, match=r"no column 'label'; there are body, topic .*--label_column"):
        load_texts(Source("someone/messages", text_column="body"), TextRule())
    dataset = load_texts(Source("someone/messages", text_column="body", label_column="topic"), TextRule())
    assert dataset.label_names == ["0", "1"]


def test_a_hub_id_without_a_network_gives_one_line_at_once(monkeypatch):
    datasets, waits = pytest.importorskip("datasets"), []
    monkeypatch.setattr(time, "sleep", waits.append)  # the hub's client waits before each further attempt
    with pytest.raises(DataError) as error:
        load_texts(Source("someone/messages-that-are-not-there"), TextRule())
    message = str(error.value)
    assert message.startswith("someone/messages-that-are-not-there: no such file")
    assert "without a network give the path of a .tsv, .csv or .jsonl file" in message
    assert "\n" not in message
    assert sum(waits) < 1 and not datasets.config.HF_HUB_OFFLINE


def test_a_hub_id_where_the_library_is_not_installed_gives_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="^someone/messages: no such file; .* needs `pip install datasets`$"):
        load_texts(Source("someone/messages"), TextRule())


@pytest.mark.parametrize("answers", [True, False])
def test_only_a_hub_that_does_not_answer_is_taken_to_be_offline(hub, monkeypatch, answers):
    datasets = pytest.importorskip("datasets")
    hub({"text": ["a", "b"], "label": [0, 1]})
    seen, load = [], datasets.load_dataset
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *a, **k: seen.append(datasets.config.HF_HUB_OFFLINE) or load(*a, **k)
    )
    if answers:
        session = types.SimpleNamespace(head=lambda url, timeout: None)
        monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: session)
    load_texts(Source("someone/messages"), TextRule())
    assert seen == [not answers] and not datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize("name", ["nowhere.tsv", "./some/where.csv", "/no/such/file.jsonl"])
def test_a_path_is_not_looked_for_on_the_hub(name, hub):
    asked = hub({"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(DataError, match="no such file"):
        load_texts(Source(name), TextRule())
    assert asked == []


def test_a_file_comes_before_a_hub_dataset_of_the_same_name(hub, tmp_path, monkeypatch):
    asked = hub({"text": ["a", "b"], "label": [0, 1]})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone").mkdir()
    (tmp_path / "someone" / "messages").write_text(json.dumps("x") + "\tone\ny\ttwo\n")
    assert load_texts(Source("someone/messages"), TextRule()).texts == ["one", "two"]
    assert asked == []
