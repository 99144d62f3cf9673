"""Classify texts with what train.py has learned, and see the base model beside the tuned one.

`load_classifier` is the one place that puts base, adapter, tokenizer and labels together.
"""

import contextlib
import csv
import dataclasses
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch

import data
import gpt2
import lora
from tasks.answers import answers, input_rows, tell, tell_counts
from tasks.config import BAD_ROWS, ERRORS
from tasks.model import put_on
from tasks.product import load_product
from tasks.record import TaskRecord
from tasks.settings import locate
from training.device import DEVICES, PRECISIONS, Place, choose_place
from training.errors import NonFiniteError, UsageError, run_door
from training.evaluation import predict
from training.files import atomic_directory, open_atomically
from training.fingerprint import same_fingerprint
from training.settings import check_characters, check_range, option, parse

EXAMPLES = """examples:
  python infer.py --adapter runs/tiny/adapter "Congratulations! You won" "See you at 8"
  python infer.py --adapter runs/tiny/adapter --input messages.csv --output predictions.jsonl
  python infer.py --adapter runs/tiny/adapter --sample 7
  cat texts.txt | python infer.py --adapter runs/tiny/adapter"""
LINES, TABLES = (".jsonl", ".ndjson", ".json"), {".csv": ",", ".tsv": "\t"}
AT_ONCE = 4_000_000  # characters of texts that are in memory together, one text more or less


@dataclass(frozen=True)
class InferConfig:
    texts: tuple[str, ...] = option(
        (), "to classify; none, or -: the lines of standard input", group="texts", positional=True
    )
    input: str | None = option(None, "file of texts (.csv .tsv .jsonl, or .txt with one a line)", group="texts")
    output: str | None = option(None, "predictions (.jsonl .csv .tsv), a row per input row", group="texts")
    text_column: tuple[str, ...] = option((), "if not called text, sms, ...; several are joined", group="texts")
    encoding: str = option("utf-8", "of the input file", group="texts")
    encoding_errors: str = option("strict", "or replace what is no character", group="texts", choices=ERRORS)
    header: bool | None = option(None, "false: a table has none, columns have numbers", group="texts")
    delimiter: str | None = option(None, "between columns, e.g. ';' or tab", group="texts")
    quotechar: str | None = option(None, "around fields of a table", group="texts")
    on_bad_row: str = option("error", "skip: an empty text gets no label", group="texts", choices=BAD_ROWS)
    sample: int | None = option(None, "so many random test records, base beside tuned", group="texts")
    seed: int = option(0, "which random records", group="texts")
    adapter: str | None = option(None, "directory of an adapter, of a trained model, or of a run", group="model")
    model: str | None = option(None, "the base, where it is not found by itself", group="model")
    save_merged: str | None = option(None, "write a plain GPT-2 with the adapter folded in", group="model")
    batch_size: int = option(64, "rows per forward pass", group="machine")
    device: str = option("auto", "where to compute", group="machine", choices=DEVICES)
    precision: str = option("fp32", "of the matrix products", group="machine", choices=PRECISIONS)
    fast: bool | None = option(None, "fast form of the layers; default: except on MPS, untried there", group="machine")

    def __post_init__(self) -> None:
        check_range(self, ("batch_size", "sample"), 1)
        check_range(self, ("seed",), 0)
        check_characters(self, ("delimiter", "quotechar"))
        if (self.texts != ()) + (self.input is not None) + (self.sample is not None) > 1:
            raise UsageError("texts, --input and --sample are three ways to say what to classify; give one")
        if self.sample is not None and self.output is not None:
            raise UsageError("--sample prints a table; --output takes the predictions for texts or --input")
        if self.output is not None and suffix_of(self.output) not in (*LINES, *TABLES):
            raise UsageError(f"--output {self.output}: the name must end in .jsonl, .csv or .tsv")


