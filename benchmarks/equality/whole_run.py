"""For the skeptic: one training run twice, by Trainer + peft and by `train.py --exact`; every number must be the same.

    python benchmarks/equality/whole_run.py  about half a minute on a CPU; exit code 1 if a bit differs
    python benchmarks/equality/whole_run.py --task language  the same for a model that learns to write

A random GPT-2 written by transformers, random messages, all dropouts at 0.1, two epochs with a short last batch. What
exact mode means, and what it does not: docs/equivalence.md.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import peft  # noqa: E402
import tokenizers  # noqa: E402
import transformers as hf  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import data  # noqa: E402
import gpt2  # noqa: E402
from data import IGNORED  # noqa: E402

SEED, BATCH, EPOCHS, RATE = 42, 8, 2, 1e-3
PARTS = {"test_size": 0.2, "val_size": 0.1}
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "target_modules": ["wte", "c_attn", "c_proj", "c_fc"]}


def write_inputs(work: Path) -> None:
    rng = random.Random(0)
    words = {"ham": "home soon dinner late bus sorry see", "spam": "win free cash urgent call prize now"}
    texts = [(label, " ".join(rng.choices(words[label].split(), k=rng.randint(2, 14)))) for label in list(words) * 45]
    texts = list(dict.fromkeys(texts))
    (work / "rows.tsv").write_text("".join("\t".join(row) + "\n" for row in texts))
    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator([t for _, t in texts], 400, special_tokens=["<|endoftext|>"], show_progress=False)
    bpe.save_model(str(work))
    shape = {"vocab_size": bpe.get_vocab_size(), "n_layer": 3, "n_embd": 96, "n_head": 4, "n_positions": 64}
    config = hf.GPT2Config(**shape, bos_token_id=0, eos_token_id=0)  # 0 is <|endoftext|>
    hf.GPT2LMHeadModel(config).save_pretrained(work)


def features(work: Path, tokenizer: hf.PreTrainedTokenizerBase, task: str) -> list[dict]:
    """The training rows as Trainer takes them. A writer's labels are this project's: the ends of texts are learned."""
    how = {"kind": "stratified", **PARTS, "seed": 23}
    source, rule = data.Source(str(work / "rows.tsv")), data.TextRule()
    if task == "classification":
        texts = data.load_texts(source, rule)
        rows = data.split_rows(texts, **how).train
        return [tokenizer(texts.texts[i], truncation=True, max_length=64) | {"labels": texts.labels[i]} for i in rows]
    documents, split = data.split_documents(data.load_documents(source, rule), **how)
    ours = {"eos_token_id": 0, "max_length": 64}
    windows = data.make_windows(gpt2.Tokenizer(work), documents.items, split.train, **ours)
    labels = [[IGNORED] * w.first_target + list(w.targets) for w in windows]
    return [{"input_ids": list(w.ids), "labels": known} for w, known in zip(windows, labels)]


def run_reference(work: Path, task: str) -> tuple[list[dict], dict]:
    tokenizer = hf.GPT2TokenizerFast(str(work / "vocab.json"), str(work / "merges.txt"), pad_token="<|endoftext|>")
    hf.set_seed(SEED)
    kind, task_type, collator = {
        "classification": (hf.GPT2ForSequenceClassification, "SEQ_CLS", hf.DataCollatorWithPadding),
        "language": (hf.GPT2LMHeadModel, "CAUSAL_LM", hf.DataCollatorForSeq2Seq),  # it fills up labels with -100
    }[task]
    model = kind.from_pretrained(work, pad_token_id=tokenizer.pad_token_id)
    model = peft.get_peft_model(model, peft.LoraConfig(**LORA, fan_in_fan_out=True, task_type=task_type))
    flags = {"report_to": "none", "save_strategy": "no", "logging_steps": 1, "use_cpu": True, "disable_tqdm": True}
    flags |= {"per_device_train_batch_size": BATCH, "num_train_epochs": EPOCHS, "learning_rate": RATE, "seed": SEED}
    arguments = hf.TrainingArguments(str(work / "theirs"), **flags, weight_decay=0.01)
    trainer = hf.Trainer(model, arguments, collator(tokenizer), features(work, tokenizer, task))
    trainer.train()
    return [e for e in trainer.state.log_history if "grad_norm" in e], peft.get_peft_model_state_dict(model)


def run_ours(work: Path, task: str) -> tuple[list[dict], dict]:
    flags = {"task": task, "model": work, "dataset": work / "rows.tsv", "output_dir": work / "ours"}
    flags |= {"split": "stratified", "lora_r": LORA["r"], "lora_alpha": LORA["lora_alpha"], **PARTS}
    flags |= {"batch_size": BATCH, "epochs": EPOCHS, "lr": RATE, "seed": SEED, "load_best_model_at_end": False}
    command = [sys.executable, str(ROOT / "train.py"), "--exact", *(f"--{k}={v}" for k, v in flags.items())]
    command += ["--lora_dropout", str(LORA["lora_dropout"]), "--target_modules", *LORA["target_modules"]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (work / "ours" / "metrics.jsonl").read_text().splitlines()]
    return [e for e in lines if "grad_norm" in e], load_file(work / "ours" / "adapter" / "adapter_model.safetensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--task", default="classification", choices=("classification", "language"))
    task = parser.parse_args().task
    with tempfile.TemporaryDirectory() as name:
        write_inputs(Path(name))
        (theirs, tensors), (ours, found) = run_reference(Path(name), task), run_ours(Path(name), task)
    same = {key: [e[key] for e in theirs] == [e[key] for e in ours] for key in ("loss", "grad_norm", "learning_rate")}
    same |= {key: key in found and tensors[key].equal(found[key]) for key in tensors}
    print(*(f"{'same bits' if ok else 'DIFFERENT':10} {key}" for key, ok in same.items()), sep="\n")
    verdict = all(same.values()) and set(tensors) == set(found) and len(theirs) > 10
    print(f"{len(theirs)} steps, {len(tensors)} tensors:", "the same to the last bit" if verdict else "NOT THE SAME")
    sys.exit(not verdict)
