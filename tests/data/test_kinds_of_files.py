"""Files as people have them: one small file of each kind, read as it is, or refused with the way out."""

import gzip

import pytest

from data import DataError, Source, read_rows

TWO = [("ham", "a b"), ("spam", "c; d")]
ROWS = "ham;a b\nspam;'c; d'\n"
MANY = [("yes" if i % 2 else "no", f"text number {i}") for i in range(40)]


def table(rows, gap: str, header: str = "") -> str:
    return header + "".join(f"{label}{gap}{text}\n" for label, text in rows)


READ = {
    "csv with semicolons": ("m.csv", 'label;text\nham;a b\nspam;"c; d"\n', {}, TWO),
    "csv with semicolons, header in quotes": ("m.csv", '"label";"text"\n"ham";"a b"\n"spam";"c; d"\n', {}, TWO),
    "csv with tabs": ("m.csv", "label\ttext\nham\ta b\nspam\tc; d\n", {}, TWO),
    "csv with pipes": ("m.csv", "label|text\nham|a b\nspam|c; d\n", {}, TWO),
    "another delimiter and quote": ("m.csv", "label;text\n" + ROWS, {"delimiter": ";", "quotechar": "'"}, TWO),
    "tsv with a delimiter given": ("m.tsv", "label^text\nham^a b\nspam^c; d\n", {"delimiter": "^"}, TWO),
    "csv without a header": (
        "m.csv",
        'ham,1,"a b"\nspam,2,c; d\n',
        {"header": False, "text_column": "3", "label_column": "1"},
        TWO,
    ),
    "tsv without a header": (
        "m.tsv",
        "1\tham\tx\ta b\n2\tspam\ty\tc; d\n",
        {"header": False, "text_column": "4", "label_column": "2"},
        TWO,
    ),
    "tsv of two columns, said to have no header": ("m.tsv", "ham\ta b\nspam\tc; d\n", {"header": False}, TWO),
    "one of two columns is recognised, the label is left": ("m.csv", table(MANY, ",", "kind,text\n"), {}, MANY),
    "one of two columns is recognised, the text is left": ("m.csv", table(MANY, ",", "label,body\n"), {}, MANY),
    "the same in a tsv": ("m.tsv", table(MANY, "\t", "kind\ttext\n"), {}, MANY),
    "a first row that reads like a header and is none": (
        "m.tsv",
        "class\tx\nham\ta\nclass\ty\n",
        {},
        [("class", "x"), ("ham", "a"), ("class", "y")],
    ),
    "a first row that reads like half a header and is none": (
        "m.tsv",
        "q0\ttext\n" + "".join(f"q{i}\tt{i}\n" for i in range(1, 30)),
        {},
        [("q0", "text"), *[(f"q{i}", f"t{i}") for i in range(1, 30)]],
    ),
    "several text columns": (
        "m.csv",
        "class,title,body\nham,A,b\n",
        {"text_column": ["title", "body"]},
        [("ham", "A\nb")],
    ),
    "several text columns of JSON": (
        "m.jsonl",
        '{"class": 1, "title": "A", "body": "b"}\n',
        {"text_column": ["title", "body"]},
        [("1", "A\nb")],
    ),
    "a JSON array": (
        "m.json",
        '[\n  {"label": "ham", "text": "a b"},\n  {"label": "spam", "text": "c; d"}\n]\n',
        {},
        TWO,
    ),
    "a JSON array on one line": ("m.jsonl", '[{"label":"ham","text":"a b"},{"label":"spam","text":"c; d"}]', {}, TWO),
    "ndjson": ("m.ndjson", '{"label": "ham", "text": "a b"}\n{"label": "spam", "text": "c; d"}\n', {}, TWO),
    "labels that are whole floats": ("m.jsonl", '{"label": 1.0, "text": "a"}\n', {}, [("1", "a")]),
    "a tsv whose quotes are a table's": (
        "m.tsv",
        'label\ttext\nham\t"a\tb"\nspam\tc\n',
        {},
        [("ham", "a\tb"), ("spam", "c")],
    ),
    "a tsv whose quotes are data": (
        "m.tsv",
        'label\ttext\nham\t"a" b\nspam\t"c\n',
        {},
        [("ham", '"a" b'), ("spam", '"c')],
    ),
}


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", READ)
def test_a_file_is_read_as_it_is(read, kind, packed):
    name, content, columns, rows = READ[kind]
    data = content.encode()
    assert read(name + packed, gzip.compress(data) if packed else data, **columns) == rows


