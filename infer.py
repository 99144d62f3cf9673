"""Classify texts with what train.py has learned, and see the base model beside the tuned one.

`load_classifier` (tasks/classifier.py) puts base, adapter, tokenizer and labels together.
"""

import contextlib
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import data
import lora
from tasks.answers import LINES, TABLES, answers, in_portions, input_source, suffix_of, tell, tell_counts, writer
from tasks.classifier import Classifier, load_classifier
from tasks.config import BAD_ROWS, ERRORS
from tasks.evaluate import as_trained, evaluated, labelled_task, recorded_task, save_as_trained
from tasks.evaluation_report import one_line, sampled, told
from training.device import DEVICES, PRECISIONS, choose_place
from training.errors import UsageError, run_door
from training.files import atomic_directory, check_target, open_atomically, write_atomically
from training.report import after_name, terminal_width
from training.settings import check_characters, check_range, option, parse

__all__ = ["Classifier", "InferConfig", "load_classifier", "main"]
ANSWERING = {"precision": "fp32", "batch_size": 64, "fast": None}  # where no flag and no run says otherwise
EXAMPLES = """examples:
  python infer.py --adapter runs/tiny "You won!" "See you at 8"
  python infer.py --adapter runs/tiny --input new.csv --output answers.jsonl
  python infer.py --adapter runs/tiny --sample 7
  python infer.py --adapter runs/tiny --test      the table of train.py's end
  python infer.py --adapter runs/tiny --input new.csv --label_column label
  cat texts.txt | python infer.py --adapter runs/tiny"""


@dataclass(frozen=True)
class InferConfig:
    texts: tuple[str, ...] = option(
        (), "to classify; none, or -: the lines of standard input", group="texts", positional=True
    )
    input: str | None = option(None, "file of texts (.csv .tsv .jsonl, or .txt with one a line)", group="texts")
    output: str | None = option(None, "predictions (.jsonl .csv .tsv), a row per input row", group="texts")
    text_column: tuple[str, ...] = option((), "if not called text, sms, ...; several are joined", group="texts")
    label_column: str | None = option(None, "of --input: score the answers by it", group="scores")
    encoding: str = option("utf-8", "of the input file", group="texts", rare=True)
    encoding_errors: str = option("strict", "or replace what is no character", group="texts", rare=True, choices=ERRORS)
    header: bool | None = option(None, "false: a table has none, columns have numbers", group="texts", rare=True)
    delimiter: str | None = option(None, "between columns, e.g. ';' or tab", group="texts", rare=True)
    quotechar: str | None = option(None, "around fields of a table", group="texts", rare=True)
    on_bad_row: str = option("error", "skip: an empty text gets no label", group="texts", choices=BAD_ROWS)
    sample: int | None = option(None, "so many random test records, base beside tuned", group="texts")
    test: bool = option(False, "score the test records, as train.py did at its end", group="scores")
    json: str | None = option(None, "write the scores to this file, too", group="scores")
    threshold: float | None = option(None, "of two labels the second is the answer from here on", group="scores")
    errors: int = option(0, "show so many of the surest mistakes", group="scores")
    seed: int = option(0, "which random records", group="texts")
    adapter: str | None = option(None, "directory of an adapter, of a trained model, or of a run", group="model")
    model: str | None = option(None, "the base, where it is not found by itself", group="model")
    save_merged: str | None = option(None, "write a plain GPT-2 with the adapter folded in", group="model")
    batch_size: int | None = option(None, "rows per forward pass; default 64, of scores: the run's", group="machine")
    device: str = option("auto", "where to compute", group="machine", choices=DEVICES)
    precision: str | None = option(None, "default fp32, of scores: the run's", group="machine", choices=PRECISIONS)
    fast: bool | None = option(None, "fast form of the layers; default: not on MPS", group="machine", rare=True)

    def __post_init__(self) -> None:
        check_range(self, ("batch_size", "sample"), 1)
        check_range(self, ("seed", "errors"), 0)
        check_range(self, ("threshold",), 0, below=1)
        check_characters(self, ("delimiter", "quotechar"))
        if (self.texts != ()) + (self.input is not None) + (self.sample is not None) + self.test > 1:
            raise UsageError("texts, --input, --sample and --test are four ways to say what to classify; give one")
        if self.label_column is not None and self.input in (None, "-"):
            raise UsageError("--label_column: names the labels of a file to score by; give the file with --input")
        if (self.sample is not None or self.scores) and self.output is not None:
            kind = "--sample" if self.sample is not None else "--test" if self.test else "--label_column"
            raise UsageError(f"{kind} prints a table; --output takes the predictions for texts or --input")
        if (self.json or self.errors) and not self.scores:
            flag = "--json" if self.json else "--errors"
            raise UsageError(f"{flag}: is of scores; add --test, or --input and --label_column")
        if self.output is not None and suffix_of(self.output) not in (*LINES, *TABLES):
            raise UsageError(f"--output {self.output}: the name must end in .jsonl, .csv or .tsv")

    @property
    def scores(self) -> bool:
        """Whether answers are compared with labels."""
        return self.test or self.label_column is not None


