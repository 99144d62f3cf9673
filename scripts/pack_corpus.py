"""Pack the tokens that pretrain_base.py has made of its texts, to carry them to another machine; and unpack them.

    python scripts/pack_corpus.py --tokens work/base                       into work/tokens
    python scripts/pack_corpus.py --tokens work/base --keep 1 0.3 --most 4000000
                                                 of each corpus, in tokens.json's order, and of any one file
    python scripts/pack_corpus.py --unpack work/tokens --tokens work/base

The folder holds the .npy files xz-compressed and the small files as they are. It stands below work/, which git ignores.
"""

import json
import lzma
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from training.errors import UsageError, run_door  # noqa: E402
from training.files import atomic_directory, write_atomically  # noqa: E402
from training.settings import option, parse  # noqa: E402

MOST = 48 * 2**20  # bytes of the folder
SMALL = ("vocab.json", "merges.txt")
PARTS = ("train", "test")  # .npy
# Ids are two bytes: xz is told to look for what repeats at even places.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 3, "lp": 1, "pb": 1}]


@dataclass(frozen=True)
class PackConfig:
    tokens: str = option("work/base", "folder with train.npy, test.npy, tokens.json and the tokenizer", group="what")
    packed: str = option("work/tokens", "the folder to write", group="what")
    keep: tuple[float, ...] = option((1.0,), "share of the training tokens: one, or one a corpus", group="what")
    most: int = option(2**40, "training tokens of any one file", group="what")
    unpack: str | None = option(None, "a packed folder to unpack into --tokens instead", group="what")


def main(config: PackConfig) -> None:
    if config.unpack:
        unpack(Path(config.unpack), Path(config.tokens))
        print(f"unpacked into {config.tokens}")
        return
    size, kept = pack(Path(config.tokens), Path(config.packed), config.keep, config.most)
    print(f"{kept:,} training tokens, {size / 2**20:.1f} MiB in {config.packed}")


def pack(tokens: Path, packed: Path, keep: tuple[float, ...] = (1.0,), most: int = 2**40) -> tuple[int, int]:
    """(bytes of the folder, training tokens in it); raises UsageError where it would be larger than 48 MiB.

    Of each file's training tokens the first part is kept; the held-out tokens all are, so that losses stay comparable.
    """
    known = read_sizes(tokens)
    files = known["files"]
    corpora = list(dict.fromkeys(file["corpus"] for file in files))
    if len(keep) not in (1, len(corpora)) or not all(0 < share <= 1 for share in keep):
        raise UsageError(f"--keep: give one share above 0 and at most 1, or one for each of {', '.join(corpora)}")
    shares = dict(zip(corpora, keep * len(corpora) if len(keep) == 1 else keep))
    with atomic_directory(packed) as directory:
        row, pieces = np.load(tokens / "train.npy"), []
        ends = np.cumsum([file["train"] for file in files])
        for file, end in zip(files, ends):
            start, file["train"] = end - file["train"], min(int(file["train"] * shares[file["corpus"]]), most)
            pieces.append(row[start : start + file["train"]])
        for part, values in (("train", np.concatenate(pieces)), ("test", np.load(tokens / "test.npy"))):
            with lzma.open(directory / f"{part}.npy.xz", "wb", filters=FILTERS) as out:
                np.save(out, values)
        write_atomically(directory / "tokens.json", json.dumps(known, indent=1) + "\n")
        for name in SMALL:
            shutil.copyfile(tokens / name, directory / name)
        size = sum(path.stat().st_size for path in directory.iterdir())
        if size > MOST:
            raise UsageError(f"{size / 2**20:.1f} MiB, at most {MOST / 2**20:.0f} are to be carried: --keep fewer")
    return size, sum(file["train"] for file in files)


def unpack(packed: Path, tokens: Path) -> None:
    """What `pack` kept. tokens.json comes last: without it pretrain_base.py does not take a half for the whole."""
    read_sizes(packed)
    tokens.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        with lzma.open(packed / f"{part}.npy.xz") as source, (tokens / f"{part}.npy").open("wb") as out:
            shutil.copyfileobj(source, out, 2**20)
    for name in (*SMALL, "tokens.json"):
        shutil.copyfile(packed / name, tokens / name)


def read_sizes(directory: Path) -> dict:
    """What tokens.json says; raises UsageError where there is none."""
    try:
        return json.loads((directory / "tokens.json").read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(f"{directory}: no tokens.json; pretrain_base.py writes it beside train.npy") from None


if __name__ == "__main__":
    words = {"prog": "scripts/pack_corpus.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(PackConfig, sys.argv[1:], **words))))
