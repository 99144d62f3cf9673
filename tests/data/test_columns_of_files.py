"""Which columns are taken where a file does not say it plainly: records without all keys, names with blanks, nulls."""

import json

import pytest

from data import DataError, Source, TextRule, load_texts, read_rows


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


ROWS = [{"kind": "ham" if i % 2 else "spam", "text": f"text {i}"} for i in range(30)]


@pytest.mark.parametrize("array", [False, True])
def test_of_two_keys_one_of_which_is_known_the_other_is_taken_if_it_fits_and_else_shown(read, array):
    def written(rows):
        return json.dumps(rows) if array else lines(*rows)

    name = "m.json" if array else "m.jsonl"
    assert read(name, written(ROWS))[:2] == [("spam", "text 0"), ("ham", "text 1")]
    with pytest.raises(DataError, match=r"choose with --label_column \(the first row: id 'n0', text 'text 0'\)"):
        read(name, written([{"id": f"n{i}", "text": row["text"]} for i, row in enumerate(ROWS)]))


def test_a_first_record_without_all_keys_is_a_bad_row_and_no_other_table(read, tmp_path):
    content = lines({"label": "ham"}, {"label": "ham", "text": "a"}, {"label": "spam", "text": "b"})
    with pytest.raises(DataError, match=r"m\.jsonl:1: 'text' is missing or null.*--on_bad_row skip"):
        read("m.jsonl", content)
    found = load_texts(Source(str(tmp_path / "m.jsonl"), on_bad_row="skip"), TextRule())
    assert found.texts == ["a", "b"] and [reason for _, reason in found.rejected] == ["null text"]


@pytest.mark.parametrize("content", ["\n \n[\n", "\n["])
def test_blank_lines_before_an_array_mean_nothing(read, content):
    assert read("m.json", f'{content}{{"label": "x", "text": "a"}}]') == [("x", "a")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.tsv", "x\ta\n\ny\tb\n"), ("m.tsv", "label\ttext\n\ny\tb\n"), ("m.csv", "label,text\n\ny,b\n"),
        ("m.jsonl", lines({"text": "a", "label": "x"}) + "\n" + lines({"text": "b", "label": "y"})),
    ],
)  # fmt: skip
def test_a_blank_line_says_that_skip_leaves_it_out(read, name, content):
    with pytest.raises(DataError, match=rf"{name}:2: blank line; .*--on_bad_row skip leaves such rows out"):
        read(name, content)


def test_what_is_not_a_number_is_null_and_of_several_texts_one_may_be(tmp_path, read):
    content = '{"label": NaN, "text": "a"}\n{"label": "x", "text": NaN}\n{"label": "x", "text": "b"}\n'
    with pytest.raises(DataError, match="'label' is missing or null.*--on_bad_row skip"):
        read("m.jsonl", content)
    found = [row.fault for row in read_rows(Source(str(tmp_path / "m.jsonl"), on_bad_row="skip"))]
    assert found == ["null label", "null text", ""]
    content = lines({"a": "one", "b": None, "label": "x"}, {"a": None, "b": None, "label": "x"})
    (tmp_path / "n.jsonl").write_text(content)
    rows = list(read_rows(Source(str(tmp_path / "n.jsonl"), ["a", "b"], on_bad_row="skip")))
    assert [(row.text, row.fault) for row in rows] == [("one\n", ""), ("\n", "null text")]


def test_a_name_is_found_without_the_blanks_around_it(read):
    content = "Kind, Body\nx,a\ny,b\n"
    assert read("m.csv", content, text_column="Body", label_column="Kind") == [("x", "a"), ("y", "b")]


def test_a_table_of_texts_alone_is_no_table_for_a_classifier(read):
    with pytest.raises(DataError, match=r"there is no column of labels; .*--task language"):
        read("m.csv", "text\na\nb\n")


@pytest.mark.parametrize("columns", [{}, {"text_column": "2", "label_column": "1"}])
def test_quotes_of_a_tsv_without_a_header_are_read_alike_with_columns_and_without(read, columns):
    quoted = '"ham"\t"a ""b"""\n"spam"\t"c"\n'
    assert read("m.tsv", quoted, header=False, **columns) == [("ham", 'a "b"'), ("spam", "c")]
    assert read("n.tsv", 'ham\t"a" b\nspam\tc\n', header=False, **columns) == [("ham", '"a" b'), ("spam", "c")]
