"""Rows out of the `datasets` library: data sets of the Hugging Face hub, and parquet files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from data.columns import LABEL_NAMES, TEXT_NAMES
from data.json_rows import records_to_rows
from data.rows import DataError, Row, Source, record_row


def read_hub(source: Source) -> tuple[Iterator[Row], list[str] | None]:
    """The rows of one split of a hub dataset, and its own names of the labels, if it has them."""
    datasets = _library(source.name, "no such file; a data set of the Hugging Face hub")
    unreachable, before = _why_unreachable(), datasets.config.HF_HUB_OFFLINE
    # Told that it is offline, the library looks into its cache at once; left alone it retries for 20 seconds first.
    datasets.config.HF_HUB_OFFLINE = before or unreachable is not None
    try:
        which = (source.name, source.config) if source.config else (source.name,)
        table = datasets.load_dataset(*which, split=source.split)
    except Exception as error:  # noqa: BLE001 - offline, unknown id, no such split: the hub's errors share no base class
        reason = unreachable or _first_line(error)
        raise DataError(
            f"{source.name}: no such file, and not to be had from the Hugging Face hub ({reason}); "
            "without a network give the path of a .tsv, .csv or .jsonl file"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = before
    texts = source.text_column if isinstance(source.text_column, list) else [source.text_column]
    texts = [_hub_column(source.name, table.column_names, name, TEXT_NAMES, "--text_column") for name in texts]
    label = None
    if source.labelled:
        label = _hub_column(source.name, table.column_names, source.label_column, LABEL_NAMES, "--label_column")
    if label in texts:
        raise DataError(f"{source.name}: '{label}' is both text and label; choose with --text_column, --label_column")
    names = None if label is None else getattr(table.features[label], "names", None)
    return _rows(source, table, texts, label, names), list(names) if names else None


def read_parquet(path: Path, source: Source) -> Iterator[Row]:
    """The rows of a .parquet file, one at a time; raises DataError, also where the library is missing."""
    datasets = _library(str(path), "a parquet file")
    try:
        table = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)
        features = table.features or {}
        yield from records_to_rows(_records(path, table, features), source)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - pyarrow's errors, OSError, ValueError: no base class of their own
        raise DataError(f"{path}: no parquet file that can be read ({_first_line(error)[:200]})") from error


def _records(path: Path, table: Iterable[dict[str, Any]], features: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    names = {column: feature.names for column, feature in features.items() if hasattr(feature, "names")}
    for i, record in enumerate(table):
        yield f"{path} row {i}", record | {column: _named(record[column], names[column]) for column in names}


def _rows(
    source: Source, table: Iterable[dict[str, Any]], texts: list[str], label: str | None, names: list[str] | None
) -> Iterator[Row]:
    for i, record in enumerate(table):
        if label is not None:
            record = record | {label: _named(record[label], names)}
        yield record_row(record, texts, label, f"{source.name} row {i}", source.on_bad_row == "skip")


def _named(value: Any, names: list[str] | None) -> Any:
    """The name of a label that is kept as its number."""
    return names[value] if names and isinstance(value, int) and 0 <= value < len(names) else value


def _library(name: str, what: str) -> Any:
    # Imported here: it takes seconds, and a run on a local file does not need it.
    try:
        import datasets
    except ImportError:
        raise DataError(f"{name}: {what} needs `pip install datasets`") from None
    return datasets


def _why_unreachable() -> str | None:
    """One request to the hub, through the proxies and certificates its library uses; None if anything answers."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # noqa: BLE001 - which HTTP library it is, and so its errors, changes with the version
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _hub_column(name: str, columns: list[str], wanted: str | None, usual: tuple[str, ...], flag: str) -> str:
    column = wanted if wanted is not None else next((c for c in usual if c in columns), None)
    if column not in columns:
        raise DataError(
            f"{name}: no column '{wanted or usual[0]}'; there are {', '.join(columns)} (choose with {flag})"
        )
    return column
