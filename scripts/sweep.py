"""What each way of training reaches: its learning rate chosen on validation, then three seeds on the test part.

    pip install -r requirements-extras.txt
    python scripts/sweep.py --dataset SMSSpamCollection

Four arms: LoRA, the head alone, full fine-tuning, and LoRA on a base of the same shape with random weights, which shows
what pretraining buys. The rates are chosen on the first split and kept for the others. Beside them, on the same test
rows, the baselines and a linear SVM on words and characters. Each run is a directory below --output_dir; the same
command goes on where it was stopped.
"""

import dataclasses
import functools
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import data  # noqa: E402
import gpt2  # noqa: E402
import train  # noqa: E402
from tasks.product import product_directory  # noqa: E402
from tasks.record import TaskRecord  # noqa: E402
from training.errors import Stopped, UsageError, run_door  # noqa: E402
from training.files import atomic_directory  # noqa: E402
from training.fingerprint import same_fingerprint  # noqa: E402
from training.log import read_metrics  # noqa: E402
from training.metrics import classification_metrics  # noqa: E402
from training.settings import option, parse, read_toml  # noqa: E402

ARMS = {  # name -> (what is trained, learning rates to choose from)
    "LoRA": ("lora", (1e-3, 2e-3, 4e-3)),
    "head only": ("head", (1e-2, 1e-1)),
    "full fine-tuning": ("full", (3e-4, 1e-3)),
    "LoRA, random base": ("lora", (1e-3, 4e-3)),
}
KEYS = ("accuracy", "f1", "recall", "false_positive_rate")


@dataclass(frozen=True)
class SweepConfig:
    preset: str = option("sms", "recipe whose learning rate is varied", group="what")
    model: str = option("assets/gpt2-tiny", "model directory", group="what")
    dataset: str = option("data/messages/messages.tsv", "file or hub id", group="what")
    splits: tuple[str, ...] = option(("seed", "grouped"), "divisions of the rows to report", group="what")
    arms: tuple[str, ...] = option(tuple(ARMS), "ways of training", group="what", choices=tuple(ARMS))
    seeds: tuple[str, ...] = option(
        ("0", "1", "2"), "runs that report; the first one's validation chooses", group="what"
    )
    epochs: int | None = option(None, "passes over the training rows; default: the preset's", group="what")
    output_dir: str = option("work/sweep", "where the runs and table.md go", group="files")


def main(config: SweepConfig) -> None:
    base = train.recipe(config.preset, model=config.model, dataset=config.dataset)
    base = dataclasses.replace(base, num_train_epochs=config.epochs or base.num_train_epochs, precision="fp32")
    about = f"{config.dataset}, {config.model}, preset {config.preset}, {base.num_train_epochs} epochs"
    lines, rates = [f"{about}, seeds {', '.join(config.seeds)}"], {}
    for split in config.splits:
        here = dataclasses.replace(base, split=split)
        runs: dict[str, list[dict[str, Any]]] = {}  # per line of the tables, the results of its runs
        for arm in config.arms:
            rates[arm], runs[arm] = run_arm(arm, here, config, rates.get(arm))
        svm = linear_svm(here)
        lines += table(f"split {split}", runs | others(runs[config.arms[0]][0], svm), rates)
        if base.also_test:
            also = {name: [result["also_test"] for result in results] for name, results in runs.items()}
            known = others(also[config.arms[0]][0], svm["also_test"])
            lines += table(f"{base.also_test}, the same runs", also | known, rates)
    text = "\n".join(lines)
    print(text)
    (Path(config.output_dir) / "table.md").write_text(text + "\n", encoding="utf-8")


