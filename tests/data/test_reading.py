"""Rows out of TSV, CSV and JSONL files: what counts as one row, and what a user is told about a broken one."""

import pytest

from data import DataError, Source, read_rows


@pytest.mark.promise("P4")
def test_the_sms_collection_has_5574_rows_of_which_747_are_spam(sms_file):
    rows = list(read_rows(Source(str(sms_file))))
    assert len(rows) == 5574
    assert sum(row.label == "spam" for row in rows) == 747
    assert {row.label for row in rows} == {"ham", "spam"}
    assert not any("\r" in row.text or "\n" in row.text for row in rows)


def test_every_row_knows_its_file_and_line(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text("ham\ta\nspam\tb\n")
    assert [row.where for row in read_rows(Source(str(path)))] == [f"{path}:1", f"{path}:2"]


def test_a_tsv_line_is_split_at_its_first_tab(read):
    assert read("m.tsv", "ham\tone\ttwo\tthree\nspam\tfour\n") == [("ham", "one\ttwo\tthree"), ("spam", "four")]


@pytest.mark.promise("P4")
def test_quotes_in_a_tsv_are_data(read):
    content = 'ham\t"open only\nspam\tfine\nham\t"both"\n'
    assert read("m.tsv", content) == [("ham", '"open only'), ("spam", "fine"), ("ham", '"both"')]


def test_windows_line_ends_leave_no_carriage_return(read):
    assert read("m.tsv", "ham\ta\r\nspam\tb\r\n") == [("ham", "a"), ("spam", "b")]


def test_a_byte_order_mark_is_not_part_of_the_first_label(read):
    assert read("m.tsv", "\ufeffham\ta\nspam\tb\n") == [("ham", "a"), ("spam", "b")]


@pytest.mark.promise("P4")
def test_the_last_row_counts_without_a_final_newline(read):
    assert read("m.tsv", "ham\ta\nspam\tb") == [("ham", "a"), ("spam", "b")]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x00"])
@pytest.mark.parametrize("name, line", [("m.tsv", "ham\ta{}b\n"), ("m.csv", "label,text\nham,a{}b\n")])
def test_only_a_newline_ends_a_row(read, name, line, character):
    assert read(name, line.format(character)) == [("ham", f"a{character}b")]


def test_a_tsv_header_with_the_usual_names_is_recognised_in_any_order(read):
    assert read("m.tsv", "id\tText\tLabel\n7\thello\tham\n") == [("ham", "hello")]


def test_a_tsv_header_is_used_when_the_text_column_is_named(read):
    content = "topic\tbody\nsport\twon\tthree one\n"
    assert read("m.tsv", content, text_column="body", label_column="topic") == [("sport", "won\tthree one")]


def test_a_tsv_header_is_used_when_only_the_label_column_is_named(read):
    assert read("m.tsv", "topic\ttext\nsport\twon\n", label_column="topic") == [("sport", "won")]
    with pytest.raises(DataError, match=r"There are topic, body, id; choose with --text_column"):
        read("m.tsv", "topic\tbody\tid\nsport\twon\t1\n", label_column="topic")


def test_a_tsv_header_with_names_of_its_own_does_not_become_a_label(read):
    rows = "".join(f"{label}\t{i}\n" for i in range(3) for label in ("ham", "spam"))
    with pytest.raises(DataError, match=r"m\.tsv:1: no other row has the label 'v1'; .*--text_column .*--header false"):
        read("m.tsv", "v1\tv2\n" + rows)
    assert len(read("m.tsv", rows + "rare\tx\n")) == 7
    assert read("m.tsv", "v1\tv2\n" + rows, header=False)[0] == ("v1", "v2")  # as the message says
    assert len(read("m.tsv", "v1\tv2\n" + rows, labelled=False)) == 7


def test_a_tsv_header_in_quotes_says_that_quotes_are_a_tables(read):
    content = '"label"\t"text"\n"ham"\t"a"\nspam\t"two ""quotes"", a\ttab and\na line"\nham\tplain\n'
    assert read("m.tsv", content) == [("ham", "a"), ("spam", 'two "quotes", a\ttab and\na line'), ("ham", "plain")]
    with pytest.raises(DataError, match=r"m\.tsv:2: broken table \(.*\); is a quote not closed"):
        read("m.tsv", '"label"\t"text"\nham\t"a\n')
    with pytest.raises(DataError, match=r"m\.tsv:1: only some columns in quotes"):
        read("m.tsv", '"label"\ttext"\nham\ta\n')


@pytest.mark.parametrize("field", ['"a\ttab"', '"two\nlines"', '"a ""quote"""', '""""', '"\n\t"""'])
def test_quotes_under_a_plain_tsv_header_are_a_tables_if_each_field_needs_them(read, field):
    text = field[1:-1].replace('""', '"')
    assert read("m.tsv", f"text\tlabel\n{field}\tham\nplain\tspam\n") == [("ham", text), ("spam", "plain")]


@pytest.mark.promise("P4")
@pytest.mark.parametrize(
    "texts",
    [['"both"', "x"], ['"open only', "x"], ['"Hello" she said', "x"], ['"one ""two"""', '"both"'], ['"', "x"]]
    + [['"open', "x", "x", 'close"']],
)
def test_other_quotes_under_a_plain_tsv_header_are_data_and_swallow_no_row(read, texts):
    for columns in ("label\ttext", "text\tlabel"):
        rows = [f"ham\t{text}" if columns.startswith("label") else f"{text}\tham" for text in texts]
        assert read("m.tsv", "\n".join([columns, *rows])) == [("ham", text) for text in texts]


@pytest.mark.promise("P4")
def test_the_sms_collection_under_a_header_has_its_5574_rows(sms_file, read):
    assert len(read("m.tsv", b"label\ttext\n" + sms_file.read_bytes())) == 5574


@pytest.mark.parametrize(("end", "kept"), [("\n", "a\r\nb\rc"), ("\r\n", "a\nb\rc")])
def test_a_carriage_return_between_quotes_is_part_of_the_text_unless_all_lines_end_in_one(read, end, kept):
    assert read("m.csv", f'label,text{end}ham,"a\r\nb\rc"{end}') == [("ham", kept)]


def test_a_tab_in_a_tsv_text_that_is_not_the_last_column_is_told(read):
    with pytest.raises(DataError, match=r"m\.tsv:2: 3 columns, the header names 2"):
        read("m.tsv", "text\tlabel\none\ttwo\tham\n")


def test_a_tsv_row_shorter_than_its_header_is_named(read):
    with pytest.raises(DataError, match=r"m\.tsv:3: 1 columns, the header names 2"):
        read("m.tsv", "label\ttext\nham\ta\nspam\n")


def test_a_line_without_a_tab_is_named_by_file_and_line(read, tmp_path):
    with pytest.raises(DataError) as error:
        read("m.tsv", "ham\ta\nspam b\n")
    assert str(error.value).startswith(f"{tmp_path / 'm.tsv'}:2: no tab")


def test_blank_lines_at_the_end_mean_nothing_but_one_in_the_middle_is_named(read):
    assert read("m.tsv", "ham\ta\n\n \n\r\n") == [("ham", "a")]
    with pytest.raises(DataError, match=r"m\.tsv:2: blank line"):
        read("m.tsv", "ham\ta\n\nspam\tb\n")


def test_a_csv_field_may_hold_commas_newlines_and_doubled_quotes(read):
    content = 'label,text\r\nham,"a, b"\r\nspam,"line one\n\nline ""two"""\r\n'
    assert read("m.csv", content) == [("ham", "a, b"), ("spam", 'line one\n\nline "two"')]


def test_a_csv_field_may_be_longer_than_the_csv_modules_own_limit(read):
    assert read("m.csv", "label,text\nham," + "x" * 200_000 + "\n") == [("ham", "x" * 200_000)]


def test_a_csv_row_after_a_field_with_newlines_still_gets_its_line_number(read):
    with pytest.raises(DataError, match=r"m\.csv:5: 3 columns, the header names 2"):
        read("m.csv", 'label,text\nham,"a\nb\nc"\nspam,b,c\n')


def test_a_wrong_column_name_lists_the_columns_there_are(read):
    with pytest.raises(DataError, match=r"no column 'body'; there are label, text .*--text_column"):
        read("m.csv", "label,text\nham,a\n", text_column="body")
    with pytest.raises(DataError, match=r"no column 'topic'; there are label, text .*--label_column"):
        read("m.csv", "label,text\nham,a\n", label_column="topic")


def test_columns_with_unusual_names_must_be_chosen(read):
    with pytest.raises(DataError, match=r"There are v1, v2; choose with --text_column"):
        read("m.csv", "v1,v2\nham,a\n")


def test_an_unclosed_quote_names_the_line_where_its_row_starts(read):
    with pytest.raises(DataError, match=r"m\.csv:3: .*is a quote not closed"):
        read("m.csv", 'label,text\nham,a\nspam,"b\nham,c\nham,d\n')


@pytest.mark.parametrize("row, found", [("ham", 1), ("ham,a,b", 3)])
def test_a_csv_row_with_a_wrong_number_of_columns_is_named(read, row, found):
    with pytest.raises(DataError, match=rf"m\.csv:3: {found} columns, the header names 2"):
        read("m.csv", f"label,text\nham,a\n{row}\n")


@pytest.mark.parametrize("name, header", [("m.csv", "text,label,text\n"), ("m.tsv", "text\tlabel\ttext\n")])
def test_two_columns_of_the_same_name_are_refused(read, name, header):
    with pytest.raises(DataError, match=r":1: two columns have the same name"):
        read(name, header + header.replace("text", "x"))


@pytest.mark.parametrize("name, gap", [("m.csv", ","), ("m.tsv", "\t")])
def test_columns_without_a_name_do_no_harm(read, name, gap):
    rows = ["v1,v2,,,", "ham,a,,,", "spam,b,,,"]
    content = "".join(row.replace(",", gap) + "\n" for row in rows)
    assert read(name, content, text_column="v2", label_column="v1") == [("ham", "a"), ("spam", "b")]
    with pytest.raises(DataError, match=r"There are v1, v2; choose"):
        read("m.csv", "v1,v2,,,\nham,a,,,\n")


@pytest.mark.parametrize("blank", ["\n", "\n\n", "  \r\n", ",\n"])
def test_a_blank_line_before_a_csv_header_is_told_as_such(read, blank):
    with pytest.raises(DataError, match=r"m\.csv:1: blank, where the names of the columns should be; remove"):
        read("m.csv", blank + "label,text\nham,a\n")


def test_a_blank_line_in_the_middle_of_a_csv_is_told_as_such(read):
    with pytest.raises(DataError, match=r"m\.csv:3: blank line; remove it"):
        read("m.csv", "label,text\nham,a\n\nspam,b\n")


@pytest.mark.parametrize("line", ['{"text": "b", "label": "y", "label": "z"}', '{"more": {"label": 1, "label": 2}}'])
def test_a_key_that_stands_twice_in_a_jsonl_object_is_named(read, line):
    with pytest.raises(DataError, match=r"m\.jsonl:2: the key 'label' stands twice"):
        read("m.jsonl", '{"text": "a", "label": "x"}\n' + line + "\n")


def test_jsonl_rows_are_read_whatever_the_order_of_their_keys(read):
    content = '{"text": "a\\nb\\u2028c", "label": "ham"}\n{"label": 3, "text": "\\"", "more": [1]}\n'
    assert read("m.jsonl", content) == [("ham", "a\nb\u2028c"), ("3", '"')]


def test_blank_lines_at_the_end_of_a_jsonl_file_mean_nothing(read):
    assert read("m.jsonl", '\ufeff{"text": "a", "label": "ham"}\r\n\n\n') == [("ham", "a")]


def test_whole_numbers_and_booleans_are_labels_but_other_values_are_not(read):
    assert read("m.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": 0}\n') == [("True", "a"), ("0", "b")]
    for value in ("1.5", "NaN", "null", "[1]", '{"a": 1}'):
        with pytest.raises(DataError, match=r"m\.jsonl:1: 'label' is .*, not a label"):
            read("m.jsonl", f'{{"text": "a", "label": {value}}}\n')


@pytest.mark.parametrize("value", ["null", "12", "1.5", "true", '["a"]', '{"a": 1}'])
def test_a_jsonl_value_that_is_no_text_is_named(read, value):
    with pytest.raises(DataError, match=r"m\.jsonl:2: 'text' is .*, not a text"):
        read("m.jsonl", f'{{"text": "a", "label": "x"}}\n{{"text": {value}, "label": "x"}}\n')


def test_a_jsonl_row_without_the_text_is_named(read):
    with pytest.raises(DataError, match=r"m\.jsonl:2: 'text' is missing or null"):
        read("m.jsonl", '{"text": "a", "label": "x"}\n{"label": "x"}\n')


BROKEN = ['{"text": "a"', "text", "[" * 100_000, '{"text": "a", "label": ' + "9" * 5000 + "}"]


@pytest.mark.parametrize("line", BROKEN, ids=["cut off", "bare word", "deeply nested", "endless number"])
def test_a_jsonl_line_that_is_not_json_is_named(read, line):
    with pytest.raises(DataError, match=r"m\.jsonl:2: not JSON") as error:
        read("m.jsonl", f'{{"text": "a", "label": "x"}}\n{line}\n{{"text": "b", "label": "x"}}\n')
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("line, kind", [("3", "int"), ('"a"', "str"), ("null", "NoneType")])
def test_a_jsonl_line_that_is_no_object_is_named(read, line, kind):
    with pytest.raises(DataError, match=rf"m\.json:1: .*one object per line, not a {kind}"):
        read("m.json", line + "\n")


def test_a_txt_file_without_labels_has_one_text_a_line(read):
    assert read("m.txt", "label\ttext\nb, c\n", labelled=False) == [(None, "label\ttext"), (None, "b, c")]


def test_unlabelled_rows_need_no_label_column(read):
    assert read("m.csv", "id,text\n1,a\n", labelled=False) == [(None, "a")]
    assert read("m.jsonl", '{"text": "a"}\n', labelled=False) == [(None, "a")]


def test_a_missing_file_and_a_directory_are_told(tmp_path):
    with pytest.raises(DataError, match="nowhere.tsv: no such file"):
        read_rows(Source(str(tmp_path / "nowhere.tsv")))
    with pytest.raises(DataError, match="is a directory, not a file"):
        read_rows(Source(str(tmp_path)))
