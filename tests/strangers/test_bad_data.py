"""Files of texts as they come from strangers: what is refused, in which words, and what is read without a loss."""

import json

import pytest

import gpt2
import train
from tests.strangers.doors import call, refusal

pytestmark = [pytest.mark.promise("P16"), pytest.mark.promise("P4")]

TSV = "".join(f"ham\tsee you at {n}\nspam\tclaim {n} pounds\n" for n in (7, 8, 9, 10, 11, 12))
ROWS = [line.split("\t") for line in TSV.splitlines()]
CSV = "label,text\n" + TSV.replace("\t", ",")
JSONL = "".join(json.dumps({"label": label, "text": text}) + "\n" for label, text in ROWS)
NEW = '{{"label": "ham", "text": {}}}\n'
BOTH, TRAIN = ("train.py", "infer.py"), ("train.py",)


@pytest.fixture(scope="module")
def adapter(tiny_base, messages_file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "run"
    settings = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
    train.main(train.TrainConfig(**settings, max_steps=2, output_dir=str(directory)))
    return directory


@pytest.fixture
def argv(adapter, tiny_base, tmp_path):
    """argv(door, content, suffix, flags): the call of a door on a file with this content."""

    def argv(door, content, suffix, flags=()):
        file = tmp_path / f"rows{suffix}"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        if door == "infer.py":
            return [
                "--adapter",
                adapter,
                "--input",
                file,
                "--output",
                tmp_path / "out.jsonl",
                "--device",
                "cpu",
                *flags,
            ]
        where = ["--model", tiny_base, "--dataset", file, "--output_dir", tmp_path / "run", "--device", "cpu"]
        return [*where, "--precision", "fp32", "--max_steps", 1, "--save_strategy", "no", *flags]

    return argv


# Number in the corpus of bad inputs: (suffix, content, who refuses it, words of the message, flags)
TWICE = "rows.csv:1: two columns have the same name"
REFUSED = {
    "1 empty tsv": (".tsv", "", TRAIN, "rows.tsv: no rows", ()),
    "1 empty csv": (".csv", "", TRAIN, "rows.csv: no rows", ()),
    "1 empty jsonl": (".jsonl", "", TRAIN, "rows.jsonl: no rows", ()),
    "2 newlines alone": (".tsv", "\n\n\r\n", TRAIN, "rows.tsv: no rows", ()),
    "3 a header alone": (".csv", "label,text\n", TRAIN, "rows.csv: no rows", ()),
    "6 old Mac line ends": (".tsv", TSV.replace("\n", "\r"), BOTH, "rows.tsv:1: a carriage return inside", ()),
    "10 a Latin-1 byte": (".tsv", TSV.encode() + b"ham\tcaf\xe9\n", BOTH, "rows.tsv:13: byte 8 is not utf-8", ()),
    "11 an overlong form": (".tsv", TSV.encode() + b"ham\t\xc0\xaf\n", BOTH, "rows.tsv:13: byte 5 is not utf-8", ()),
    "11 CESU-8": (".csv", CSV.encode() + b"ham,\xed\xa0\x80\n", BOTH, "rows.csv:14: byte 5 is not utf-8", ()),
    "14 no tab": (".tsv", TSV + "ham see you\n", BOTH, "rows.tsv:13: no tab", ()),
    "17 an open quote": (".csv", CSV + 'ham,"see\nham,you\n', BOTH, "rows.csv:14: broken table", ()),
    "19 too few columns": (".csv", CSV + "ham\n", BOTH, "rows.csv:14: 1 columns, the header names 2", ()),
    "20 too many columns": (".csv", CSV + "ham,a,b\n", BOTH, "rows.csv:14: 3 columns, the header names 2", ()),
    "21 two columns of a name": (".csv", "label,text,text\nham,a,b\n", BOTH, TWICE, ()),
    "22 a wrong column": (".csv", CSV, BOTH, "no column 'body'; there are label, text", ("--text_column", "body")),
    "24 blanks alone": (".tsv", TSV + "ham\t   \n", BOTH, "rows.tsv:13: empty text", ()),
    "27 a blank line": (".jsonl", JSONL + "\n" + JSONL, BOTH, "rows.jsonl:13: blank line", ()),
    "28 cut off": (".jsonl", JSONL[:-9], BOTH, "rows.jsonl:12: not JSON", ()),
    "30 a scalar": (".jsonl", JSONL + "3\n", BOTH, "rows.jsonl:13: a JSONL file has one object per line", ()),
    "31 no text": (".jsonl", JSONL + '{"label": "ham"}\n', BOTH, "rows.jsonl:13: 'text' is missing or null", ()),
    "32 null": (".jsonl", JSONL + NEW.format("null"), BOTH, "rows.jsonl:13: 'text' is missing or null", ()),
    "33 a number": (".jsonl", JSONL + NEW.format("7"), BOTH, "rows.jsonl:13: 'text' is a int", ()),
    "34 a list": (".jsonl", JSONL + NEW.format('["a"]'), BOTH, "rows.jsonl:13: 'text' is a list", ()),
    "35 a key twice": (".jsonl", JSONL + NEW.format('"a", "text": "b"'), BOTH, "rows.jsonl:13: the key 'text'", ()),
    "36 NaN": (".jsonl", JSONL + '{"label": NaN, "text": "a"}\n', TRAIN, "rows.jsonl:13: 'label' is missing", ()),
    "36 Infinity": (".jsonl", JSONL + '{"label": Infinity, "text": "a"}\n', TRAIN, "rows.jsonl:13: 'label' is", ()),
    "37 5,000 digits": (".jsonl", JSONL + NEW.format('"a", "n": ' + "9" * 5000), BOTH, "rows.jsonl:13: not JSON", ()),
    "38 deep nesting": (".jsonl", JSONL + "[" * 100_000 + "\n", BOTH, "rows.jsonl:13: not JSON", ()),
    "39 half a character": (".jsonl", JSONL + NEW.format('"\\ud800"'), BOTH, "rows.jsonl:13: holds half of a", ()),
    "43 one label": (".tsv", TSV.replace("spam\t", "ham\t"), TRAIN, "rows.tsv: all rows have the label 'ham'", ()),
    "49 an empty label": (".tsv", TSV + "\tsee you\n", TRAIN, "rows.tsv:13: empty label", ()),
    "50 texts as labels": (
        ".tsv", "".join(f"see you at {n}\tham\n" for n in range(5000)), TRAIN, "5000 different labels in 5000 rows", (),
    ),
    "a label that steers a terminal": (".tsv", TSV + "\x1b[2J\tx\n", TRAIN, "label '\\x1b[2J' holds a line break", ()),
    "a label of two lines": (".csv", CSV + '"ham\nspam",x\n', TRAIN, "label 'ham\\nspam' holds a line break", ()),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_read_without_a_loss_is_refused_in_one_line(argv, tmp_path, case):
    suffix, content, doors, words, flags = REFUSED[case]
    for door in doors:
        assert words in refusal(door, argv(door, content, suffix, flags), 3)
        assert [path.name for path in tmp_path.iterdir()] == [f"rows{suffix}"]


@pytest.mark.parametrize(("content", "words"), [("eggs\tsee you\n", "also.tsv:1: label eggs is not one of ham, spam")]
                         + [("", "also.tsv: no rows")])  # fmt: skip
def test_rows_that_only_test_must_be_there_and_have_known_labels(argv, tmp_path, content, words):
    (tmp_path / "also.tsv").write_text(content)
    assert words in refusal("train.py", argv("train.py", TSV, ".tsv", ["--also_test", tmp_path / "also.tsv"]), 3)
    assert not (tmp_path / "run").exists()


# Number: (suffix, content after good rows, what the last row's text is)
READ = {
    "4 no final newline": (".tsv", "ham\tsee you", "see you"),
    "5 Windows line ends": (".tsv", "ham\tsee you\r\n", "see you"),
    "7 mixed line ends": (".csv", "ham,see\r\nham,you\n", "you"),
    "12 byte 0": (".tsv", "ham\tsee\0you\n", "see\0you"),
    "13 line ends of other worlds": (".tsv", "ham\ta\u2028b\x85c\x0bd\x0ce\n", "a\u2028b\x85c\x0bd\x0ce"),
    "15 three tabs": (".tsv", "ham\tone\ttwo\tthree\n", "one\ttwo\tthree"),
    "16 an open quote in a tsv": (".tsv", 'ham\t"see you\n', '"see you'),
    "18 a field longer than csv's limit": (".csv", "ham," + "x" * 200_000 + "\n", "x" * 200_000),
    "26 the end token as text": (".tsv", "ham\tsee <|endoftext|> you\n", "see <|endoftext|> you"),
    "formula": (".csv", "ham,=1+1\n", "=1+1"),
}


@pytest.mark.parametrize("case", READ)
def test_what_looks_odd_and_is_a_text_is_kept_as_it_is_by_both_doors(argv, tmp_path, case):
    suffix, content, text = READ[case]
    content = (CSV if suffix == ".csv" else TSV) + content
    assert call("infer.py", argv("infer.py", content, suffix))[0] == 0
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert [answer["text"] for answer in answers[:12]] == [text for _, text in ROWS]
    assert (
        len(answers) == 12 + content.count("\n", len(TSV) + 1 if suffix == ".tsv" else len(CSV) + 1) or case[0] == "4"
    )
    assert answers[-1]["text"] == text
    code, out, err = call("train.py", argv("train.py", content, suffix, ["--test_size", 0.4]))
    assert (code, err) == (0, "") and f"{len(answers):,} rows" in out


def test_a_byte_order_mark_is_no_part_of_a_label_or_key(argv, tmp_path):
    """8 and 40."""
    for content, suffix in ((TSV, ".tsv"), (CSV, ".csv"), (JSONL, ".jsonl")):
        code, out, _ = call("train.py", argv("train.py", "\ufeff" + content, suffix, ["--overwrite"]))
        assert code == 0 and "12 rows (6 ham, 6 spam)" in out


def test_the_end_token_written_in_a_text_is_ordinary_characters(gpt2_tokenizer_dir):
    """26: seven tokens, none of them the special one, which transformers would make of it."""
    tokenizer = gpt2.Tokenizer(gpt2_tokenizer_dir)
    ids = tokenizer.encode("<|endoftext|>")
    assert len(ids) == 7 and tokenizer.eos_token_id not in ids


# Number: (content, flags, what training says of it)
CUT, ALONE = "1 texts are longer than 64 tokens and were cut", "single row, which cannot both train and test: eggs"
SAID = {
    "24 blanks alone, not stripped": (TSV + "ham\t   \n", ("--strip", "false"), "13 rows"),
    "25 longer than the model": (TSV + "ham\t" + "see " * 999 + "\n", (), CUT),
    "45 a label with one row": (TSV + "eggs\tsee\n", (), ALONE),
    "47 numbers as labels": (TSV.replace("ham", "10").replace("spam", "2"), (), "12 rows (6 2, 6 10)"),
    "51 a text with two labels": (TSV + "spam\tsee you at 7\n", (), "1 texts stand there with more than one label"),
    "52 the same rows twice": (TSV * 3, ("--split", "random"), "word for word in the training part"),
    "53 fewer rows than a batch": (TSV, ("--batch_size", "64"), "12 rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_what_is_unusual_about_rows_is_counted_and_said(argv, case):
    content, flags, words = SAID[case]
    code, out, err = call("train.py", argv("train.py", content, ".tsv", flags))
    assert (code, err) == (0, "") and words in out
    if case[:2] == "52":
        assert "\n0 of the test rows" not in out


def test_texts_that_infer_cuts_are_counted_and_said(argv, tmp_path):
    """25."""
    code, _, err = call("infer.py", argv("infer.py", TSV + "ham\t" + "see you " * 500 + "\n", ".tsv"))
    assert code == 0 and err == "1 texts are longer than 64 tokens and were cut to that\n"
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 13
