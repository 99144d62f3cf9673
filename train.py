"""Teach a frozen GPT-2 a classification task with hand-written LoRA. The whole run, in numbered paragraphs.

The model is in gpt2/model.py, LoRA in lora/layer.py; forward, loss, backward, clip and step are in `train_step`.
"""

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import data
import gpt2
import lora
from tasks.config import TrainConfig
from training import dropout
from training.device import Place, choose_place
from training.distributed import run_together, sum_gradients
from training.errors import NonFiniteError, Stopped, run_door
from training.evaluation import evaluate, score_baselines
from training.exact import MEANING, check_exact, draw_for_epoch
from training.files import atomic_directory, write_atomically
from training.heap import keep_heap
from training.optimization import build_optimizer, clip_gradients, learning_rate_at, set_learning_rate
from training.progress import Progress
from training.report import describe_run, model_card, summary
from training.run import MetricsLog, StopRequest, open_run, write_config
from training.settings import parse_flags, read_preset, read_toml
from training.state import RunState, Trainee, run_of
from training.task import TaskRecord

ROOT = Path(__file__).resolve().parent
EXAMPLES = """examples:
  python train.py                                                  bundled model and messages, offline
  python train.py --preset seed                                    the notebook's recipe on GPT-2
  python train.py --model gpt2 --dataset mine.csv --text_column body --label_column topic
  python train.py --resume_from_checkpoint runs/tiny               go on where a run was stopped"""


def main(config: TrainConfig) -> dict[str, Any]:
    """One run from start to finish; returns what results.json holds."""
    # 1. Where to compute.
    directory = gpt2.resolve_model(locate(config.model))
    shape = gpt2.read_config(directory)
    device, precision, fast = ("cpu", "fp32", False) if config.exact else (config.device, config.precision, config.fast)
    place = choose_place(device, precision, shape.n_embd, fast)
    print(place, *keep_heap(place.device), sep="\n")
    if config.exact:
        check_exact(place.precision, place.ranks.size)
        print(MEANING)
    # 2. What to learn from.
    tokenizer = gpt2.Tokenizer.from_pretrained(directory)
    source = source_of(config)
    dataset = data.load_texts(source, data.TextRule(config.strip))
    how = {"kind": config.split, "test_size": config.test_size, "val_size": config.val_size, "seed": config.split_seed}
    max_length = min(config.max_length or shape.n_positions, shape.n_positions)
    task = data.prepare_task(dataset, data.split_rows(dataset, **how), tokenizer, tokenizer.eos_token_id, max_length)
    print(task.describe())
    tests = [task]  # parts whose scores are reported
    if config.also_test:
        other = dataclasses.replace(source, name=locate(config.also_test))
        tests.append(task.beside(data.load_texts(other, data.TextRule(config.strip), dataset.label_names), tokenizer))
        print(tests[-1].describe())
    # 3. The frozen model, and LoRA on it.
    model, fingerprint = build_model(config, directory, task)
    model.to(place.device)
    model.transformer.gradient_checkpointing = config.gradient_checkpointing
    if place.fast:
        for part in (gpt2, lora, dropout):
            part.use_fast(model)
        if place.precision == "bf16" and config.train == "lora":  # else frozen weights are saved with the trained ones
            gpt2.hold_frozen(model, torch.bfloat16)
    lora.print_trainable_parameters(model)
    record = TaskRecord(
        label_names=dataset.label_names, max_length=max_length, text_rule={"strip": config.strip}, split=how,
        base={"name": config.model, "fingerprint": fingerprint}, seed=config.seed,
        dataset=dataclasses.asdict(source) | {"name": config.dataset, "fingerprint": dataset.fingerprint()},
    )  # fmt: skip
    with place.ranks.enter_on_main(open_run_directory(config)) as run:
        print(f"writing to {run}")
        if place.ranks.is_main and not config.resume_from_checkpoint:
            write_config(run, config, output_dir=str(run), precision=place.precision)
        # 4. How good it is before, and how good one gets without a language model.
        before = [scores_of(part.split.test, model, config, part, place) for part in tests]
        known = [score_baselines(task.baselines(part.test_texts), part.labels(part.split.test)) for part in tests]
        # 5. Training.
        state = RunState({"the base model": fingerprint, "the rows of --dataset": record.dataset["fingerprint"]})
        fit(model, config, task, place, run, state)
        # 6. How good it is after, and the files that keep it.
        after = [scores_of(part.split.test, model, config, part, place) for part in tests]
        results, *others = ({"before": b, "after": a, "baselines": k} for b, a, k in zip(before, after, known))
        results |= describe_run(config, state, place, lora.count_parameters(model), task)
        if others:
            results["also_test"] = others[0] | {"dataset": config.also_test, "seen": tests[1].seen}
        if place.ranks.is_main:
            save_product(run, model, config, tokenizer, record, results)
            write_atomically(run / "results.json", json.dumps(results, indent=2) + "\n")
    print(summary(results, dataset.label_names))
    return results


