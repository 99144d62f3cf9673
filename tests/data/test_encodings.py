"""Bytes that are no lines of text in the encoding given: told as what they are, with the way out."""

import pytest

from data import DataError, Source, read_rows


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.tsv", "ham\ta\rspam\tb\r"),
        ("m.csv", "label,text\rham,a\rspam,b\r"),
        ("m.jsonl", '{"text": "a", "label": "x"}\r{"text": "b", "label": "y"}\r'),
        ("m.tsv", "ham\ta\rspam\tb\rspam\tc\n"),
    ],
)
def test_carriage_returns_as_line_ends_are_told_as_such(read, name, content):
    with pytest.raises(DataError, match=rf"{name}:1: a carriage return inside the line; .*Convert them to newlines"):
        read(name, content)


def test_a_carriage_return_in_a_later_text_is_data(read):
    assert read("m.tsv", "ham\ta\nspam\tb\rc\n") == [("ham", "a"), ("spam", "b\rc")]


def test_bad_utf8_names_line_and_byte_and_latin1_reads_it(read):
    content = b"ham\tfine\nspam\tcaf\xe9 \xa3100\n"
    with pytest.raises(DataError, match=r"m\.tsv:2: byte 9 is not utf-8; .*--encoding latin-1"):
        read("m.tsv", content)
    assert read("m.tsv", content, encoding="latin-1")[1] == ("spam", "caf\xe9 \xa3100")


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le"])
@pytest.mark.parametrize("name, gap", [("m.tsv", "\t"), ("m.csv", ",")])
def test_utf16_and_utf32_are_read_by_their_mark_or_by_their_name(read, encoding, name, gap):
    content = f"label{gap}text\r\nham{gap}caf\xe9\U0001f600\u2028a\nspam{gap}b\n"
    rows = [("ham", "caf\xe9\U0001f600\u2028a"), ("spam", "b")]
    if name == "m.csv":
        content, rows = content.replace("\u2028", "\u010a"), [("ham", "caf\xe9\U0001f600\u010aa"), ("spam", "b")]
    assert read(name, ("\ufeff" + content).encode(encoding)) == rows
    assert read(name, ("\ufeff" + content).encode(encoding), encoding=encoding) == rows
    assert read(name, content.encode(encoding), encoding=encoding) == rows


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
def test_utf16_without_a_mark_is_told_as_such(read, encoding):
    with pytest.raises(DataError, match=rf"m\.tsv:1: the file is UTF-16 without .*--encoding {encoding}"):
        read("m.tsv", "ham\ta\nspam\tb\n".encode(encoding))


def test_a_utf16_file_that_is_cut_names_its_line(read):
    content = "\ufeffham\ta\nspam\tb\n".encode("utf-16-le")[:-1]
    with pytest.raises(DataError, match=r"m\.tsv:2: holds what is not utf-16; .*--encoding_errors replace: 1 such"):
        read("m.tsv", content)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name, head, gap, line", [("m.tsv", "", "\t", 2), ("m.csv", "label,text\n", ",", 3)])
def test_half_pairs_of_a_wide_file_are_counted_and_replaced_too(tmp_path, read, encoding, name, head, gap, line):
    rows = ["ham\tfine \ufffd", "spam\tcut \ud800", "ham\tok", "spam\ta\udc00b\ud900"]
    data = ("\ufeff" + head + "\n".join(rows).replace("\t", gap) + "\n").encode(encoding, "surrogatepass")
    with pytest.raises(DataError, match=rf"{name}:{line}: holds what is not .*replace: 3 such places in the file"):
        read(name, data)
    said = []
    path = tmp_path / name
    rows = read_rows(Source(str(path), encoding_errors="replace"), said.append)
    assert [row.text for row in rows] == ["fine \ufffd", "cut \ufffd", "ok", "a\ufffdb\ufffd"]
    assert said == [f"{path}: 3 characters that are not {encoding[:6]} were replaced, the first at {path}:{line}"]


@pytest.mark.parametrize("name, content", [
    ("m.json", b'[{"text": "caf\xe9", "label": "x"},\n {"text": "b", "label": "y"}]\n'),
    ("m.tsv", b'label\ttext\nx\t"caf\xe9\tb"\ny\tc\n'),
])  # fmt: skip
def test_what_was_replaced_is_said_once_for_files_that_are_looked_at_twice(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    said = []
    assert len(list(read_rows(Source(str(tmp_path / name), encoding_errors="replace"), said.append))) == 2
    assert len(said) == 1 and "1 characters that are not utf-8 were replaced" in said[0]


def test_a_few_cut_characters_are_counted_and_replaced_if_that_is_wanted(tmp_path, read):
    content = b"ham\tfine \xef\xbf\xbd\nspam\tcut \xef\xbf\xbd\xf0\x9f\nham\tok\nspam\tcaf\xe9\n"
    with pytest.raises(DataError, match=r"m\.tsv:2: byte 13 is not utf-8; .*--encoding_errors replace: 2 such places"):
        read("m.tsv", content)
    said = []
    rows = read_rows(Source(str(tmp_path / "m.tsv"), encoding_errors="replace"), said.append)
    assert [row.text for row in rows] == ["fine \ufffd", "cut \ufffd\ufffd", "ok", "caf\ufffd"]
    assert said == [
        f"{tmp_path / 'm.tsv'}: 2 characters that are not utf-8 were replaced, the first at {tmp_path / 'm.tsv'}:2"
    ]


@pytest.mark.parametrize("encoding", ["klingon", "", "rot13"])
def test_an_unknown_encoding_is_told(read, encoding):
    with pytest.raises(DataError, match=r"--encoding .*Python knows no such encoding"):
        read("m.tsv", "ham\ta\n", encoding=encoding)


@pytest.mark.parametrize("encoding", ["undefined", "cp037", "punycode"])
def test_an_encoding_in_which_a_newline_is_not_one_byte_is_refused(read, encoding):
    with pytest.raises(DataError, match=f"--encoding {encoding}: files in it cannot be read line by line"):
        read("m.tsv", "ham\ta\n", encoding=encoding)


def test_text_that_a_codec_refuses_as_a_whole_is_told_with_its_line(read):
    with pytest.raises(DataError, match=r"m\.tsv:2: .*not idna; convert the file"):
        read("m.tsv", "ham\ta\nham\t" + "x" * 70 + ".x\xe9\n", encoding="idna")


@pytest.mark.parametrize("start", ["about", "т.x"])
@pytest.mark.parametrize("right", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_wide_file_without_a_mark_is_known_by_its_first_bytes_and_the_advice_helps(read, start, right):
    content = f"{start},text,label\na,b,c\n".encode(right)
    for given in {"utf-8", "latin-1", "utf-16-le", "utf-16-be", "utf-16", "utf-32"} - {right}:
        if right.startswith("utf-16-") and given.startswith("utf-16-"):
            continue  # the bytes of a character, the other way round, are one as well
        with pytest.raises(DataError, match=r"m\.csv:1: ") as told:
            read("m.csv", content, encoding=given)
        wanted = f"{given}-le, {given}-be or utf-8" if given in ("utf-16", "utf-32") else right
        assert str(told.value).split("--encoding ")[1] == wanted, given
    assert read("m.csv", content, encoding=right) == [("c", "b")]


def test_a_mark_of_another_width_than_was_given_is_told(read):
    with pytest.raises(DataError, match=r"m\.csv:1: no byte order mark of UTF-16; give --encoding utf-32$"):
        read("m.csv", "text,label\na,b\n".encode("utf-32"), encoding="utf-16")
