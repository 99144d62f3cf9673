"""What the model learns from: files and hub datasets in, batches of tensors out."""

from data.batches import IGNORED, Batch, by_length, collate, encode, epoch_order
from data.dataset import TextDataset, TextRule, fault_of_labels, load_texts, open_rows, usable_rows
from data.documents import Document, Documents, load_documents
from data.reading import DataError, Row, Source, place_of, read_rows, split_lines
from data.splits import SPLITS, Split, count_seen, split_documents, split_rows
from data.task import Task, prepare_task
from data.text_baselines import bigram_nats, gzip_bits_per_byte
from data.windows import Window, collate_windows, make_windows

__all__ = [
    "IGNORED",
    "SPLITS",
    "Batch",
    "DataError",
    "Document",
    "Documents",
    "Row",
    "Source",
    "Split",
    "Task",
    "TextDataset",
    "TextRule",
    "Window",
    "bigram_nats",
    "by_length",
    "collate",
    "collate_windows",
    "count_seen",
    "encode",
    "epoch_order",
    "fault_of_labels",
    "gzip_bits_per_byte",
    "load_documents",
    "load_texts",
    "make_windows",
    "open_rows",
    "place_of",
    "prepare_task",
    "read_rows",
    "split_documents",
    "split_lines",
    "split_rows",
    "usable_rows",
]
