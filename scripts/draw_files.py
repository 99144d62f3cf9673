"""The bytes of an adapter's safetensors file, drawn to scale as one strip: length, header, A and B of each layer, head.

pip install -r requirements-extras.txt
python scripts/draw_files.py --output docs/images/files.svg
"""

import json
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from draw_run import BLUE, GREY, ORANGE, load_pyplot, write_picture

import gpt2
import lora
from training.errors import run_door
from training.settings import option, parse

KINDS = {"lora_A": ("A", BLUE), "lora_B": ("B", ORANGE), "score": ("head", "black")}


@dataclass(frozen=True)
class FilesConfig:
    base: str = option("assets/gpt2-tiny", "directory of a GPT-2", group="what")
    output: str = option("files.svg", "picture to write (.svg, .png, .pdf)", group="files")


def main(config: FilesConfig) -> None:
    pyplot = load_pyplot("files")
    raw = adapter_file(config.base)
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    del header["__metadata__"]
    figure, axes = pyplot.subplots(figsize=(8, 1.7), layout="constrained")
    axes.barh(0, 8 + length, color=GREY, label="length and header", edgecolor="white", linewidth=0.3)
    seen = set()
    for key, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        label, color = next(known for part, known in KINDS.items() if part in key)
        axes.barh(
            0, end - start, left=start, color=color, edgecolor="white", linewidth=0.3,
            label=None if label in seen else label,
        )  # fmt: skip
        seen.add(label)
    axes.set(xlim=(0, len(raw)), yticks=[], xlabel=f"bytes, {len(raw):,} in all")
    axes.spines["left"].set_visible(False)
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    write_picture(figure, config.output)


def adapter_file(base: str) -> bytes:
    """adapter_model.safetensors of rank 8 on c_attn and both c_proj, as it stands on disk."""
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(base)
    targets = lora.LoraConfig(r=8, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS")
    with tempfile.TemporaryDirectory() as directory:
        lora.save_adapter(lora.apply_lora(model, targets), directory)
        return (Path(directory) / "adapter_model.safetensors").read_bytes()


if __name__ == "__main__":
    words = {"prog": "scripts/draw_files.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(FilesConfig, sys.argv[1:], **words))))