@dataclass(frozen=True)
class Classifier:
    """A tuned model and all it needs to answer: `classifier.probabilities(["free prize!"])`."""

    model: torch.nn.Module
    tokenizer: gpt2.Tokenizer
    label_names: list[str]
    max_length: int
    rule: data.TextRule
    place: Place
    # Within it, the model is the untrained one; None where whole weights were trained, which hold no other.
    base: Callable[[], contextlib.AbstractContextManager[Any]] | None
    record: TaskRecord | None
    counts: Counter[str] = field(default_factory=Counter)  # "cut": texts longer than max_length so far

    def probabilities(self, texts: Sequence[str], batch_size: int = 64) -> list[list[float]]:
        """Per text one probability per label, in the order of `label_names`.

        Raises DataError for an empty text, NonFiniteError where the model's answer is no number.
        """
        rows = [data.Row(text, None, f"text {i}") for i, text in enumerate(texts, 1)]
        return self.row_probabilities(rows, batch_size)

    def row_probabilities(self, rows: Sequence[data.Row], batch_size: int = 64) -> list[list[float]]:
        """The same for rows that know where they come from: an error names the file and line."""
        ids, cut = data.encode(self.tokenizer, [self.rule.apply(row) for row in rows], self.max_length)
        self.counts["cut"] += cut
        pad = self.tokenizer.eos_token_id
        batches = ((at, data.collate([ids[i] for i in at], pad)) for at in data.by_length(ids, batch_size))
        logits = predict(self.model, batches, len(ids), self.place)
        wrong = (~logits.isfinite().all(dim=-1)).nonzero()
        if len(wrong):
            raise NonFiniteError(
                f"{rows[int(wrong[0])].where}: the model's answer is no number; are its weights whole? "
                "fp16 (--precision) holds no number above 65,504"
            )
        return logits.softmax(dim=-1).tolist()

    def label(self, probabilities: Sequence[float]) -> str:
        return self.label_names[max(range(len(probabilities)), key=probabilities.__getitem__)]

    def answer(self, text: str, probabilities: Sequence[float]) -> dict[str, Any]:
        shares = {name: round(p, 6) for name, p in zip(self.label_names, probabilities)}
        return {"text": text, "label": self.label(probabilities), "probabilities": shares}


def load_classifier(
    adapter: str | Path,
    model: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    fast: bool | None = None,
) -> Classifier:
    """A Classifier from an adapter (ours or peft's), a trained or merged model, or the run that holds one of them.

    Where the base is found, and what is refused: `tasks.product.load_product`. Raises ValueErrors.
    """
    product = load_product(adapter, model, "classification")
    network, record = product.model, product.record
    place = choose_place(device, precision, network.config.n_embd, fast)
    put_on(network.requires_grad_(False), place)
    names = record.label_names if record else network.config.label_names()
    if len(names) != network.config.num_labels:
        raise lora.AdapterError(
            f"{adapter}: task.json names {len(names)} labels, the head has {network.config.num_labels}"
        )
    if fault := data.fault_of_labels(names):
        raise lora.AdapterError(f"{adapter}: {fault}; give it another name in task.json or config.json")
    length = min(record.max_length, network.config.n_positions) if record else network.config.n_positions
    rule = data.TextRule(**record.text_rule) if record else data.TextRule()
    tokenizer = gpt2.Tokenizer.from_pretrained(product.home)
    return Classifier(network, tokenizer, names, length, rule, place, product.base, record)


def main(config: InferConfig) -> None:
    if config.adapter is None:
        raise UsageError("--adapter DIRECTORY is needed, e.g. --adapter runs/tiny/adapter (see infer.py --help)")
    choose_place(config.device, config.precision)  # a wrong flag is told before anything is loaded
    if config.save_merged:  # always from the weights as they are stored: --precision rounds them for answering
        _refuse_existing(Path(config.save_merged))
        save_merged(load_classifier(config.adapter, config.model, "cpu", "fp32"), Path(config.save_merged))
        if not (config.texts or config.input or config.sample):
            return
    classifier = load_classifier(config.adapter, config.model, config.device, config.precision, config.fast)
    if config.sample:
        show_sample(classifier, config)
    elif config.texts not in ((), ("-",)) and not config.output:
        width = max(map(len, classifier.label_names))
        for text, p in zip(config.texts, classifier.probabilities(config.texts, config.batch_size)):
            print(f"{classifier.label(p):<{width}}  {max(p):7.2%}  {one_line(text)}")
    else:
        predict_stream(classifier, config)
    tell_counts(classifier.counts, classifier.max_length)


def predict_stream(classifier: Classifier, config: InferConfig) -> None:
    """A row out for each row in, in order, with a bounded number of rows in memory."""
    piped = config.input == "-" or (not config.input and config.texts in ((), ("-",)))
    if piped:
        lines = data.split_lines(sys.stdin.buffer, "standard input", config.encoding, config.encoding_errors, tell=tell)
        rows = (data.Row(text, None, where) for where, text in lines)
    elif config.texts:
        rows = (data.Row(text, None, f"text {i}") for i, text in enumerate(config.texts, 1))
    else:
        rows = input_rows(config, classifier.record)
    skip = config.on_bad_row == "skip"
    most = 1 if piped and sys.stdin.isatty() else 8 * config.batch_size
    with open_atomically(Path(config.output)) if config.output else contextlib.nullcontext(sys.stdout) as file:
        write = writer(file, config.output or ".jsonl", classifier.label_names, reasons=skip)
        for portion in in_portions(rows, most):
            for answer in answers(classifier, portion, config.batch_size, skip=skip):
                write(answer)
            file.flush()