REFUSED = {
    "a table without a header": (
        "m.tsv",
        "1\tham\ta\n2\tspam\tb\n",
        {},
        r"m\.tsv:1: 3 columns.*--header false.*--text_column and --label_column",
    ),
    "a table without a header that a text is classified from": (
        "m.tsv",
        "1\tham\ta\n2\tspam\tb\n",
        {"labelled": False},
        r"m\.tsv:1: 3 columns.*--header false.*--text_column",
    ),
    "a table without a header, and no columns": (
        "m.tsv",
        "1\tham\ta\n2\tspam\tb\n",
        {"header": False},
        r"m\.tsv:1: 3 columns.*--label_column by number, from 1",
    ),
    "a csv without a header": (
        "m.csv",
        "ham,please call me back at five\nspam,b\n",
        {},
        r"m\.csv:1: which column.*--header false",
    ),
    "a number where there are names": (
        "m.csv",
        "kind,body\nx,y\n",
        {"text_column": "2"},
        r"no column '2'; there are kind, body .*--header false",
    ),
    "a number too large": (
        "m.csv",
        "a,b\nx,y\n",
        {"header": False, "text_column": "3"},
        r"no column '3'; without a header they are 1 to 2",
    ),
    "two unknown columns": (
        "m.csv",
        "v1,v2\nham,see you\n",
        {},
        r"There are v1, v2; choose with --text_column and --label_column \(the first row: v1 'ham', v2 'see you'\)",
    ),
    "a delimiter that is none of the usual ones": (
        "m.csv",
        "label^text\nham^a\n",
        {},
        r"There are label\^text; .* if something else stands between the columns, give it with --delimiter",
    ),
    "what is left is no label": (
        "m.csv",
        "id,text\n" + "".join(f"{i},text {i}\n" for i in range(30)),
        {},
        r"There are id, text; choose with --label",
    ),
    "what is left is no text": (
        "m.csv",
        "label,flag\n" + "a,b\n" * 30,
        {},
        r"There are label, flag; choose with --text_column",
    ),
    "a label that is an object": (
        "m.jsonl",
        '{"text": "a", "label": {"id": 1, "name": "x"}}\n',
        {},
        r"'label' is a dict.*label\.id, label\.name",
    ),
    "a label that is a list": (
        "m.jsonl",
        '{"text": "a", "label": ["x", "y"]}\n',
        {},
        r"'label' is a list.*label\[0\], label\[1\]",
    ),
    "an array that is cut": ("m.json", '[{"text": "a", "label": "x"},\n', {}, r"m\.json:\d: not JSON"),
    "an array without a comma": (
        "m.json",
        '[{"text": "a", "label": "x"}\n{"text": "a", "label": "x"}]\n',
        {},
        r"m\.json:1: not JSON \(no comma",
    ),
    "an array of numbers": ("m.json", "[1, 2]\n", {}, r"m\.json:1: an array of records holds objects, not a int"),
    "a file that is not packed": ("m.csv.gz", "label,text\n", {}, r"m\.csv\.gz: cannot be unpacked"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_is_refused_with_the_way_out(read, kind):
    name, content, columns, words = REFUSED[kind]
    with pytest.raises(DataError, match=words):
        read(name, content, **columns)


def test_a_packed_file_that_is_cut_is_told(read):
    packed = gzip.compress(b"label,text\n" + b"".join(b"ham,%d\n" % i for i in range(5000)))
    with pytest.raises(DataError, match=r"m\.csv\.gz: cannot be unpacked .*is the \.gz whole"):
        read("m.csv.gz", packed[:-20])


def test_what_a_csv_is_read_with_is_said_once(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("label;text\nham;a\n")
    said = []
    assert len(list(read_rows(Source(str(path)), said.append))) == 1
    assert len(said) == 1 and "';' between the columns" in said[0]
