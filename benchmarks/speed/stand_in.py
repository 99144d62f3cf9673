"""A GPU stood in for: one training step on torch's meta device, which has shapes and no numbers, by CUDA's rules.

What a step asks of a GPU, which operators and how much memory, does not depend on the numbers. torch has no autocast
for meta, so the part of CUDA's that GPT-2 meets is spelled out here: products in bf16, norms and powers in fp32, the
casts of trained weights made once. Dropout and attention are CUDA's own operators.
"""

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.checkpoint import checkpoint

import data
import gpt2
import lora
import train
from benchmarks.speed.plan import LORA, WEIGHT_DECAY
from training import dropout
from training.device import Place
from training.optimization import build_optimizer

META, BF16 = torch.device("meta"), torch.bfloat16
IN_BF16 = {torch.addmm, torch.bmm, torch.baddbmm, F.linear, Tensor.matmul, Tensor.__matmul__}
IN_BF16 |= {F.scaled_dot_product_attention}
IN_FP32 = {F.layer_norm, torch.pow, F.cross_entropy}


def build(shape: gpt2.GPT2Config, way: str, form: str, precision: str, device: torch.device) -> nn.Module:
    """A classifier as train.py trains it: `way` head, lora or full, in `form` plain or fast; weights random."""
    with device:
        model = gpt2.GPT2ForSequenceClassification(shape)
        if way == "lora":
            lora.apply_lora(model, lora.LoraConfig(**LORA, task_type="SEQ_CLS"))
        elif way == "head":
            model.requires_grad_(False)
            model.score.requires_grad_(True)
        if form == "fast":
            for part in (gpt2, lora, dropout):
                part.use_fast(model)
            if precision == "bf16" and way == "lora":
                gpt2.hold_frozen(model, BF16)
    return model.train()


def batch_of(lengths: list[int]) -> data.Batch:
    """Rows of so many tokens each."""
    return data.collate([[7] * n for n in lengths], 0, [n % 2 for n in lengths])


def trainer_of(model: nn.Module, batch: data.Batch, place: Place) -> Callable[[], Any]:
    """What takes one `train_step` over `batch` when called; the first makes AdamW's state."""
    optimizer = build_optimizer(model, 1e-4, WEIGHT_DECAY)
    for group in optimizer.param_groups:
        group["fused"] = True
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return lambda: train.train_step(model, optimizer, scaler, [batch], place, 1.0)


class CudaRules(TorchFunctionMode):
    """What torch's autocast and its choice of kernels do to a call on CUDA."""

    def __init__(self) -> None:
        super().__init__()
        self.autocasts = False
        self.cache: dict[int, Tensor] = {}  # trained weights in bf16, while autocast lasts

    @contextlib.contextmanager
    def autocast(self, device: str, dtype: torch.dtype = BF16, enabled: bool = True) -> Iterator[None]:
        before, self.autocasts = self.autocasts, enabled
        try:
            yield
        finally:  # computing a block again ends with an exception, as soon as it has what is needed
            self.autocasts = before
            if not before:
                self.cache.clear()

    def checkpoint(self, block, *inputs, **how):
        """torch's, which computes a block again under the autocast of its first time: inside backward no mode is on."""
        enabled = self.autocasts

        def again(*inputs):
            with self, self.autocast("meta", enabled=enabled):
                return block(*inputs)

        return checkpoint(again, *inputs, **how)

    def cast(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        if tensor.dtype not in (torch.float32, BF16) or tensor.dtype == dtype:
            return tensor
        if dtype == BF16 and tensor.is_leaf and tensor.requires_grad:
            if id(tensor) not in self.cache:
                self.cache[id(tensor)] = tensor.to(BF16)
            return self.cache[id(tensor)]
        return tensor.to(dtype)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.autocasts and function in IN_BF16 | IN_FP32:
            dtype = BF16 if function in IN_BF16 else torch.float32
            args, kwargs = tree_map_only(Tensor, lambda tensor: self.cast(tensor, dtype), (args, kwargs))
        if function is F.dropout:
            x, p, training = (*args, *kwargs.values())[:3]
            return torch.native_dropout(x, p, True)[0] if training and p > 0 else x
        if function is F.scaled_dot_product_attention:
            return attention(*args, **kwargs)
        return function(*args, **kwargs)


def attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: None, dropout_p: float, is_causal: bool, scale: float):
    """The kernel that CUDA takes where no row is padded: FlashAttention in 16 bits, else the memory-efficient one."""
    if q.dtype == BF16:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal, scale=scale)[0]
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    return efficient(q, k, v, attn_mask, True, dropout_p, is_causal, scale=scale)[0]