def in_portions(rows: Iterable[data.Row], most: int) -> Iterator[list[data.Row]]:
    """Rows in lists of at most `most`, fewer where texts are very long."""
    portion, size = [], 0
    for row in rows:
        portion.append(row)
        size += len(row.text)
        if len(portion) == most or size > AT_ONCE:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def suffix_of(name: str) -> str:
    return Path(name).suffix.lower() or name


def writer(file: IO[str], name: str, label_names: list[str], reasons: bool = False) -> Callable[[dict[str, Any]], None]:
    """How an answer is written, by the suffix of the file's name: JSON lines, or a table that `data.read_rows` reads.

    A table's header is the first line of the file. In a .tsv it stands in quotes: so quotes in it are a table's.
    """
    if suffix_of(name) in LINES:
        plain = not (file.encoding or "utf-8").lower().startswith("utf")  # else "é" would be written as "?"
        return lambda answer: print(json.dumps(answer, ensure_ascii=plain, allow_nan=False), file=file)
    # csv quotes a lone carriage return only where it is part of the line terminator, which it need not be in the file.
    lines = SimpleNamespace(write=lambda line: file.write(line.removesuffix("\r\n") + "\n"))
    delimiter, header = (
        TABLES[suffix_of(name)],
        ["text", "label", *(f"p_{label}" for label in label_names), *["reason"] * reasons],
    )
    quoting = csv.QUOTE_ALL if delimiter == "\t" else csv.QUOTE_MINIMAL
    csv.writer(lines, delimiter=delimiter, quoting=quoting).writerow(header)
    table = csv.writer(lines, delimiter=delimiter)
    why = (lambda answer: [answer.get("reason", "")]) if reasons else lambda answer: []
    return lambda a: table.writerow([a["text"], a["label"], *a["probabilities"].values(), *why(a)])


def show_sample(classifier: Classifier, config: InferConfig) -> None:
    """Random records of the test part: the truth, what the untrained model says, what the tuned one says."""
    record = classifier.record
    if record is None:
        raise UsageError(
            "--sample: this adapter has no task.json, so its test records are not known; give texts instead"
        )
    source = record.source()
    source = dataclasses.replace(source, name=locate(source.name))
    if not os.path.isfile(source.name):  # a name in a file opens a file and nothing else: no hub, no library
        raise data.DataError(
            f"task.json: its rows, {source.name[:200]!r}, are no file here; save them as one and give it with --input"
        )
    dataset = data.load_texts(source, classifier.rule)
    if not same_fingerprint(record.dataset["fingerprint"], dataset.fingerprint()):
        raise data.DataError(f"{source.name}: its rows have changed since training, and so has the test part")
    test = data.split_rows(dataset, **record.split).test
    chosen = random.Random(config.seed).sample(test, min(config.sample, len(test)))
    texts = [dataset.texts[row] for row in chosen]
    answers = {"tuned": classifier.probabilities(texts, config.batch_size)}
    if classifier.base is None:
        print("no base column: whole weights were trained, and those before are not in the model", file=sys.stderr)
    else:
        with classifier.base():
            answers = {"base": classifier.probabilities(texts, config.batch_size)} | answers
    width = max(5, *map(len, classifier.label_names))
    print(f"{len(chosen)} of {len(test):,} test records, --seed {config.seed}")
    print(f"{'truth':<{width}}", *(f"{name:<{width + 8}}" for name in answers), "text", sep="  ")
    for row, *said in zip(chosen, *answers.values()):
        truth = dataset.label_names[dataset.labels[row]]
        cells = [f"{classifier.label(p):<{width}} {max(p):7.2%}" for p in said]
        print(f"{truth:<{width}}", *cells, one_line(dataset.texts[row]), sep="  ")


def _refuse_existing(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"--save_merged {directory}: exists and is not empty; name a new directory")


def save_merged(classifier: Classifier, directory: Path) -> None:
    """The adapter folded into the weights: a directory that transformers and this project load without LoRA."""
    merged = lora.merge_and_unload(classifier.model)
    with atomic_directory(directory) as files:
        merged.save_pretrained(files)
        classifier.tokenizer.save_pretrained(files)
        if classifier.record:
            classifier.record.save(files)
    print(f"merged model written to {directory}", file=sys.stderr)


def one_line(text: str, most: int = 90) -> str:
    """A text as it can stand in a table: no line breaks, no control characters."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= most else line[: most - 3] + "..."


if __name__ == "__main__":
    description = __doc__.split("\n\n")[0]
    sys.exit(
        run_door(
            lambda: main(parse(InferConfig, sys.argv[1:], prog="infer.py", description=description, epilog=EXAMPLES))
        )
    )