def others(results: dict[str, Any], svm: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What needs no language model, in the form of a run's results."""
    lines = {name.replace("_", " "): [{"after": scores}] for name, scores in results["baselines"].items()}
    return lines | {"words and characters, linear SVM": [svm]}


def run_arm(
    arm: str, base: train.TrainConfig, config: SweepConfig, rate: float | None
) -> tuple[float, list[dict[str, Any]]]:
    """The learning rate and the results of all seeds with it; if None, the one with the least validation loss."""
    kind, rates = ARMS[arm]
    base = dataclasses.replace(base, train=kind)
    if "random" in arm:
        base = dataclasses.replace(base, model=str(random_base(base.model, Path(config.output_dir))))

    def settings(rate: float, seed: str) -> train.TrainConfig:
        where = Path(config.output_dir) / base.split / arm.replace(" ", "-") / f"lr{rate:g}-seed{seed}"
        return dataclasses.replace(base, learning_rate=rate, seed=int(seed), output_dir=str(where))

    if rate is None:
        losses = {rate: validation_loss(settings(rate, config.seeds[0])) for rate in rates}
        print(f"{base.split}, {arm}: validation loss", *(f"{loss:.4f} at {rate:g}" for rate, loss in losses.items()))
        rate = min(losses, key=losses.get)
    return rate, [run_once(settings(rate, seed)) for seed in config.seeds]


def run_once(config: train.TrainConfig, again: bool = False) -> dict[str, Any]:
    """results.json of a run, which is only run if it is not there yet, or `again`.

    Raises UsageError where a run with other settings, on another base or on other rows is there, and Stopped where this
    one was stopped.
    """
    directory = Path(config.output_dir)
    if again or not (directory / "results.json").is_file():
        print(f"--- {directory}", flush=True)
        try:
            train.main(dataclasses.replace(config, overwrite=True))
        except Stopped as stopped:
            message = f"{directory} was stopped; the same command begins that run again and goes on"
            raise Stopped(message, stopped.exit_code - 128) from None
    kept = train.TrainConfig(**read_toml(train.TrainConfig, directory / "config.toml"))
    matters = [f.name for f in dataclasses.fields(config) if f.metadata["group"] not in ("files", "machine")]
    other = [name for name in matters if getattr(config, name) != getattr(kept, name)]
    record = TaskRecord.load(product_directory(directory))
    base, rows = fingerprints(config.model, train.source_of(config), config.strip)
    other += ["base"] * (not same_fingerprint(record.base["fingerprint"], base))
    other += ["set of rows"] * (not same_fingerprint(record.dataset["fingerprint"], rows))
    if other:
        raise UsageError(f"{directory}: holds a run with another {', '.join(other)}; give another --output_dir")
    return json.loads((directory / "results.json").read_text(encoding="utf-8"))


@functools.cache
def fingerprints(model: str, source: data.Source, strip: bool) -> tuple[str, str]:
    """Of a base and of a data set's rows, as task.json has them: names stay when what they name changes."""
    texts = data.load_texts(source, data.TextRule(strip))
    directory = gpt2.resolve_model(train.locate(model))
    base = gpt2.GPT2ForSequenceClassification.from_pretrained(directory, id2label=texts.id2label)
    return gpt2.base_fingerprint(base, directory), texts.fingerprint()


def validation_loss(config: train.TrainConfig) -> float:
    """The least validation loss of a run."""
    run_once(config)
    log = read_metrics(Path(config.output_dir))
    return min(entry["loss"] for entry in log if entry.get("part") == "validation")


def random_base(model: str, output_dir: Path) -> Path:
    """A model directory of the same shape and tokenizer with untrained weights (seed 0)."""
    source = gpt2.resolve_model(train.locate(model))
    shape = gpt2.read_config(source)
    directory = output_dir / f"random-base-{shape.n_layer}x{shape.n_embd}-{shape.vocab_size}"
    if not directory.is_dir():
        torch.manual_seed(0)
        with atomic_directory(directory) as files:
            gpt2.Tokenizer.from_pretrained(source).save_pretrained(files)
            gpt2.GPT2LMHeadModel(shape).save_pretrained(files)
    return directory


def linear_svm(config: train.TrainConfig) -> dict[str, Any]:
    """TF-IDF of words, word pairs and 2 to 5 characters into a linear SVM, trained on all rows that do not test.

    Its scores in the form of a run's results: "after", and "also_test" where the config names such a file.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline, make_union
        from sklearn.svm import LinearSVC
    except ImportError:
        raise UsageError("the SVM needs scikit-learn: pip install -r requirements-extras.txt") from None
    source, rule = train.source_of(config), data.TextRule(config.strip)
    dataset = data.load_texts(source, rule)
    sizes = config.test_size, config.val_size
    split = data.split_rows(dataset, config.split, *sizes, config.split_seed, config.max_train_rows)
    rows = split.train + split.val
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    svm = make_pipeline(make_union(words, characters), LinearSVC())
    svm.fit([dataset.texts[i] for i in rows], [dataset.labels[i] for i in rows])

    def scores(texts: list[str], labels: list[int]) -> dict[str, Any]:
        said = torch.from_numpy(svm.predict(texts))
        certain = torch.nn.functional.one_hot(said, len(dataset.label_names)).clamp_min(1e-12).log()
        return {"after": classification_metrics(certain, torch.tensor(labels))}

    results = scores([dataset.texts[i] for i in split.test], [dataset.labels[i] for i in split.test])
    if config.also_test:
        other = dataclasses.replace(source, name=train.locate(config.also_test))
        asked = data.load_texts(other, rule, dataset.label_names)
        results["also_test"] = scores(asked.texts, asked.labels)
    return results


def table(title: str, runs: dict[str, list[dict[str, Any]]], rates: dict[str, float]) -> list[str]:
    """Means over the seeds, and the accuracy of each; the scores are those of train.py's table."""
    columns = ("", "learning rate", "accuracy", "F1", "recall", "false positives", "each seed")
    lines = ["", title, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, results in runs.items():
        scores = [result["after"] for result in results]
        means = {key: statistics.mean(s[key] for s in scores) for key in KEYS}
        each = ", ".join(f"{100 * s['accuracy']:.2f}" for s in scores) if len(scores) > 1 else ""
        rate = f"{rates[name]:g}" if name in rates else ""
        cells = f"{means['accuracy']:.2%}", f"{means['f1']:.3f}", f"{means['recall']:.2%}"
        lines.append(f"| {name} | {rate} | {' | '.join(cells)} | {means['false_positive_rate']:.2%} | {each} |")
    return lines


if __name__ == "__main__":
    words = {"prog": "scripts/sweep.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(SweepConfig, sys.argv[1:], **words)), lasting=True))
