"""What `train.py` can be told: every flag with its default and its help."""

from dataclasses import dataclass

import data
from tasks.classification import Classification
from tasks.language import Language
from tasks.record import KINDS
from training.device import DEVICES, PRECISIONS
from training.errors import UsageError
from training.exact import check_exact
from training.optimization import SCHEDULES
from training.resume import MAY, UNUSED
from training.settings import check_characters, check_range, option

STRATEGIES = ("no", "epoch", "steps")
ERRORS, BAD_ROWS = ("strict", "replace"), ("error", "skip")
TASKS = {"classification": Classification, "language": Language}
BEST = {kind: [m.name for m in task.metrics if m.higher_is_better is not None] for kind, task in TASKS.items()}
ANY = tuple(dict.fromkeys(sum(BEST.values(), [])))


# fmt: off
@dataclass(frozen=True)
class TrainConfig:
    """The settings of a run; `train.py --help all` prints them, a preset or config.toml holds them as TOML."""

    preset: str = option("tiny", "recipe in presets/, or a .toml file", group="what", resume=UNUSED)
    task: str = option("classification", "or language: to write like the texts", group="what", choices=KINDS)
    model: str = option("assets/gpt2-tiny", "directory or hub id", group="what", resume=MAY)
    dataset: str = option("data/messages/messages.tsv", "file, hub id or directory of .txt", group="what", resume=MAY)
    text_column: tuple[str, ...] = option((), "if not called text, ...; several are joined", group="what", resume=MAY)
    label_column: str | None = option(None, "if it is not called label, class, ...", group="what", resume=MAY)
    only_label: str | None = option(None, "language: only the texts that have this label", group="what", rare=True)
    encoding: str = option("utf-8", "of a data file", group="what", rare=True, resume=MAY)
    encoding_errors: str = option("strict", "or replace bad bytes", group="what", rare=True, choices=ERRORS, resume=MAY)
    header: bool | None = option(None, "false: none, columns have numbers", group="what", rare=True, resume=MAY)
    delimiter: str | None = option(None, "between columns, e.g. ';' or tab", group="what", rare=True, resume=MAY)
    quotechar: str | None = option(None, "around fields of a table", group="what", rare=True, resume=MAY)
    on_bad_row: str = option("error", "skip: leave it out", group="what", rare=True, choices=BAD_ROWS, resume=MAY)
    dataset_config: str | None = option(None, "of a hub dataset", group="what", rare=True, resume=MAY)
    dataset_split: str = option("train", "of a hub dataset", group="what", rare=True, resume=MAY)
    strip: bool = option(True, "strip blanks around texts, in training and inference", group="what", rare=True)
    split: str = option("stratified", "into parts; seed: the original's", group="what", choices=data.SPLITS)
    split_seed: int = option(23, "of the division; --seed leaves it alone", group="what", rare=True)
    test_size: float = option(0.2, "share of the rows that only report", group="what")
    val_size: float = option(0.1, "share of the others that choose the checkpoint; 0: test chooses", group="what")
    validation_dataset: str | None = option(None, "a file whose rows choose instead", group="what", resume=MAY)
    test_dataset: str | None = option(None, "a file whose rows report instead", group="what", resume=MAY)
    max_train_rows: int | None = option(None, "train on so many; the other parts stay", group="what")
    max_length: int | None = option(None, "tokens of a text; default: all positions", group="what")
    train: str = option("lora", "what is trained", group="LoRA", choices=("lora", "head", "full"))
    lora_r: int = option(8, "rank r of A and B", group="LoRA")
    lora_alpha: float = option(32.0, "the update is times lora_alpha / r", group="LoRA")
    lora_dropout: float = option(0.1, "dropout on the input of A", group="LoRA")
    target_modules: tuple[str, ...] = option(("c_attn", "c_proj"), "layers, by the end of their name", group="LoRA")
    use_rslora: bool = option(False, "scale by lora_alpha / sqrt(r)", group="LoRA", rare=True)
    learning_rate: float = option(1e-3, "peak learning rate", group="training", short="lr")
    per_device_train_batch_size: int = option(32, "rows per forward pass", group="training", short="batch_size")
    gradient_accumulation_steps: int = option(1, "forward passes per optimizer step", group="training")
    num_train_epochs: int = option(3, "passes over the training rows", group="training", short="epochs")
    max_steps: int = option(-1, "optimizer steps; -1: as the epochs say", group="training")
    weight_decay: float = option(0.01, "AdamW's, on all but biases and norms", group="training", rare=True)
    warmup_steps: float = option(0.0, "linear; below 1: a share of all steps", group="training")
    lr_scheduler_type: str = option("linear", "after the warm-up", group="training", rare=True, choices=SCHEDULES)
    max_grad_norm: float = option(1.0, "clip gradients to this norm; 0: do not", group="training", rare=True)
    seed: int = option(42, "new weights, order of rows, dropout", group="training")
    eval_strategy: str = option("epoch", "when to evaluate", group="evaluation", choices=STRATEGIES, resume=MAY)
    eval_steps: int = option(50, "with --eval_strategy steps", group="evaluation", rare=True, resume=MAY)
    per_device_eval_batch_size: int = option(64, "rows per forward pass", group="evaluation", rare=True, resume=MAY)
    load_best_model_at_end: bool = option(True, "end with the best checkpoint", group="evaluation", rare=True)
    metric_for_best_model: str = option("loss", "which is best", group="evaluation", choices=ANY)
    also_test: str | None = option(None, "a file, of the same columns, that only tests", group="evaluation", resume=MAY)
    sample_prompt: str = option("", "language: how each sample begins", group="evaluation", rare=True, resume=MAY)
    output_dir: str | None = option(None, "default: runs/PRESET, or the next free name", group="files", resume=UNUSED)
    overwrite: bool = option(False, "replace the run in --output_dir", group="files", resume=UNUSED)
    resume_from_checkpoint: str | None = option(None, "a run, or one of its checkpoints", group="files", resume=MAY)
    save_strategy: str = option("epoch", "when to save", group="files", rare=True, choices=STRATEGIES, resume=MAY)
    save_steps: int = option(50, "with --save_strategy steps", group="files", rare=True, resume=MAY)
    save_total_limit: int = option(2, "newest checkpoints kept, besides the best", group="files", rare=True, resume=MAY)
    snapshots: int = option(0, "copies of A, B and head over the run, to look at", group="files")
    logging_steps: int = option(10, "report every so many steps", group="files", rare=True, resume=MAY)
    device: str = option("auto", "where to compute", group="machine", choices=DEVICES, resume=MAY)
    precision: str = option("auto", "of the matrix products", group="machine", choices=PRECISIONS, resume=MAY)
    ddp_timeout: float = option(600.0, "seconds for others to answer", group="machine", rare=True, resume=MAY)
    gradient_checkpointing: bool = option(False, "less memory, more time", group="machine", resume=MAY)
    exact: bool = option(False, "on a CPU, the bits of peft + Trainer", group="training")
    fast: bool | None = option(None, "fast form of the layers; default: not on MPS", group="training", rare=True)

    def __post_init__(self) -> None:
        at_least_1 = ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "eval_steps",
                      "per_device_eval_batch_size", "save_steps", "save_total_limit", "logging_steps", "max_length")
        check_range(self, at_least_1, 1)
        check_range(self, ("max_train_rows",), 1)
        check_range(self, ("snapshots",), 0, below=10_000)
        check_range(self, ("lora_r",), 1, below=2**31)  # with more, torch cannot tell how large a tensor would be
        check_range(self, ("learning_rate", "weight_decay", "warmup_steps", "max_grad_norm", "seed", "split_seed"), 0)
        check_range(self, ("lora_alpha",), 0, open=True)
        check_range(self, ("ddp_timeout",), 0, below=10**9, open=True)
        check_range(self, ("test_size",), 0, below=1, open=True)
        check_range(self, ("lora_dropout", "val_size"), 0, below=1)
        if self.max_steps != -1:
            check_range(self, ("max_steps",), 1)  # -1 leaves it to the epochs
        check_characters(self, ("delimiter", "quotechar"))
        self._check_texts()
        if self.metric_for_best_model not in BEST[self.task]:
            known = ", ".join(BEST[self.task])
            raise UsageError(f"--metric_for_best_model {self.metric_for_best_model}: --task {self.task} has {known}")
        if self.task == "language" and self.train == "head":
            raise UsageError("--train head: a writer has no head of its own; take lora or full")
        if self.task == "language" and self.on_bad_row == "skip":
            raise UsageError("--on_bad_row skip: for --task classification; a writer's empty texts must be removed")
        for name in ("validation_dataset", "test_dataset", "max_train_rows"):
            if self.task == "language" and getattr(self, name) is not None:
                raise UsageError(f"--{name}: for --task classification; a writer is tested by --also_test, too")
        if self.task == "classification" and self.only_label is not None:
            raise UsageError("--only_label: a classifier needs all labels; it is for --task language")
        if self.task == "language" and self.max_length == 1:
            raise UsageError("--max_length 1: a window of a text holds a token and the next one, so 2 at least")
        if self.exact:
            check_exact(self.precision, fast=self.fast, device=self.device)

    def _check_texts(self) -> None:
        if not self.target_modules or not all(map(str.strip, self.target_modules)):
            raise UsageError("--target_modules: names no layer; give at least one, e.g. c_attn c_proj")
        for name, value in vars(self).items():  # config.toml must hold each, and no file's name has byte 0
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and ("\0" in text or any("\ud800" <= c <= "\udfff" for c in text)):
                    raise UsageError(f"--{name} {text!r}: holds bytes that are not UTF-8, or byte 0; rename it")
# fmt: on
