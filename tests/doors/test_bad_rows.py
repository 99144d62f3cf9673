"""--on_bad_row skip: what is left out is counted, named, and keeps its place among the answers."""

import csv
import dataclasses
import json
from collections import Counter
from types import SimpleNamespace

import pytest

import data
import infer
import train
from tasks.answers import answers
from tests.strangers.fuzzing import hypothesis
from training.errors import run_door

given, st = hypothesis.given, hypothesis.strategies


@pytest.fixture(scope="module")
def run(tiny_base, tmp_path_factory):
    """A run on a semicolon's file with two columns of text and three bad rows."""
    directory = tmp_path_factory.mktemp("bad")
    rows = [f"{'ham' if i % 2 else 'SPAM' if i == 20 else 'spam'};title {i};text {i}" for i in range(40)]
    lines = ["kind;title;body", *rows[:10], "ham; ; ", *rows[10:], ";a;b", "  ;c;d"]
    (directory / "rows.csv").write_text("\n".join(lines) + "\n")
    flags = ["--model", tiny_base, "--dataset", directory / "rows.csv", "--text_column", "title", "body"]
    flags += ["--label_column", "kind", "--on_bad_row", "skip", "--max_steps", "2", "--device", "cpu"]
    flags += ["--output_dir", directory / "run"]
    results = train.main(train.read_settings([str(flag) for flag in flags]))
    return directory / "run", results, lines


def ask(adapter, *flags):
    arguments = ["--adapter", str(adapter), *map(str, flags), "--device=cpu"]
    assert run_door(lambda: infer.main(infer.parse(infer.InferConfig, arguments, prog="", description=""))) == 0


def test_what_was_left_out_stands_in_the_results_and_in_a_file(run):
    directory, results, lines = run
    assert results["rejected"] == {"empty text": 1, "empty label": 2}
    assert json.loads((directory / "results.json").read_text())["rejected"] == results["rejected"]
    rejected = [json.loads(line) for line in (directory / "rejected.jsonl").read_text().splitlines()]
    assert [(row["line"], row["reason"]) for row in rejected] == [
        (12, "empty text"), (43, "empty label"), (44, "empty label"),
    ]  # fmt: skip
    assert all(row["file"].endswith("rows.csv") for row in rejected)
    assert sum(results["rows"].values()) + len(rejected) == len(lines) - 1


def test_of_a_table_without_lines_the_number_of_the_row_is_kept(tmp_path):
    parts = [SimpleNamespace(rejected=(("OWNER/NAME row 3", "null text"), ("C:/a row.csv:12", "empty text")))]
    train.write_rejected(tmp_path, parts)
    rejected = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert rejected == [
        {"file": "OWNER/NAME", "row": 3, "reason": "null text"},
        {"file": "C:/a row.csv", "line": 12, "reason": "empty text"},
    ]


BLANK = {
    "csv": ("m.csv", "label,text\nx,a\n\ny,b\n  \nx,c\n"),
    "headless tsv": ("m.tsv", "x\ta\n\ny\tb\n  \nx\tc\n"),
    "tsv": ("m.tsv", "label\ttext\nx\ta\n\ny\tb\n  \nx\tc\n"),
    "jsonl": (
        "m.jsonl",
        '{"text": "a", "label": "x"}\n\n{"text": "b", "label": "y"}\n \n{"text": "c", "label": "x"}\n',
    ),
}


@pytest.mark.parametrize("kind", BLANK)
def test_blank_lines_are_rows_that_are_left_out_and_keep_their_place(tmp_path, kind):
    name, content = BLANK[kind]
    (tmp_path / name).write_text(content)
    source = data.Source(str(tmp_path / name), on_bad_row="skip")
    found = data.load_texts(source, data.TextRule())
    first = content.split("\n").index("") + 1
    reason = "null text" if kind == "jsonl" else "blank line"
    assert found.texts == ["a", "b", "c"] and found.labels == [0, 1, 0]
    assert list(found.rejected) == [(f"{tmp_path / name}:{line}", reason) for line in (first, first + 2)]
    with pytest.raises(data.DataError, match=rf"{name}:{first}: "):
        data.load_texts(dataclasses.replace(source, on_bad_row="error"), data.TextRule())
    if "headless" not in kind:
        unlabelled = dataclasses.replace(source, labelled=False)
        assert [row.text for row in data.read_rows(unlabelled)] == ["a", "", "b", "", "c"]


