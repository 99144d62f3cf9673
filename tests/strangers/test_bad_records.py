"""What task.json can claim: wrong types, other bases and other rows, and names of files that must stay closed."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

import gpt2
from tasks import product
from tasks.record import TaskRecord
from tests.strangers.spoiling import content, fields, nested, raw, tensors, write_fields
from training.errors import StateError

pytestmark = pytest.mark.promise("P16")

RECORD, WPE = "task.json", "transformer.wpe.weight"
ELSEWHERE = ["evil/x", "squad", "/dev/zero", "/etc", "../../x", "a\0b", "x\ny.tsv", "x" * 5000, "{pipe}"]


def inner(field, **changes):
    """Some entries of a field of task.json with other values."""

    def spoil(directory):
        values = json.loads((directory / RECORD).read_text())
        write_fields(directory / RECORD, **{field: values[field] | changes})

    return spoil


SPOILT = {
    "no JSON": (content(RECORD, b"{"), "cannot be used"),
    "deep": (content(RECORD, b'{"seed": ' + b"[" * 200_000), "nested too deeply"),
    **{f"{n} deep": (inner("dataset", name=nested(n)), "nested too deeply") for n in (50, 300, 900)},
    "50 MB": (content(RECORD, b" " * 50_000_000), "larger than 4,194,304 bytes"),
    "a key twice": (raw(RECORD, ('"seed": 42', '"seed": 42, "seed": 43')), "'seed' is there twice"),
    "NaN": (inner("split", test_size=float("nan")), "NaN is no number in JSON"),
    "an unknown field": (fields(RECORD, colour=1), "colour"),
    "a seed of 10**30": (fields(RECORD, seed=10**30), "seed is 1000000"),
    "a length in words": (fields(RECORD, max_length="64"), "max_length is '64'"),
    "a length of true": (fields(RECORD, max_length=True), "max_length is True"),
    "labels in a word": (fields(RECORD, label_names="ab"), "label_names is 'ab'"),
    "labels that are numbers": (fields(RECORD, label_names=[1, 2]), "label_names holds something that is no text"),
    "a label twice": (fields(RECORD, label_names=["ham", "ham"]), "label_names must hold at least two names"),
    "no rule": (fields(RECORD, text_rule=None), "text_rule is None"),
    "a rule that is none": (inner("text_rule", strip="yes"), "text_rule has 'strip': 'yes'"),
    "a base that is a number": (inner("base", name=5), "base holds something that is no text"),
    "rows that are a number": (inner("dataset", name=5), "dataset has 'name': 5"),
    "rows with a setting of their own": (inner("dataset", trust_remote_code=True), "dataset has 'trust_remote_code'"),
    "a column that is a list": (inner("dataset", text_column=["x", 1]), "dataset has 'text_column'"),
    "a division in words": (inner("split", test_size="0.2"), "split has 'test_size'"),
    "a division of true": (inner("split", seed=True), "split has 'seed': True"),
    "a division below 0": (inner("split", seed=-1), "split has the seed -1"),
    "a division of another kind": (inner("split", command="x"), "split has 'command'"),
    "another task": (fields(RECORD, task="os.system"), "task is 'os.system'"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_task_json_is_refused_in_one_line(adapter, asks, refused, name):
    spoil, words = SPOILT[name]
    spoil(adapter)
    message = refused(asks(adapter))
    assert words in message and f"{adapter / RECORD}: cannot be used (" in message and len(message) < 1000


def test_a_task_json_that_is_a_pipe_or_a_link_to_nowhere_is_not_waited_for(adapter, asks, refused):
    (adapter / RECORD).unlink()
    os.mkfifo(adapter / RECORD)
    assert "it is no regular file" in refused(asks(adapter))
    (adapter / RECORD).unlink()
    (adapter / RECORD).symlink_to("nowhere")
    assert "No such file" in refused(asks(adapter))


def swapped_words(directory):
    vocab = json.loads((directory / "vocab.json").read_text(encoding="utf-8"))
    vocab["a"], vocab["e"] = vocab["e"], vocab["a"]
    (directory / "vocab.json").write_text(json.dumps(vocab))


def swapped_merges(directory):
    head, first, second, *rest = (directory / "merges.txt").read_text(encoding="utf-8").split("\n")
    (directory / "merges.txt").write_text("\n".join([head, second, first, *rest]), encoding="utf-8")


def written_otherwise(directory):
    """The same vocabulary and config in other bytes."""
    vocab = json.loads((directory / "vocab.json").read_text(encoding="utf-8"))
    (directory / "vocab.json").write_text(json.dumps(dict(sorted(vocab.items())), indent=1))
    merges = (directory / "merges.txt").read_text(encoding="utf-8")
    (directory / "merges.txt").write_bytes(merges.replace("\n", "\r\n").encode())
    fields("config.json", n_inner=128, pad_token_id=3, id2label={"0": "x", "1": "y", "2": "z"})(directory)


OTHER = {
    "heads": fields("config.json", n_head=4),
    "an epsilon": fields("config.json", layer_norm_epsilon=1e-3),
    "dropout, which training met": fields("config.json", attn_pdrop=0.0),
    "words changed over": swapped_words,
    "merges changed over": swapped_merges,
    "a weight": tensors(
        "model.safetensors", lambda t: t | {k: v + 0.01 for k, v in t.items() if k.endswith("wpe.weight")}
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_base_that_computes_otherwise_is_another_base(adapter, base, asks, refused, name):
    OTHER[name](base)
    assert "the fingerprints differ" in refused(asks(adapter, model=str(base)))


def test_the_same_base_in_other_bytes_is_the_same(adapter, base, infers):
    written_otherwise(base)
    assert infers(adapter, model=str(base), texts=("free prize",))[0] == 0


def test_a_record_from_before_config_and_tokenizer_counted_is_compared_by_the_weights(
    adapter, base, tiny_base, asks, infers, refused
):
    old = gpt2.fingerprint(gpt2.GPT2Model.from_pretrained(tiny_base).state_dict())
    inner("base", fingerprint=old)(adapter)
    fields("config.json", attn_pdrop=0.0)(base)
    assert infers(adapter, model=str(base), texts=("free prize",))[0] == 0
    OTHER["a weight"](base)
    assert "the fingerprints differ" in refused(asks(adapter, model=str(base)))


@pytest.mark.promise("P10")
@pytest.mark.parametrize("name", ["evil/x", "../../..", "/etc", "/dev/zero", "a\0b", "x\ny", "x" * 5000, "", "~root"])
def test_the_name_of_a_base_is_looked_for_here_and_nowhere_else(adapter, asks, refused, monkeypatch, name):
    import huggingface_hub

    asked = []

    def cached(*args, **kwargs):
        asked.append(kwargs.get("local_files_only"))
        raise FileNotFoundError("not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    inner("base", name=name)(adapter)
    message = refused(asks(adapter))
    assert "the adapter was trained on another base" in message and len(message) < 1000
    assert asked == [True] * len(asked)
    fields("adapter_config.json", base_model_name_or_path=name)(adapter)
    refused(asks(adapter))
    assert len(asked) in (0, 2), "the name in adapter_config.json is looked for nowhere"


def test_a_broken_directory_of_that_name_is_told(adapter, base, asks, refused):
    inner("base", name=str(base))(adapter)
    (base / "model.safetensors").unlink()
    os.mkfifo(base / "model.safetensors")
    assert "model.safetensors: not found" in refused(asks(adapter))


@pytest.fixture
def no_datasets(monkeypatch):
    """The library of hub datasets fails where it is imported."""
    monkeypatch.setitem(sys.modules, "datasets", None)


@pytest.mark.promise("P10")
@pytest.mark.parametrize(
    "name", ["evil/x", "squad", "/dev/zero", "/etc", "../../x", "a\0b", "x\ny.tsv", "x" * 5000, "{pipe}"]
)
def test_the_name_of_a_data_set_opens_a_file_and_nothing_else(adapter, asks, refused, tmp_path, no_datasets, name):
    if name == "{pipe}":
        os.mkfifo(tmp_path / "pipe.tsv")
        name = str(tmp_path / "pipe.tsv")
    inner("dataset", name=name)(adapter)
    message = refused(asks(adapter, texts=(), output=None, sample=2), code=3)
    assert "are no file here; save them as one and give it with --input" in message and len(message) < 1000


def test_a_file_with_other_rows_is_not_sampled(adapter, asks, refused, tmp_path):
    (tmp_path / "rows.tsv").write_text("ham\tone\nspam\ttwo\nham\tthree\n")
    inner("dataset", name=str(tmp_path / "rows.tsv"))(adapter)
    message = refused(asks(adapter, texts=(), output=None, sample=2), code=3)
    assert "its rows have changed since training" in message


def test_a_label_that_was_renamed_in_the_rows_is_seen(adapter, asks, refused, infers, messages_file, tmp_path):
    renamed = tmp_path / "rows.tsv"
    renamed.write_text(messages_file.read_text().replace("spam\t", "wham\t"))
    inner("dataset", name=str(renamed))(adapter)
    message = refused(asks(adapter, texts=(), output=None, sample=2), code=3)
    assert "its rows have changed since training" in message
    shutil.copy(messages_file, renamed)
    old = json.loads((adapter / RECORD).read_text())["dataset"]["fingerprint"].split(":")[1]
    inner("dataset", fingerprint=old)(adapter)  # from before the names of the labels counted
    assert infers(adapter, sample=2)[0] == 0


def test_a_record_without_its_rows_says_so(adapter, asks, refused):
    for changes in ({"dataset": {}}, {"split": {}}):
        fields(RECORD, **changes)(adapter)
        assert "does not say which rows" in refused(asks(adapter, texts=(), output=None, sample=2))


@pytest.mark.parametrize("kind", ["head", "full"])
def test_a_product_of_whole_weights_shows_its_recorded_base_or_says_that_it_is_not_there(
    trains, infers, tiny_base, tmp_path, kind
):
    trains(tiny_base, train=kind)()
    code, out, err = infers(tmp_path / "run", sample=3)
    assert (code, err) == (0, "") and out.splitlines()[1].split() == ["truth", "base", "tuned", "text"]
    record = json.loads((tmp_path / "run" / "model" / "task.json").read_text())
    record["base"]["name"] = "nobody/nothing"
    (tmp_path / "run" / "model" / "task.json").write_text(json.dumps(record))
    code, out, err = infers(tmp_path / "run", sample=3)
    lines = out.splitlines()
    assert code == 0 and lines[1].split() == ["truth", "tuned", "text"] and len(lines) == 5
    assert err.startswith("no base column: ") and "nobody/nothing" in err and err.count("\n") == 1


def test_the_bundled_base_is_found_by_what_it_computes(adapter, base, infers, monkeypatch):
    inner("base", name="moved/away")(adapter)
    monkeypatch.setattr(product, "BUNDLED", base)
    assert infers(adapter, texts=("free prize",))[0] == 0


def test_a_run_goes_on_neither_with_renamed_labels_nor_with_a_base_that_computes_otherwise(
    base, messages_file, trains, refused, tmp_path
):
    rows, run = Path(shutil.copy(messages_file, tmp_path / "rows.tsv")), str(tmp_path / "run")
    trains(base, dataset=str(rows))()
    again = trains(base, dataset=str(rows), resume_from_checkpoint=run, max_steps=1)
    again()
    OTHER["an epsilon"](base)
    rows.write_text(messages_file.read_text().replace("spam\t", "wham\t"))
    message = refused(again, code=2, silent=False)
    assert "a change of the base model, the rows of --dataset; start a new run" in message


def test_so_many_labels_that_no_file_would_be_read_again_are_told_before_training():
    with pytest.raises(StateError, match="would be larger than 4,194,304 bytes; shorten the names"):
        TaskRecord(["x" * 3_000_000, "y" * 3_000_000], 64, {}, {}, 42, {}, {})