def main(config: InferConfig) -> None:
    if config.adapter is None:
        raise UsageError("--adapter DIRECTORY is needed, e.g. --adapter runs/tiny/adapter (see infer.py --help)")
    for flag, name in (("--json", config.json), ("--output", config.output)):
        check_target(flag, name, config.input, "the file of --input, which it would overwrite")
    choose_place(config.device, config.precision or "fp32")  # a wrong flag is told before anything is loaded
    if config.save_merged:  # always from the weights as they are stored: --precision rounds them for answering
        _refuse_existing(Path(config.save_merged))
        save_merged(load_classifier(config.adapter, config.model, "cpu", "fp32"), Path(config.save_merged))
        if not (config.texts or config.input or config.sample or config.test):
            return
    how = ANSWERING | (as_trained(config.adapter) if config.scores else {})
    how |= {name: given for name in ANSWERING if (given := getattr(config, name)) is not None}
    config = dataclasses.replace(config, batch_size=how["batch_size"])
    hold = how.get("train", "lora") == "lora"
    classifier = load_classifier(config.adapter, config.model, config.device, how["precision"], how["fast"], hold)
    if config.threshold is not None:
        if len(classifier.label_names) != 2:
            raise UsageError(f"--threshold: is for two labels; this model has {len(classifier.label_names)}")
        classifier = dataclasses.replace(classifier, threshold=config.threshold)
    if config.scores:
        show_scores(classifier, config, after_name(how.get("train", "lora" if classifier.base else "")))
    elif config.sample:
        print(*sampled(classifier, config.sample, config.seed, config.batch_size, terminal_width()), sep="\n")
    elif config.texts not in ((), ("-",)) and not config.output:
        show_answers(classifier, config)
    else:
        predict_stream(classifier, config)
    tell_counts(classifier.counts, classifier.max_length)


def show_answers(classifier: Classifier, config: InferConfig) -> None:
    """A line for each text of the command line."""
    rows = [data.Row(text, None, f"text {i}") for i, text in enumerate(config.texts, 1)]
    width = max(map(len, classifier.label_names))
    for answer in answers(classifier, rows, config.batch_size, skip=config.on_bad_row == "skip"):
        label, sure = answer["label"], answer["probabilities"].get(answer["label"])
        told = f"{'-':<{width}}  {'-':>7}  {answer['reason']}" if label is None else f"{label:<{width}}  {sure:7.2%}"
        print(f"{told}  {one_line(answer['text'])}".rstrip())


def predict_stream(classifier: Classifier, config: InferConfig) -> None:
    """A row out for each row in, in order, with a bounded number of rows in memory."""
    piped = config.input == "-" or (not config.input and config.texts in ((), ("-",)))
    if piped:
        lines = data.split_lines(sys.stdin.buffer, "standard input", config.encoding, config.encoding_errors, tell=tell)
        rows = (data.Row(text, None, where) for where, text in lines)
    elif config.texts:
        rows = (data.Row(text, None, f"text {i}") for i, text in enumerate(config.texts, 1))
    else:
        rows = data.read_rows(input_source(config, classifier.record), tell)
    skip = config.on_bad_row == "skip"
    most = 1 if piped and sys.stdin.isatty() else 8 * config.batch_size
    with open_atomically(Path(config.output)) if config.output else contextlib.nullcontext(sys.stdout) as file:
        write = writer(file, config.output or ".jsonl", classifier.label_names, reasons=skip)
        for portion in in_portions(rows, most):
            for answer in answers(classifier, portion, config.batch_size, skip=skip):
                write(answer)
            file.flush()


def show_scores(classifier: Classifier, config: InferConfig, after: str) -> None:
    """The table of train.py's end, of the recorded test rows or of a labelled file; to --json the numbers."""
    if config.test:
        task = known = recorded_task(classifier, advise=True)
    else:
        task, known = labelled_task(classifier, input_source(config, classifier.record))
    found = evaluated(classifier, task, known, config.batch_size, config.errors)
    if config.json:
        write_atomically(Path(config.json), json.dumps(found, indent=2, allow_nan=False) + "\n")
    name = (config.test and classifier.record.dataset.get("test_dataset")) or task.rows.dataset.name
    print(f"{len(task.rows.split.test):,} {'test rows' if config.test else 'rows'} of {name}, "
          f"precision {classifier.place.precision}\n")  # fmt: skip
    print(told(found, task, after, terminal_width()))


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
        save_as_trained(classifier.directory, files)
    print(f"merged model written to {directory}", file=sys.stderr)


if __name__ == "__main__":
    description = __doc__.split("\n\n")[0]
    sys.exit(
        run_door(
            lambda: main(parse(InferConfig, sys.argv[1:], prog="infer.py", description=description, epilog=EXAMPLES))
        )
    )
