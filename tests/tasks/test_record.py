"""task.json: what is written is read again, and what is wrong in it is refused by the name of its field."""

import dataclasses
import json

import pytest

from tasks.record import TaskRecord
from training.errors import StateError

RECORD = TaskRecord(
    label_names=["ham", "spam"], max_length=64, text_rule={"strip": True}, seed=42, task="classification",
    base={"name": "assets/gpt2-tiny", "fingerprint": "f0"}, dataset={"name": "messages.tsv", "fingerprint": "d0"},
    split={"kind": "seed", "test_size": 0.2, "val_size": 0.1, "seed": 23},
)  # fmt: skip
WRONG = {
    "label_names": ["ham, spam", [1, 2], ["ham"], None],
    "max_length": ["64", 64.0, True, 0, None],
    "text_rule": [["strip"], None, {"strip": "yes"}, {"trim": True}],
    "base": [["name"], {"name": "x"}, {"name": "x", "fingerprint": 3}, None],
    "seed": ["42", 1.5, False, None, -1, 2**64],
    "dataset": ["messages.tsv", None],
    "split": [[0.2], "random", None],
    "task": [1, "Classification", None, ["classification"]],
}


def load(tmp_path, values) -> TaskRecord:
    (tmp_path / "task.json").write_text(json.dumps(values))
    return TaskRecord.load(tmp_path)


@pytest.mark.parametrize("record", [RECORD, dataclasses.replace(RECORD, task="language", label_names=[])], ids=str)
def test_what_is_saved_is_read_again(tmp_path, record):
    record.save(tmp_path)
    assert TaskRecord.load(tmp_path) == record
    assert set(json.loads((tmp_path / "task.json").read_text())) == set(WRONG)


def test_where_there_is_none_there_is_no_record(tmp_path):
    assert TaskRecord.load(tmp_path) is None


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values], ids=str)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(tmp_path, name, value):
    with pytest.raises(StateError, match=rf"task\.json: cannot be used \({name} ") as told:
        load(tmp_path, dataclasses.asdict(RECORD) | {name: value})
    assert "\n" not in str(told.value) and told.value.exit_code == 4


@pytest.mark.parametrize("name", sorted(set(WRONG) - {"task"}))
def test_a_missing_field_is_named(tmp_path, name):
    values = dataclasses.asdict(RECORD)
    del values[name]
    with pytest.raises(StateError, match=f"missing.*'{name}'"):
        load(tmp_path, values)


def test_a_record_from_before_there_were_tasks_is_a_classifier_s(tmp_path):
    values = dataclasses.asdict(RECORD)
    assert values.pop("task") == "classification"
    assert load(tmp_path, values) == RECORD


BROKEN = [b"", b"[]", b"{", b'{"task": "language"}', b'{"colour": 1}', b"[" * 99999, b'"x"', b"\xff{}", b"null"]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_file_that_is_no_record_is_refused(tmp_path, content):
    (tmp_path / "task.json").write_bytes(content)
    with pytest.raises(StateError, match="task.json: cannot be used"):
        TaskRecord.load(tmp_path)