HEADLESS = {
    "csv": ("m.csv", '{i},{label},"{text}"\n', ["--text_column=3", "--label_column=2"]),
    "tsv": ("m.tsv", "{i}\t{label}\tx\t{text}\n", ["--text_column=4", "--label_column=2"]),
    "semicolons": ("m.csv", "{text};{i};{label}\n", ["--text_column=1", "--label_column=3", "--delimiter=;"]),
}


@pytest.mark.parametrize("kind", HEADLESS)
def test_a_table_without_a_header_is_trained_on_and_classified(tiny_base, messages, tmp_path, capsys, kind):
    name, line, columns = HEADLESS[kind]
    lines = [line.format(i=i, label=label, text=text) for i, (label, text) in enumerate(messages)]
    (tmp_path / name).write_text("".join(lines))
    how = ["--header=false", *columns, "--device=cpu"]
    flags = [f"--model={tiny_base}", f"--dataset={tmp_path / name}", f"--output_dir={tmp_path / 'run'}", *how]
    after = train.main(train.read_settings([*flags, "--max_steps=1"]))["after"]
    numbers = f"--json={tmp_path / 'scores.json'}"
    ask(tmp_path / "run", "--test", numbers)
    assert json.loads((tmp_path / "scores.json").read_text())["after"] == after
    ask(tmp_path / "run", f"--input={tmp_path / name}", *how, numbers)
    assert json.loads((tmp_path / "scores.json").read_text())["after"]["rows"] == 64
    capsys.readouterr()
    ask(tmp_path / "run", f"--input={tmp_path / name}", *[flag for flag in how if "label" not in flag])
    assert [json.loads(row)["text"] for row in capsys.readouterr().out.splitlines()] == [text for _, text in messages]


def test_without_the_flag_the_first_bad_row_stops_the_run_and_names_the_flag(run, tiny_base, capsys):
    dataset = str(run[0].parent / "rows.csv")
    flags = ["--model", str(tiny_base), "--dataset", dataset, "--text_column", "body", "--label_column", "kind"]
    assert run_door(lambda: train.main(train.read_settings([*flags, "--output_dir", str(run[0].parent / "x")]))) == 3
    assert "rows.csv:12: empty text; " in (told := capsys.readouterr().err) and "--on_bad_row skip" in told


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_infer_reads_the_same_columns_and_keeps_the_place_of_a_row_without_a_text(run, tmp_path, capsys, suffix):
    (tmp_path / "in.csv").write_text("id;body;title\n1;x;A\n2; ; \n3;y;B\n")
    out = tmp_path / f"out.{suffix}"
    ask(run[0], "--input", tmp_path / "in.csv", "--output", out, "--on_bad_row=skip")
    assert "1 rows have no label in the output (1 empty text)" in capsys.readouterr().err
    with open(out, newline="") as file:
        gap = "\t" if suffix == "tsv" else ","
        rows = list(map(json.loads, file)) if suffix == "jsonl" else list(csv.DictReader(file, delimiter=gap))
    assert [row["text"] for row in rows] == ["A\nx", " \n ", "B\ny"]
    assert [bool(row["label"]) for row in rows] == [True, False, True]
    assert [row.get("reason") or "" for row in rows] == ["", "empty text", ""]