@contextlib.contextmanager
def as_if_on_a_gpu(kernel: bool = True) -> Iterator[None]:
    """What runs inside on META runs by CUDA's rules; `kernel`: FlashAttention's is there for 16 bits."""
    rules = CudaRules()
    patches = [
        mock.patch.object(torch, "autocast", rules.autocast),
        mock.patch.object(torch, "is_autocast_enabled", lambda _: rules.autocasts),
        mock.patch.object(torch, "get_autocast_dtype", lambda _: BF16),
        mock.patch("gpt2.model.checkpoint", rules.checkpoint),
        mock.patch("gpt2.fast.flash_works", lambda _, dtype, __: kernel and dtype == BF16),
        # several tensors in one kernel, as on CUDA
        mock.patch("torch.nn.utils.clip_grad._has_foreach_support", lambda *_: True),
        mock.patch("torch.optim.optimizer._get_fused_kernels_supported_devices", lambda: ["meta"]),
    ]
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(rules)
        yield


class Watch(TorchDispatchMode):
    """Counts the operators that reach META, and the bytes that are alive there: `alive` now, `peak` at most."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.sizes: dict[int, int] = {}  # of each storage
        self.alive = self.peak = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.device == META]
        if operator is torch.ops.aten._to_copy.default and given and kwargs.get("device", META) != META:
            self.operators["copy to the CPU"] += 1
            return torch.zeros(given[0].shape, dtype=given[0].dtype)
        out = operator(*args, **kwargs)
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor) and x.device == META]
        if (given or made) and not launches_nothing(operator):
            self.operators[name_of(operator, given, made)] += 1
        for tensor in made:
            self.meet(tensor)
        return out

    def meet(self, *tensors: Tensor) -> None:
        for storage in (tensor.untyped_storage() for tensor in tensors):
            if storage._cdata not in self.sizes:
                self.sizes[storage._cdata] = storage.nbytes()
                self.alive += storage.nbytes()
                self.peak = max(self.peak, self.alive)
                weakref.finalize(storage, self.forget, storage._cdata)

    def forget(self, key: int) -> None:
        self.alive -= self.sizes.pop(key)


def launches_nothing(operator: torch._ops.OpOverload) -> bool:
    """A view, or memory that nothing is written into."""
    name = operator.overloadpacket.__name__
    is_view = any(a.alias_info is not None and not a.alias_info.is_write for a in operator._schema.arguments)
    return is_view or name == "_unsafe_view" or "empty" in name


def name_of(operator: torch._ops.OpOverload, given: list[Tensor], made: list[Tensor]) -> str:
    name = operator.overloadpacket.__name__
    if name != "_to_copy":
        return name
    return f"cast to {str(made[0].dtype).removeprefix('torch.')}" if given else "copy from the CPU"


def saved_bytes(model: nn.Module, batch: data.Batch, place: Place) -> int:
    """What autograd keeps of a forward pass for the backward pass; the weights themselves are not counted."""
    kept, weights = {}, {parameter.untyped_storage()._cdata for parameter in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    batch = batch.to(place.device)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with place.autocast():
            logits = model(batch.input_ids, batch.attention_mask).logits
        loss = F.cross_entropy(logits.float(), batch.labels)  # alive, or storages would be counted as one
    del loss
    return sum(size for key, size in kept.items() if key not in weights)
