"""What a LoRA run and a run of full fine-tuning have learned: tables, and the pictures of the chapter.

python train.py
python train.py --train full --learning_rate 2e-4 --epochs 2 --output_dir runs/full
python scripts/draw_learned.py --run runs/tiny --full runs/full --images docs/images
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import drawing  # noqa: E402
from anatomy.cuts import accuracy_by_rank  # noqa: E402
from anatomy.report import report  # noqa: E402
from benchmarks.speed.memory import SIZES, Training  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.files import write_atomically  # noqa: E402
from training.settings import option, parse  # noqa: E402

RANKS = (0, 1, 2, 3, 4, 6, 8, 16, 32, 64, None)  # None: the whole update
SHOWN = 24  # singular values of full fine-tuning
WAYS = {"head": "head alone", "lora": "LoRA", "full": "all weights"}
HELD = {"weights": "weights", "gradients": "gradients", "optimizer": "AdamW's averages", "activations": "activations"}


@dataclass(frozen=True)
class LearnedConfig:
    run: str = option("runs/tiny", "a finished run of --train lora with --snapshots", group="files")
    full: str = option("runs/full", "a finished run of --train full on the same base", group="files")
    images: str = option("docs/images", "directory for the pictures", group="files")


def main(config: LearnedConfig) -> None:
    found = report(config.run, full=config.full, tell=lambda line: print(line, file=sys.stderr))
    needed = {"full": f"the updates of {config.full} beside it", "gradients": "gradients over its snapshots"}
    needed["evaluation"] = "scores on its test rows" + ", which a writer has not" * (found["writer"] is not None)
    if missing := [words for key, words in needed.items() if not found[key]]:
        raise UsageError(f"{config.run}: not all of it can be drawn; missing: {'; '.join(missing)}")
    print(layers_table(found), "", sep="\n")
    ranks = accuracy_by_rank(config.run, config.full, RANKS)
    print(ranks_table(ranks), "", sep="\n")
    print(growth_table(found["gradients"]), "", sep="\n")
    pictures = {
        "spectra": spectra(found), "update-map": update_map(found), "growth": growth(found["gradients"]),
        "ranks": by_rank(ranks), "length": length(found["evaluation"]), "memory": memory(found),
    }  # fmt: skip
    for name, picture in pictures.items():
        if picture is None:
            continue
        path = Path(config.images) / f"{name}.svg"
        write_atomically(path, picture)
        print(f"written to {path}")


def layers(found: dict[str, Any]) -> list[tuple[dict, dict, dict]]:
    """(LoRA's row, full fine-tuning's row, overlap) of each layer that both have, the parts of c_attn left out."""
    full = {row["layer"]: row for row in found["full"]["updates"] if row["part"] is None}
    overlap = {row["layer"]: row for row in found["full"]["overlap"]}
    rows = [row for row in found["updates"] if row["part"] is None and row["layer"] in overlap]
    return [(row, full[row["layer"]], overlap[row["layer"]]) for row in rows]


def layers_table(found: dict[str, Any]) -> str:
    r = found["full"]["r"]
    lines = [f"{'':<16} {'|dW|/|W0|':^16}  {'stable rank':^13}  {f'full: in {r}':>11}  {'full in LoRA':>12}  by chance"]
    lines.append(f"{'':<16} {'LoRA':>7} {'full':>8}  {'LoRA':>6} {'full':>6}  {'directions':>11}  {'directions':>12}")
    for ours, full, shared in layers(found):
        sizes = f"{ours['relative']:>7.1%} {full['relative']:>8.1%}"
        ranks = f"{ours['stable_rank']:>6.1f} {full['stable_rank']:>6.1f}"
        shares = f"{full['energy_in_r']:>11.0%}  {shared['value']:>12.1%}  {shared['chance']:>9.1%}"
        lines.append(f"{ours['layer']:<16} {sizes}  {ranks}  {shares}")
    return "\n".join(lines)


def ranks_table(ranks: Sequence[dict[str, Any]]) -> str:
    head = f"{'update cut to rank':<20}" + "".join(
        f"{'whole' if row['rank'] is None else row['rank']:>8}" for row in ranks
    )
    cells = {key: "".join(f"{row[key]:>8.2%}" if key in row else " " * 8 for row in ranks) for key in ("lora", "full")}
    return "\n".join([head, f"{'LoRA: accuracy':<20}{cells['lora']}", f"{'full: accuracy':<20}{cells['full']}"])


def growth_table(gradients: Sequence[dict[str, Any]]) -> str:
    lines = [f"{'step':>6}{'|dW|':>9}{'gradient of A':>16}{'gradient of B':>16}{'loss':>12}"]
    last = len(gradients) - 1
    for number in sorted({min(i, last) for i in (0, 1, 2, last // 4, last // 2, last)}):
        row = gradients[number]
        norms = f"{row['lora_A']:>16.4f}{row['lora_B']:>16.4f}"
        lines.append(f"{row['step']:>6}{row['update']:>9.3f}{norms}{row['loss']:>12.5f}")
    return "\n".join(lines)


def spectra(found: dict[str, Any]) -> str:
    """A small picture a layer: its singular values, each as a share of the largest."""
    pictures = []
    shown = layers(found)
    for ours, full, shared in shown:
        series = {name: shares(row["singular_values"][:SHOWN]) for name, row in (("LoRA", ours), ("full", full))}
        desc = (
            f"Singular values as shares of the largest: LoRA has {len(series['LoRA'])}, and full fine-tuning's "
            f"{len(series['full'])}th is still {series['full'][-1][1]:.2f}; overlap {shared['value']:.1%}."
        )
        title = f"{ours['layer']}: {shared['value']:.0%}"
        pictures.append(drawing.lines(series, title=title, desc=desc, width=200, height=140, y_range=(0, 1)))
    return drawing.sheet(
        pictures, columns=4, title="Singular values of each update, and the share of full's in LoRA's directions",
        desc=f"One panel a layer: the {len(shown[0][0]['singular_values'])} singular values of LoRA's update, and the "
        f"first {SHOWN} of full fine-tuning's.",
    )  # fmt: skip


def shares(values: Sequence[float]) -> list[tuple[int, float]]:
    return [(number, value / values[0]) for number, value in enumerate(values, 1)]


def update_map(found: dict[str, Any]) -> str:
    pictures = []
    for name, rows in (("LoRA", found["updates"]), ("full fine-tuning", found["full"]["updates"])):
        places = {(row["block"], row["part"] or row["module"]): row["relative"] for row in rows}
        columns = ["q", "k", "v", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
        blocks = sorted({block for block, _ in places if block is not None})
        values = [[places.get((block, column)) for column in columns] for block in blocks]
        known = [value for row in values for value in row if value is not None]  # an adapter may leave layers out
        least, most = min(known), max(known)
        pictures.append(drawing.heat(
            [f"block {block}" for block in blocks], [c.removeprefix("attn.") for c in columns],
            values, title=f"{name}: size of the update, % of the weights", form=lambda v: f"{100 * v:.1f}", width=480,
            desc=f"Blocks down, matrices across; from {least:.1%} to {most:.1%}.",
        ))  # fmt: skip
    return drawing.sheet(
        pictures, columns=1, title="Where the update sits",
        desc="Two maps, of LoRA and of full fine-tuning: the darker a field, the larger the update against W0.",
    )  # fmt: skip


def growth(gradients: Sequence[dict[str, Any]]) -> str:
    """B A grows from zero; the gradient of A waits for B."""
    size = {"|dW|": [(row["step"], row["update"]) for row in gradients]}
    norms = {f"of {key[-1]}": [(row["step"], row[key]) for row in gradients] for key in ("lora_A", "lora_B")}
    last = gradients[-1]
    left = drawing.lines(
        size, title="B A grows from zero", x_label="step", y_label="|dW| of all layers but the embedding", marks=size,
        desc=f"From 0 at the first step to {last['update']:.2f} at step {last['step']}.", from_zero=True,
    )  # fmt: skip
    right = drawing.lines(
        norms, title="Gradient norms of A and B", x_label="step", y_label="on the same 32 rows", marks=norms,
        desc="At step 0 the gradient of A is zero and that of B is not; A's rises once B has grown.", from_zero=True,
    )  # fmt: skip
    return drawing.sheet([left, right], columns=2, title="An adapter learns", desc="|dW| and gradients over the steps.")


def by_rank(ranks: Sequence[dict[str, Any]]) -> str:
    names = {"LoRA": "lora", "full fine-tuning": "full"}
    cuts, whole = [row for row in ranks if row["rank"] is not None], next(row for row in ranks if row["rank"] is None)
    series = {n: [(row["rank"] or 0.5, row[key]) for row in cuts if key in row] for n, key in names.items()}
    ends = "; ".join(f"{n}: {series[n][0][1]:.1%} without its update, {whole[names[n]]:.1%} whole" for n in names)
    return drawing.lines(
        series, title="Cut afterwards to a rank", x_label="rank of each update (0.5: no update)", log_x=True, width=560,
        y_label="accuracy on the test part", marks=series, desc=f"Accuracy against rank. {ends}.", height=260,
    )  # fmt: skip


def length(evaluation: dict[str, Any]) -> str | None:
    """Of two labels: what was said and what is, against the length of a message."""
    if len(evaluation["label_names"]) != 2:
        return None
    label, rows = evaluation["label_names"][1], evaluation["by_length"]
    middles = [(row["from"] + row["to"]) / 2 for row in rows]
    series = {name: list(zip(middles, (row[key] for row in rows)))
              for name, key in ((f"said {label}", "said"), (f"is {label}", "true"), ("right", "right"))}  # fmt: skip
    first, last = rows[0], rows[-1]
    desc = (
        f"Of the shortest messages {first['said']:.0%} are called {label} and {first['true']:.0%} are; of the longest "
        f"{last['said']:.0%} are called so and {last['true']:.0%} are."
    )
    return drawing.lines(
        series, title="Answers by the length of a message", x_label="characters", y_label="share of the test rows",
        desc=desc, marks=series, y_range=(0, 1), width=560, height=260,
    )  # fmt: skip


def memory(found: dict[str, Any]) -> str:
    """Of the run's own base, counted; of GPT-2, predicted."""
    own = [(WAYS[row["name"]], [row.get(key, 0) for key in HELD]) for row in found["memory"]]
    large = [(name, Training(SIZES["124M"], 8, 512, way, "fp32", "fast").parts()) for way, name in WAYS.items()]
    sides = (
        (f"{Path(found['run']['model']).name}, {found['batch_rows']} rows in one pass", own),
        ("GPT-2, 8 rows of 512 tokens a step", [(name, [parts[key] for key in HELD]) for name, parts in large]),
    )
    pictures = []
    for title, bars in sides:
        desc = "; ".join(f"{name}: {megabytes(sum(values))}" for name, values in bars)
        pictures.append(drawing.stacked(
            bars, list(HELD.values()), title=title, desc=f"{desc}.", width=420, form=lambda v: megabytes(v),
        ))  # fmt: skip
    return drawing.sheet(
        pictures, columns=2, title="What a step of training keeps in memory",
        desc="Bars of weights, gradients, AdamW's averages and activations for the head alone, LoRA and all weights.",
    )  # fmt: skip


def megabytes(size: float | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f} MB"


if __name__ == "__main__":
    words = {"prog": "scripts/draw_learned.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(LearnedConfig, sys.argv[1:], **words))))
