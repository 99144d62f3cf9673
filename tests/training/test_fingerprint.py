"""What a checkpoint or task.json was written for: newer fingerprints whole, older ones by the part that they knew."""

import pytest

from training.fingerprint import same_fingerprint


@pytest.mark.parametrize("recorded", ["2:weights:tokenizer", "weights"])
def test_the_same_is_the_same_also_by_an_older_file(recorded):
    assert same_fingerprint(recorded, "2:weights:tokenizer")


@pytest.mark.parametrize("recorded", ["2:weights:other", "2:other:tokenizer", "other", "tokenizer", "2", "", None, 5])
def test_what_differs_in_any_part_is_another(recorded):
    assert not same_fingerprint(recorded, "2:weights:tokenizer")


def test_what_has_no_parts_is_compared_whole():
    assert same_fingerprint("documents", "documents") and not same_fingerprint("a", "/a:a")
