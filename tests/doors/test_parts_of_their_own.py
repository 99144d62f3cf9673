"""--test_dataset and --validation_dataset: files that are whole parts; --max_train_rows: fewer rows that train."""

import json
from collections import Counter
from pathlib import Path

import pytest

import data
import infer
import train
from tasks.record import TaskRecord
from training.errors import run_door

TEST = "spam\tclaim your prize now\nham\tsee you at ten then\nham\tsee you at seven then\nham\tdinner?\n"
VALIDATION = "ham\tcall me\nSPAM\tfree prize\nspam\tcheap loans\n"


@pytest.fixture
def flags(tiny_base, messages_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("test.tsv").write_text(TEST)
    Path("validation.tsv").write_text(VALIDATION)
    return [
        f"--model={tiny_base}", f"--dataset={messages_file}", "--learning_rate=1e-2", "--max_steps=3", "--device=cpu",
        "--per_device_train_batch_size=8", "--precision=fp32", "--split=stratified", "--output_dir=run",
    ]  # fmt: skip


BOTH = ["--test_dataset=test.tsv", "--validation_dataset=validation.tsv"]


def start(*argv):
    return train.main(train.read_settings(list(argv)))


def refused(capsys, *argv):
    """(exit code, what is said) of a start that must leave nothing behind."""
    code = run_door(lambda: start(*argv))
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and not Path("run").exists()
    return code, told


def scored_again(where="run"):
    infer.main(infer.InferConfig(adapter=where, device="cpu", test=True, json="scores.json"))
    return json.loads(Path("scores.json").read_text())


def test_the_files_are_the_parts_and_all_other_rows_train(flags, capsys):
    results = start(*flags, *BOTH)
    out = capsys.readouterr().out
    assert results["rows"] == {"train": 64, "val": 3, "test": 4}
    assert results["test_rows_seen_in_train"] == 2  # "see you at seven then" and at ten
    assert [sum(row) for row in results["after"]["confusion_matrix"]] == [3, 1]
    assert "messages.tsv: 64 rows (32 ham, 32 spam); 64 train, 3 validation, 4 test" in out
    assert "test.tsv: 4 rows, which are the test part" in out
    assert "labels 'spam', 'SPAM' are one label" in out.replace("'SPAM', 'spam'", "'spam', 'SPAM'")
    assert "tested on `test.tsv`" in Path("run/adapter/README.md").read_text()


@pytest.mark.parametrize("given", [BOTH, BOTH[:1], BOTH[1:], [*BOTH[:1], "--max_train_rows=20"]])
def test_what_was_saved_is_scored_on_the_same_rows_with_the_same_scores(flags, given, capsys):
    results, found = start(*flags, *given), scored_again()
    for part in ("before", "after", "baselines"):
        assert found[part] == results[part]
    file = "test.tsv" if BOTH[0] in given else flags[1].removeprefix("--dataset=")
    assert f" test rows of {file}, precision" in capsys.readouterr().out


def test_one_of_them_alone_leaves_the_other_part_to_its_share(flags):
    assert start(*flags, *BOTH[:1])["rows"] == {"train": 56, "val": 8, "test": 4}
    assert start(*flags, *BOTH[1:], "--overwrite")["rows"] == {"train": 50, "val": 3, "test": 14}


@pytest.mark.parametrize(("suffix", "gap"), [("csv", ","), ("tsv", "\t")])
def test_a_few_test_rows_have_the_columns_that_many_training_rows_have_shown(flags, messages, suffix, gap):
    rows = "".join(f"{label}{gap}{text.replace(',', '')}\n" for label, text in messages)
    Path(f"mine.{suffix}").write_text(f"kind{gap}text\n{rows}")
    Path(f"few.{suffix}").write_text(f"kind{gap}text\nspam{gap}claim it\nham{gap}dinner?\n")
    flags = [*flags, f"--dataset=mine.{suffix}", f"--test_dataset=few.{suffix}", f"--also_test=few.{suffix}"]
    assert start(*flags)["rows"]["test"] == 2
    assert scored_again()["after"]["rows"] == 2


def test_of_a_hub_dataset_they_are_the_splits_of_that_name(monkeypatch):
    datasets = pytest.importorskip("datasets")
    columns = {part: {"text": [f"{part} {i}" for i in range(2)], "label": [0, 1]} for part in ("train", "validation")}
    columns["test"] = {"text": ["test 0"], "label": [1]}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: datasets.Dataset.from_dict(columns[split]))
    name = "own/name"
    rows = data.load_texts(data.Source(name, validation_dataset=name, test_dataset=name), data.TextRule())
    assert rows.texts == ["train 0", "train 1", "validation 0", "validation 1", "test 0"]
    assert data.split_rows(rows, "random", 0.2, 0.1, 0) == data.Split([0, 1], [2, 3], [4])


def test_files_that_have_changed_since_are_not_scored(flags, capsys):
    start(*flags, *BOTH)
    # One row moves from the file that tests to the one that chooses: the texts in their order are the same.
    Path("test.tsv").write_text(TEST.split("\n", 1)[1])
    Path("validation.tsv").write_text(VALIDATION + TEST.split("\n")[0] + "\n")
    with pytest.raises(data.DataError, match="its rows have changed since training"):
        scored_again()
    Path("test.tsv").unlink()
    with pytest.raises(data.DataError, match="'test.tsv', are no file here"):
        scored_again()


