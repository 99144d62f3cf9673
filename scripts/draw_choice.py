"""What is left of the ten likeliest next tokens under each rule that chooses one; the bundled base, one prompt.

pip install -r requirements-extras.txt
python scripts/draw_choice.py --output docs/images/choice.svg
"""

import sys
from dataclasses import dataclass

import torch
from draw_run import BLUE, load_pyplot, write_picture
from torch import Tensor

import gpt2
from training.errors import run_door
from training.settings import option, parse

SHOWN = 10


@dataclass(frozen=True)
class ChoiceConfig:
    model: str = option("assets/gpt2-tiny", "directory of a GPT-2", group="what")
    prompt: str = option("a cup of tea and a cup of", "text to go on from", group="what")
    output: str = option("choice.svg", "picture to write (.svg, .png, .pdf)", group="files")


def main(config: ChoiceConfig) -> None:
    pyplot = load_pyplot("choice")
    tokenizer = gpt2.Tokenizer.from_pretrained(config.model)
    model = gpt2.GPT2LMHeadModel.from_pretrained(config.model).eval()
    prompt = torch.tensor([[tokenizer.eos_token_id, *tokenizer.encode(config.prompt)]])
    with torch.inference_mode():
        scores = model(prompt).logits[0, -1]  # (V,)
    likeliest = scores.topk(SHOWN).indices
    words = [tokenizer.decode([token]).strip() or repr(tokenizer.decode([token])) for token in likeliest.tolist()]
    figure, panels = pyplot.subplots(2, 3, figsize=(8, 4.6), layout="constrained", sharex=True, sharey=True)
    for axes, (name, left) in zip(panels.flat, under_each_rule(scores, prompt[0]).items()):
        axes.barh(words, left.softmax(-1)[likeliest].tolist(), color=BLUE, height=0.7)
        axes.set(title=name, xlim=(0, 0.7))
    panels[0, 0].invert_yaxis()
    figure.supxlabel("probability")
    write_picture(figure, config.output)


def under_each_rule(scores: Tensor, prompt: Tensor) -> dict[str, Tensor]:
    """rule -> the logits (V,) that it leaves, minus infinity for what it takes away; as gpt2/generation.py has it."""
    falling, order = scores.sort(descending=True)
    p = falling.softmax(-1)
    said = scores[prompt]
    return {
        "as it is": scores,
        "temperature 0.5": scores / 0.5,
        "temperature 2": scores / 2,
        "top_k 3": scores.masked_fill(scores < falling[2], -torch.inf),
        "top_p 0.5": scores.index_fill(0, order[p.cumsum(-1) - p >= 0.5], -torch.inf),
        "penalty 1.3": scores.scatter(0, prompt, torch.where(said < 0, said * 1.3, said / 1.3)),
    }


if __name__ == "__main__":
    words = {"prog": "scripts/draw_choice.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(ChoiceConfig, sys.argv[1:], **words))))