def test_rows_that_are_not_scored_are_counted_by_kind_and_so_is_how_the_file_was_read(run, tmp_path, capsys):
    (tmp_path / "in.csv").write_text("body;title;kind\nx;A;ham\n ; ;ham\ny;B;\nz;C;SPAM\n;;ham\n")
    flags = ["--label_column=kind", "--on_bad_row=skip", "--json", tmp_path / "scores.json"]
    ask(run[0], "--input", tmp_path / "in.csv", *flags)
    assert json.loads((tmp_path / "scores.json").read_text())["rejected"] == {"empty text": 2, "empty label": 1}
    told = capsys.readouterr().err
    assert f"3 of 5 rows were left out (2 empty text, 1 empty label), the first {tmp_path}/in.csv:3\n" in told
    assert (
        "';' between the columns" in told and json.loads((tmp_path / "scores.json").read_text())["after"]["rows"] == 2
    )


def test_an_empty_label_of_rows_that_only_test_is_called_so(run, tmp_path, capsys):
    (tmp_path / "in.csv").write_text("body;title;kind\nx;A;ham\ny;B;\n")
    flags = ["--adapter", str(run[0]), "--input", str(tmp_path / "in.csv"), "--label_column=kind", "--device=cpu"]
    assert run_door(lambda: infer.main(infer.parse(infer.InferConfig, flags, prog="", description=""))) == 3
    assert "in.csv:3: empty label; --on_bad_row skip leaves such rows out" in capsys.readouterr().err


def test_an_empty_text_of_the_command_line_is_skipped_too(run, capsys):
    ask(run[0], "hello", "", "see you", "--on_bad_row=skip")
    out, err = capsys.readouterr()
    assert [line.split()[0] in ("ham", "spam") for line in out.splitlines()] == [True, False, True]
    assert "empty text" in out.splitlines()[1] and "1 rows have no label in the output (1 empty text)" in err


@pytest.mark.parametrize("flag", ["--delimiter", "--quotechar"])
def test_what_is_no_one_character_is_a_mistake_of_usage(flag, capsys):
    for door in (train.read_settings, lambda argv: infer.parse(infer.InferConfig, argv, prog="", description="")):
        assert run_door(lambda door=door: door([flag, ";;"])) == 2
        assert f"{flag} ';;': must be one character" in capsys.readouterr().err


HOLES = st.lists(st.tuples(st.sampled_from(["a", "b c", "", "  ", None]), st.sampled_from(["x", "Y", "", " ", None])))


def test_rows_read_are_rows_used_and_rows_reported_in_their_order(tmp_path):
    @hypothesis.settings(max_examples=300, deadline=None)
    @given(rows=HOLES)
    def check(rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
        source, rule = data.Source(str(path), on_bad_row="skip"), data.TextRule()
        rejected = []
        used = list(data.usable_rows(data.read_rows(source), source, rule, rejected))
        assert [(r.text, r.label) for r in used] == [(t, n) for t, n in rows if t and t.strip() and n and n.strip()]
        known = {(True, False): "null text", (True, True): "null text", (False, True): "null label"}
        bad = [(t, n) for t, n in rows if not (t and t.strip() and n and n.strip())]
        assert [reason for _, reason in rejected] == [
            known.get((t is None, n is None), "empty text" if not (t or "").strip() else "empty label") for t, n in bad
        ]
        lines = [int(where.rpartition(":")[2]) for where in [r.where for r in used] + [r[0] for r in rejected]]
        assert sorted(lines) == list(range(1, len(rows) + 1))
        unlabelled = list(data.read_rows(data.Source(str(path), labelled=False, on_bad_row="skip"))) if rows else []
        classifier = SimpleNamespace(
            rule=rule, counts=Counter(), label_names=["x"], answer=lambda text, p: {"text": text, "label": p},
            row_probabilities=lambda rows, size: [row.where for row in rows],
        )  # fmt: skip
        told = list(answers(classifier, unlabelled, 8, skip=True))
        assert [a["text"] for a in told] == [text or "" for text, _ in rows]
        assert [a["label"] for a in told] == [
            f"{path}:{i}" if text and text.strip() else None for i, (text, _) in enumerate(rows, 1)
        ]

    check()