def build_model(config: TrainConfig, directory: Path, task: data.Task) -> tuple[torch.nn.Module, str]:
    """The model with what `--train` asks for trainable, and the fingerprint of its base."""
    torch.manual_seed(config.seed)
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(
        directory, id2label=task.dataset.id2label, pad_token_id=task.pad_token_id
    )
    model.name_or_path = config.model
    fingerprint = gpt2.fingerprint(model.state_dict())
    if config.train == "lora":
        adapter = lora.LoraConfig(
            r=config.lora_r, lora_alpha=config.lora_alpha, lora_dropout=config.lora_dropout,
            use_rslora=config.use_rslora, target_modules=config.target_modules, task_type="SEQ_CLS",
        )  # fmt: skip
        lora.apply_lora(model, adapter)
    elif config.train == "head":
        model.requires_grad_(False)
        model.score.requires_grad_(True)
    return model, fingerprint


def fit(model, config: TrainConfig, task: data.Task, place: Place, run: Path, state: RunState) -> None:
    """The loop over optimizer steps. Ends with the best weights in the model; raises Stopped on Ctrl-C or SIGTERM."""
    ranks, parallel = place.ranks, place.ranks.parallel(model)
    optimizer = build_optimizer(model, config.learning_rate, config.weight_decay)
    scaler = place.grad_scaler()
    trainee = Trainee(lora.trainable_parameters(model), optimizer, scaler, place)
    torch.manual_seed(ranks.seed(config.seed))
    if config.resume_from_checkpoint:
        print(trainee.restore(Path(config.resume_from_checkpoint), state, config))
    rows_per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps * ranks.size
    steps_per_epoch = -(-len(task.split.train) // rows_per_step)
    total = config.max_steps if config.max_steps > 0 else config.num_train_epochs * steps_per_epoch
    schedule = {"peak": config.learning_rate, "schedule": config.lr_scheduler_type, "warmup_steps": config.warmup_steps}
    log = MetricsLog(run / "metrics.jsonl" if ranks.is_main else None, state.step)
    with StopRequest() as stop, Progress(total, state.step, config.logging_steps, place.fast) as progress:
        for step in range(state.step, total):
            epoch, at = divmod(step, steps_per_epoch)
            state.start_clock()
            if config.exact and at == 0:
                draw_for_epoch()
            order = data.epoch_order(len(task.split.train), config.seed, epoch)
            rows = [task.split.train[i] for i in order[at * rows_per_step : (at + 1) * rows_per_step]]
            batches = task.micro_batches(list(ranks.share(rows)), config.per_device_train_batch_size)
            rate = learning_rate_at(state.updates, total, **schedule)
            set_learning_rate(optimizer, rate)
            model.train()
            loss, grad_norm, stepped = train_step(parallel, optimizer, scaler, batches, place, config.max_grad_norm)
            state.finish_step(stepped, len(rows), task.tokens(rows))
            log.write(step=state.step, loss=loss, learning_rate=rate, grad_norm=grad_norm)
            progress.step(state.step, loss, batches, task.tokens(rows))
            is_best, last, end_of_epoch = False, state.step == total, at + 1 == steps_per_epoch
            if last or due(config.eval_strategy, config.eval_steps, state.step, end_of_epoch):
                scores = scores_of(task.choosing, model, config, task, place)
                is_best = state.note_score(scores, config.metric_for_best_model) and config.load_best_model_at_end
                log.write(step=state.step, part="validation" if task.split.val else "test", **scores)
                progress.evaluated(state.step, scores)
            stopped_by = ranks.max(stop.signal or 0)  # all stop after the same step
            if stopped_by or is_best or due(config.save_strategy, config.save_steps, state.step, end_of_epoch):
                trainee.save(run, state, config, config.save_total_limit)
            if stopped_by and not last:
                again = f"{ranks.launcher} train.py --resume_from_checkpoint {run}"
                raise Stopped(f"stopped after step {state.step}; go on with: {again}", stopped_by)
    if config.load_best_model_at_end:
        trainee.load_best(run, state)


def train_step(model, optimizer, scaler, batches: list[data.Batch], place: Place, max_grad_norm: float):
    """One optimizer step over one or more batches. Returns (mean loss in nats, gradient norm before clipping, stepped).

    The losses of all rows are summed and divided by the number of rows of the whole step, on all processes. A mean per
    batch, averaged afterwards, would weigh the rows of a short batch more.
    """
    rows = place.ranks.sum(sum(batch.rows for batch in batches))
    total = 0.0
    for number, batch in enumerate(batches, start=1):
        batch = batch.to(place.device)
        with place.autocast(), sum_gradients(model, now=number == len(batches)):
            logits = model(batch.input_ids, batch.attention_mask).logits  # (B, C)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = F.cross_entropy(logits, batch.labels, reduction="sum") / rows
        scaler.scale(loss).backward()
        total = total + loss.detach()
    scaler.unscale_(optimizer)  # clipping needs the true gradients
    mean_loss, grad_norm = torch.stack([total, clip_gradients(model, max_grad_norm)]).tolist()  # waits for the GPU
    mean_loss = place.ranks.sum(mean_loss)
    if not scaler.is_enabled() and not math.isfinite(mean_loss + grad_norm):
        raise NonFiniteError(f"loss {mean_loss}, gradient norm {grad_norm}: no step was made; lower --learning_rate")
    scale = scaler.get_scale()
    scaler.step(optimizer)  # skipped where fp16 overflowed; the schedule must not move then
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    if scaler.is_enabled() and scaler.get_scale() < 1.0:
        raise NonFiniteError("fp16 overflows at every scale: loss or gradients are not finite; use bf16 or fp32")
    return mean_loss, grad_norm, scaler.get_scale() >= scale


def due(strategy: str, every: int, step: int, end_of_epoch: bool) -> bool:
    return end_of_epoch if strategy == "epoch" else strategy == "steps" and step % every == 0


def scores_of(rows: list[int], model, config: TrainConfig, task: data.Task, place: Place) -> dict[str, Any]:
    return evaluate(model, task.eval_batches(rows, config.per_device_eval_batch_size), task.labels(rows), place)


def open_run_directory(config: TrainConfig):
    """The run's directory, held against a second run: a new one, or that of the run to go on with."""
    resume = config.resume_from_checkpoint
    output_dir = str(run_of(Path(resume))) if resume else config.output_dir
    return open_run(output_dir, Path("runs") / config.preset, resume=bool(resume), overwrite=config.overwrite)


def save_product(run: Path, model, config: TrainConfig, tokenizer, record: TaskRecord, results: dict[str, Any]) -> None:
    """`adapter/` in peft's format, or `model/` in transformers' where whole weights were trained."""
    with atomic_directory(run / ("adapter" if config.train == "lora" else "model")) as directory:
        if config.train == "lora":
            lora.save_adapter(model, directory)
        else:
            model.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
        record.save(directory)
        (directory / "README.md").write_text(model_card(results, record.label_names), encoding="utf-8")


def locate(name: str) -> str:
    """A file as given, else the one of that name in the project: the presets' paths work from any directory."""
    ours = ROOT / name  # not the folder gpt2/, which is no model: "gpt2" is a hub id
    return str(ours) if not Path(name).exists() and (ours.is_file() or (ours / "config.json").is_file()) else name


def source_of(config: TrainConfig) -> data.Source:
    """Where the rows of --dataset come from."""
    return data.Source(locate(config.dataset), config.text_column, config.label_column, config.encoding)


def read_settings(argv: list[str]) -> TrainConfig:
    """Flags over the preset, or, for a run to go on with, over the settings that run was started with."""
    flags = parse_flags(TrainConfig, argv, prog="train.py", description=__doc__.split("\n\n")[0], epilog=EXAMPLES)
    if flags.get("resume_from_checkpoint"):
        run = run_of(Path(flags["resume_from_checkpoint"]))
        return TrainConfig(**(read_toml(TrainConfig, run / "config.toml") | flags))
    return recipe(flags.pop("preset", "tiny"), **flags)


def recipe(preset: str, **changes: Any) -> TrainConfig:
    """A preset's settings with some changed. Its --also_test goes with its own rows: others may have other labels."""
    settings = read_preset(TrainConfig, preset, ROOT / "presets")
    own, other = settings.get("dataset"), changes.get("dataset")
    if own and other and Path(locate(own)).resolve() != Path(locate(other)).resolve():
        settings.pop("also_test", None)
    return TrainConfig(**(settings | changes))


if __name__ == "__main__":
    sys.exit(run_door(lambda: run_together(lambda: main(read_settings(sys.argv[1:])))))
