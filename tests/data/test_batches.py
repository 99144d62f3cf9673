"""From token ids to batches: padding, the mask, and an order of rows that a resumed run meets again."""

import sys

import pytest
import torch

from data import TextDataset, by_length, collate, encode, epoch_order, prepare_task
from data.splits import Split

hypothesis = pytest.importorskip("hypothesis", reason="pip install -r requirements-dev.txt to run these tests")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies


class Letters:
    """A tokenizer whose ids are the letters' code points."""

    def encode_batch(self, texts):
        return [[ord(c) for c in text] for text in texts]


@pytest.fixture
def task():
    texts = ["abc", "d", "ef", "ghijkl", "m"]
    dataset = TextDataset("letters", texts, [0, 1, 0, 1, 0], ["ham", "spam"])
    return prepare_task(dataset, Split([3, 0, 4], [], [1, 2]), Letters(), pad_token_id=0, max_length=4)


def test_rows_are_padded_on_the_right_to_the_longest():
    batch = collate([[5, 6], [7]], pad_token_id=99, labels=[1, 0])
    assert batch.input_ids.tolist() == [[5, 6], [7, 99]]
    assert batch.attention_mask.tolist() == [[1, 1], [1, 0]]
    assert batch.labels.tolist() == [1, 0]
    assert batch.tokens == 3
    assert {batch.input_ids.dtype, batch.attention_mask.dtype, batch.labels.dtype} == {torch.int64}


@pytest.mark.promise("P6")
def test_a_token_that_happens_to_be_the_padding_is_still_a_token():
    batch = collate([[9, 9], [7]], pad_token_id=9)
    assert batch.attention_mask.tolist() == [[1, 1], [1, 0]]
    assert batch.labels is None


@pytest.mark.promise("P4")
@given(st.lists(st.lists(st.integers(1, 50_000), min_size=1, max_size=12), min_size=1, max_size=9))
def test_a_batch_gives_its_rows_back_under_the_mask(ids):
    batch = collate(ids, pad_token_id=0)
    assert [row[mask.bool()].tolist() for row, mask in zip(batch.input_ids, batch.attention_mask)] == ids
    assert batch.tokens == sum(map(len, ids))
    assert batch.input_ids.shape == (len(ids), max(map(len, ids)))


def test_a_batch_moves_to_a_device_and_leaves_its_mask_where_the_lengths_can_be_read():
    batch = collate([[5, 6], [7]], pad_token_id=0, labels=[1, 0]).to(torch.device("meta"))
    assert {batch.input_ids.device.type, batch.labels.device.type} == {"meta"}
    assert batch.attention_mask.tolist() == [[1, 1], [1, 0]] and batch.tokens == 3
    assert collate([[5]], pad_token_id=0).to(torch.device("cpu")).labels is None


@pytest.mark.promise("P4")
def test_long_texts_are_cut_at_their_end_and_counted():
    ids, cut = encode(Letters(), ["abcd", "abc", "ab"], max_length=3)
    assert [list(row) for row in ids] == [[97, 98, 99], [97, 98, 99], [97, 98]]
    assert cut == 1


@pytest.mark.promise("P4")
def test_texts_are_tokenised_a_thousand_at_a_time_and_none_is_lost_in_between():
    sizes = []

    class Counting(Letters):
        def encode_batch(self, texts):
            sizes.append(len(texts))
            return super().encode_batch(texts)

    texts = [str(number) for number in range(2345)]
    ids, _ = encode(Counting(), texts, max_length=9)
    assert ["".join(map(chr, row)) for row in ids] == texts
    assert sizes == [1000, 1000, 345]


def test_a_row_s_ids_take_a_few_bytes_each_however_many_rows_there_are():
    (row,), _ = encode(Letters(), ["x" * 1000], max_length=1000)
    assert row.itemsize == 4
    assert collate([row], pad_token_id=0).input_ids.tolist() == [[ord("x")] * 1000]


