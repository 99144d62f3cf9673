"""What a start costs: no module before it is needed, and one copy of the weights in memory. Each in a fresh process."""

from pathlib import Path

import pytest

import gpt2
from tests.fresh import last_line

RUN = """
import sys, train
train.main(train.TrainConfig(model=sys.argv[1], dataset=sys.argv[2], output_dir=sys.argv[3], max_steps=1,
                             per_device_train_batch_size=4, device="cpu", precision="fp32"))
print(*sorted(sys.modules))
"""

READ = """
import sys, gpt2
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
before = peak()
gpt2.GPT2ForSequenceClassification.from_pretrained(sys.argv[1])
print(peak() - before)
"""


def test_a_run_imports_neither_torch_compile_nor_the_hub(tiny_base, messages_file, tmp_path):
    modules = set(last_line(RUN, tiny_base, messages_file, tmp_path / "run").split())
    assert "training.optimization" in modules
    assert not modules & {"torch._dynamo", "sympy", "datasets", "huggingface_hub", "pandas", "transformers", "peft"}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of memory is read from Linux's /proc")
def test_a_checkpoint_is_read_without_a_second_copy(tmp_path):
    config = gpt2.GPT2Config(vocab_size=8192, n_positions=64, n_embd=512, n_layer=12, n_head=8)
    model = gpt2.GPT2ForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    size = sum(p.numel() * p.element_size() for p in model.parameters())  # 170 MB
    assert 0.9 * size < int(last_line(READ, tmp_path)) < 1.2 * size