@pytest.mark.parametrize("flag", ["--test_dataset=odd.tsv", "--validation_dataset=odd.tsv"])
@pytest.mark.parametrize(
    ("line", "words"),
    [("offer\tdinner?", "odd.tsv:1: label offer is not one of ham, spam"), ("ham\t ", "odd.tsv:1: empty text")],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line_before_anything_is_written(flags, capsys, flag, line, words):
    Path("odd.tsv").write_text(line + "\n")
    code, told = refused(capsys, *flags, flag)
    assert code == 3 and words in told


def test_a_run_goes_on_with_the_files_it_began_with_under_any_name(flags, capsys):
    start(*flags, *BOTH)
    Path("test.tsv").rename("moved.tsv")
    again = ["--resume_from_checkpoint=run", "--test_dataset=moved.tsv"]
    assert start(*again)["rows"]["test"] == 4
    Path("moved.tsv").write_text(TEST + "ham\tone more\n")
    assert run_door(lambda: start(*again)) == 2
    assert "cannot go on with a change of the rows of --dataset" in capsys.readouterr().err


def test_a_run_that_goes_on_fetches_no_part_whose_name_stands_in_its_file(flags, capsys):
    start(*flags, *BOTH)
    settings = Path("run/config.toml")
    settings.write_text(settings.read_text().replace('test_dataset = "test.tsv"', 'test_dataset = "some/where"'))
    assert run_door(lambda: start("--resume_from_checkpoint=run")) == 2
    assert "type --test_dataset some/where" in capsys.readouterr().err


def test_left_out_rows_of_each_file_are_counted(flags, capsys):
    Path("test.tsv").write_text(TEST + "ham\t \n\tno label\n")
    results = start(*flags, *BOTH, "--on_bad_row=skip")
    assert results["rejected"] == {"empty text": 1, "empty label": 1} and results["rows"]["test"] == 4
    assert "2 of 73 rows were left out" in capsys.readouterr().out
    lines = [json.loads(line) for line in Path("run/rejected.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in lines] == [("test.tsv", 5), ("test.tsv", 6)]


@pytest.mark.parametrize("kind", ["stratified", "random", "seed", "grouped"])
def test_fewer_rows_train_each_label_with_its_share_and_the_other_parts_stay(kind, messages):
    rows = data.TextDataset("m", [t for _, t in messages] * 2, [int(i % 8 == 0) for i in range(128)], ["no", "yes"])
    cut = {most: data.split_rows(rows, kind, 0.2, 0.1, 23, most) for most in (2, 16, 48, 10_000)}
    whole = data.split_rows(rows, kind, 0.2, 0.1, 23)
    assert cut[10_000] == whole
    for most in (2, 16, 48):
        assert (cut[most].val, cut[most].test) == (whole.val, whole.test) and len(cut[most].train) == most
        share = Counter(rows.labels[row] for row in whole.train)[1] / len(whole.train)
        assert abs(Counter(rows.labels[row] for row in cut[most].train)[1] - share * most) <= 1
    assert set(cut[2].train) < set(cut[16].train) < set(cut[48].train) < set(whole.train)
    assert [row for row in whole.train if row in set(cut[16].train)] == cut[16].train


def test_rows_that_take_no_part_are_said_and_too_few_are_refused(flags, capsys):
    assert refused(capsys, *flags, "--max_train_rows=1")[1].endswith("is fewer than its 2 labels; give more\n")
    assert refused(capsys, *flags, "--max_train_rows=0")[0] == 2
    results = start(*flags, "--max_train_rows=20")
    assert results["rows"] == {"train": 20, "val": 6, "test": 14}
    assert "24 rows take no part" in capsys.readouterr().out


@pytest.mark.parametrize("flag", [*BOTH, "--max_train_rows=5"])
def test_a_writer_takes_none_of_them(flags, capsys, flag):
    code, told = refused(capsys, *flags, "--task=language", flag)
    assert code == 2 and f"{flag.split('=')[0]}: for --task classification" in told


def test_a_presets_own_files_go_with_its_own_rows_alone(flags):
    preset = 'dataset = "data/messages/messages.tsv"\ntest_dataset = "test.tsv"\n'
    Path("mine.toml").write_text(preset)
    assert train.read_settings(["--preset=mine.toml"]).test_dataset == "test.tsv"
    assert train.read_settings(["--preset=mine.toml", "--dataset=other.csv"]).test_dataset is None


def test_a_task_json_from_before_is_still_read(flags):
    start(*flags)
    before = json.loads(Path("run/adapter/task.json").read_text())
    assert before["dataset"].pop("test_dataset") is None and before["dataset"].pop("validation_dataset") is None
    assert before["split"].pop("max_train_rows") is None
    Path("run/adapter/task.json").write_text(json.dumps(before))
    assert TaskRecord.load(Path("run/adapter")).source().test_dataset is None
    assert scored_again()["after"]["rows"] == 14