@pytest.mark.parametrize("n, seed, epoch", [(1, 0, 0), (10, 42, 0), (10, 42, 3), (3567, 7, 2)])
def test_the_order_of_an_epoch_is_torchs_permutation_for_seed_plus_epoch(n, seed, epoch):
    expected = torch.randperm(n, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
    assert list(epoch_order(n, seed, epoch)) == expected
    assert sorted(expected) == list(range(n))


def test_the_order_of_an_epoch_depends_on_nothing_else():
    first = epoch_order(50, 42, 1)
    torch.manual_seed(0)
    torch.rand(3)
    other = epoch_order(50, 42, 2)
    state = torch.get_rng_state()
    assert epoch_order(50, 42, 1) == first
    assert other != first
    assert epoch_order(50, 43, 1) != first
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.promise("P4")
@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 9))
def test_batches_by_length_hold_every_row_once_and_the_longest_first(lengths, batch_size):
    ids = [[1] * length for length in lengths]
    batches = list(by_length(ids, batch_size))
    rows = [row for batch in batches for row in batch]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths, reverse=True)
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_a_task_is_tokenised_cut_and_counted_once(task):
    assert [list(task.ids[row]) for row in (0, 3)] == [[97, 98, 99], [ord(c) for c in "ghij"]]
    assert task.cut == 1
    assert task.choosing == [1, 2]


def test_one_step_s_rows_come_in_order_in_batches_with_their_labels(task):
    batches = task.micro_batches([3, 0, 4], batch_size=2)
    assert [batch.labels.tolist() for batch in batches] == [[1, 0], [0]]
    assert batches[0].input_ids.tolist() == [[103, 104, 105, 106], [97, 98, 99, 0]]
    assert batches[1].input_ids.tolist() == [[ord("m")]]


def test_a_step_without_rows_is_one_batch_that_counts_for_nothing(task):
    """A process whose share of a step is empty computes something, whose loss and gradients are 0."""
    (batch,) = task.micro_batches([], batch_size=2)
    assert batch.input_ids.shape == (1, 1) and batch.rows == 0
    logits = torch.ones(1, 3, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum")
    loss.backward()
    assert loss == 0 and not logits.grad.any()


def test_evaluation_batches_say_which_row_is_which(task):
    rows = [4, 3, 2, 1, 0]
    seen = {}
    for positions, batch in task.eval_batches(rows, batch_size=2):
        for position, ids, label in zip(positions, batch.input_ids, batch.labels):
            seen[position] = ([i for i in ids.tolist() if i], int(label))
    assert seen == {p: (list(task.ids[row]), task.dataset.labels[row]) for p, row in enumerate(rows)}


def test_the_user_is_told_of_sizes_cut_texts_seen_rows_and_a_missing_validation_part(task):
    said = task.describe()
    assert "letters: 5 rows (3 ham, 2 spam); 3 train, 0 validation, 2 test" in said
    assert "0 of the test rows stand word for word in the training part" in said
    assert "1 texts are longer than 4 tokens" in said
    assert "only 2 test rows: a score on so few says little" in said
    assert "the best checkpoint is chosen on test" in said


def test_rows_that_contradict_one_another_are_counted_beside_the_seen_ones():
    texts, labels = ["a", "a", "a", "b", "b", "c"], [0, 1, 0, 1, 1, 0]
    task = prepare_task(TextDataset("m", texts, labels, ["x", "y"]), Split([0, 3], [], [1, 2, 4, 5]), Letters(), 0, 4)
    assert (
        "3 of the test rows stand word for word in the training part\n"
        "1 texts stand there with more than one label, in 3 rows\n"
    ) in task.describe()


def test_long_names_of_labels_leave_the_line_on_the_rows_readable():
    names = [f"{i} a long name of a label that goes on and on" for i in range(60)]
    task = prepare_task(TextDataset("m", ["a"] * 60, [*range(60)], names), Split([*range(60)], [], []), Letters(), 0, 4)
    assert max(map(len, task.describe().splitlines())) < 200


@pytest.mark.parametrize("tests, few", [(99, True), (100, False)])
def test_few_test_rows_are_warned_of_below_a_hundred(tests, few):
    rows = TextDataset("m", [str(i) for i in range(110)], [i % 2 for i in range(110)], ["x", "y"])
    task = prepare_task(rows, Split([*range(tests, 110)], [], [*range(tests)]), Letters(), 0, 4)
    assert (f"only {tests} test rows: a score on so few says little" in task.describe()) == few


def test_long_texts_are_tokenised_in_portions_that_memory_can_hold():
    sizes = []

    class Counting(Letters):
        def encode_batch(self, texts):
            sizes.append(sum(map(len, texts)))
            return [[len(text)] for text in texts]

    lengths = [900_000, 900_000, 900_000, 10, 3_000_000, 10]
    ids, _ = encode(Counting(), ["x" * n for n in lengths], max_length=sys.maxsize)
    assert [row[0] for row in ids] == lengths
    assert sizes == [1_800_000, 900_010, 3_000_000, 10]
    assert encode(Counting(), [], max_length=9) == ([], 0)
