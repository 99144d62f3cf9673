"""The adapter that exercise 16's solution writes by hand is one that peft reads, with the same logits."""

import pytest
import torch

from exercises.checks import e16_peft_file as check
from exercises.exam import exercises, load

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
transformers = pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")
peft = pytest.importorskip("peft", reason="needs pip install -r requirements-dev.txt")


def test_peft_reads_what_the_solution_writes(tmp_path):
    ours = check.tuned_model()
    layers, score = check.parts(ours)
    directory = tmp_path / "adapter"
    directory.mkdir()
    write_adapter = load(exercises()[16].solution).write_adapter
    write_adapter(directory, layers, score, check.R, check.ALPHA, list(check.TARGETS))
    check.base_model().save_pretrained(tmp_path / "base")
    base = transformers.GPT2ForSequenceClassification.from_pretrained(tmp_path / "base", pad_token_id=0)
    theirs = peft.PeftModel.from_pretrained(base, directory).eval()
    ids = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    with torch.no_grad():
        assert torch.equal(theirs(ids, attention_mask=torch.ones_like(ids)).logits, ours(ids).logits)
