"""What the model learns from: files and hub datasets in, batches of tensors out."""

from data.batches import Batch, by_length, collate, encode, epoch_order
from data.dataset import TextDataset, TextRule, load_texts
from data.reading import DataError, Row, Source, read_rows, split_lines
from data.splits import SPLITS, Split, count_seen, split_rows
from data.task import Task, prepare_task

__all__ = [
    "SPLITS",
    "Batch",
    "DataError",
    "Row",
    "Source",
    "Split",
    "Task",
    "TextDataset",
    "TextRule",
    "by_length",
    "collate",
    "count_seen",
    "encode",
    "epoch_order",
    "load_texts",
    "prepare_task",
    "read_rows",
    "split_lines",
    "split_rows",
]
