"""From a directory in transformers' layout to a model and back: `config.json` and `model.safetensors`.

Nothing is guessed: every tensor in the file is used or named in the error. Reading never goes through pickle and
keeps no memory map, so a file that changes later cannot change a loaded model.
"""

import json
import re
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gpt2.config import CheckpointError, GPT2Config
from gpt2.files import check_header, read_json
from gpt2.hub import resolve_model

# OpenAI's file carries each block's causal mask and its fill value as buffers; they are constants.
_BUFFER = re.compile(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)")
_TIED = "lm_head.weight"
_DTYPES = ("F16", "BF16", "F32")
_TENSORS_OF_BLOCK = 12
Shapes = dict[str, tuple[int, ...]]


class _NoInit(TorchFunctionMode):
    """Leaves out torch.nn.init: on the meta device there is nothing to fill, and its normal_ imports torch.compile."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__module__", None) == "torch.nn.init":
            return (args or tuple(kwargs.values()))[0]  # the tensor, as it is
        return function(*args, **(kwargs or {}))


class PretrainedModel(nn.Module):
    """What GPT-2's three classes share: a config, `from_pretrained` and `save_pretrained`."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.config = config
        self.name_or_path: str | None = None

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, dtype: torch.dtype = torch.float32, **changes: Any) -> Self:
        """A model from a directory or a hub id, in eval mode. `changes` replace fields of its config (id2label=...).

        A `score` that the file does not hold is drawn from N(0, initializer_range), one draw from torch's global
        generator and nothing else. Raises CheckpointError for missing, extra, misshapen or non-finite tensors.
        """
        directory = resolve_model(name_or_path)
        config = read_config(directory).replace(**changes)
        path = directory / "model.safetensors"
        shapes = _read_shapes(path, dtype)
        _check_size(path, config, shapes)
        with torch.device("meta"), _NoInit():
            model = cls(config)
        wanted = dict(model.named_parameters())
        tensors = _read_tensors(path, shapes, wanted, dtype)
        if "score.weight" in wanted and "score.weight" not in tensors:
            score = torch.empty(wanted["score.weight"].shape, dtype=dtype)  # drawn in its dtype, as transformers does
            tensors["score.weight"] = score.normal_(0.0, config.initializer_range)
        if _TIED in model.state_dict():
            tensors[_TIED] = tensors["transformer.wte.weight"]
        model.load_state_dict(tensors, assign=True)
        model.tie_weights()
        model.requires_grad_(True)
        model.name_or_path = str(name_or_path)
        return model.eval()

    def tie_weights(self) -> None:
        """Make parameters that are one and the same share their tensor; here there are none."""

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `config.json` and `model.safetensors`, readable by transformers. The tied head is not written twice."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items() if name != _TIED}
        dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
        # transformers knows the class by its plain name, also where the fast form of it is in use.
        plain = next(cls for cls in type(self).__mro__ if PretrainedModel in cls.__bases__)
        config = self.config.to_dict() | {"architectures": [plain.__name__], "dtype": dtype}
        (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (directory / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))


def read_config(directory: Path) -> GPT2Config:
    """The `config.json` of a model directory; raises CheckpointError where it is absent or no GPT-2's."""
    path = directory / "config.json"
    try:
        values = read_json(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"{directory}: no config.json in it; a model directory has config.json and model.safetensors"
        ) from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    try:
        return GPT2Config.from_dict(values)
    except CheckpointError as error:  # some of its words are the file's, which may be a million
        told = str(error).removeprefix("config.json: ").removeprefix("GPT2Config: ")
        raise CheckpointError(f"{path}: {told[:300]}") from error


def has_head(directory: Path) -> bool:
    """Whether a model directory holds a classifier's head; `from_pretrained` draws one where it does not."""
    return "score.weight" in _read_shapes(directory / "model.safetensors")


def _read_shapes(path: Path, dtype: torch.dtype = torch.float64) -> Shapes:
    """name -> shape of what is in the file; raises CheckpointError for a file that is none, and for numbers that are no
    weights or would lose digits in `dtype`."""
    if not path.is_file():
        raise CheckpointError(
            f"{path}: not found; weights are read from model.safetensors only (no .bin: pickle can run code)"
        )
    shapes, known = {}, _DTYPES + ("F64",) * (dtype == torch.float64)
    try:
        check_header(path)
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                part = file.get_slice(name)
                shapes[name] = tuple(part.get_shape())
                if part.get_dtype() not in known and not _BUFFER.fullmatch(name):
                    raise CheckpointError(f"{path}: {_plain(name)} is {part.get_dtype()}, not {', '.join(known)}")
    except (SafetensorError, ValueError, OSError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not a whole safetensors file ({_plain(str(error))})") from error
    return shapes


def _check_size(path: Path, config: GPT2Config, shapes: Shapes) -> None:
    """What config.json claims against what is there, before a model of that size is made, even one without memory."""
    bare = {name.removeprefix("transformer."): shape for name, shape in shapes.items()}
    parts = sum(name.startswith("h.") and not _BUFFER.fullmatch(name) for name in bare)
    if (config.n_layer - 1) * _TENSORS_OF_BLOCK > parts:  # a few that are missing are named later, one by one
        blocks = parts // _TENSORS_OF_BLOCK
        raise CheckpointError(f"{path}: holds {blocks} blocks, but config.json says n_layer={config.n_layer}")
    sizes = {"wte.weight": (config.vocab_size, config.n_embd), "wpe.weight": (config.n_positions, config.n_embd)}
    sizes["h.0.mlp.c_fc.bias"] = (config.inner_size,)
    _refuse_shapes(path, {name: (bare[name], shape) for name, shape in sizes.items() if name in bare})
    missing = [name for name in sizes if name not in bare]
    if missing:
        raise CheckpointError(f"{path}: missing: {', '.join(missing)}")


def _refuse_shapes(path: Path, shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    """`shapes`: name -> (the file's, the one wanted); raises CheckpointError where they differ."""
    wrong = [f"{name} is {is_}, expected {wanted}" for name, (is_, wanted) in shapes.items() if is_ != wanted]
    if wrong:
        raise CheckpointError(
            f"{path}: {_some(wrong)}; the file does not fit its config.json (or its matrices are transposed)"
        )


def _read_tensors(path: Path, shapes: Shapes, wanted: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of `path` under the names of `wanted`; its `shapes` are compared with theirs before any is read."""
    names = _match_names(path, set(shapes), set(wanted))
    _refuse_shapes(path, {source: (shapes[source], tuple(wanted[target].shape)) for source, target in names.items()})
    try:
        if _TIED in shapes:
            wte = next(name for name in names if name.endswith("wte.weight"))
            tied = shapes[_TIED] == shapes[wte] and _equal(path, _TIED, wte)
            if not tied:
                raise CheckpointError(
                    f"{path}: {_TIED} differs from wte.weight; a GPT-2 with an untied head is not supported"
                )
        tensors = {target: _read_tensor(path, source, dtype) for source, target in names.items()}
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({_plain(str(error))})") from error
    for name, tensor in tensors.items():
        if not torch.stack(torch.aminmax(tensor)).isfinite().all():  # isfinite of a tensor makes three of its size
            raise CheckpointError(f"{path}: {name} holds NaN or infinite values; take another copy of the weights")
    return tensors


def _read_tensor(path: Path, name: str, dtype: torch.dtype) -> Tensor:
    """A copy. The file is opened anew each time: its memory map keeps every page that was read, a second model."""
    with safe_open(str(path), framework="pt") as file:
        return file.get_tensor(name).to(dtype, copy=True)


def _equal(path: Path, one: str, other: str) -> bool:
    with safe_open(str(path), framework="pt") as file:
        return torch.equal(file.get_tensor(one), file.get_tensor(other))


def _match_names(path: Path, found: set[str], wanted: set[str]) -> dict[str, str]:
    """file name -> model name, with or without the `transformer.` prefix on either side."""
    found = {name for name in found if not _BUFFER.fullmatch(name) and name != _TIED}
    wanted = wanted - {_TIED}
    bare = {name.removeprefix("transformer."): name for name in wanted}
    names = {
        name: bare[name.removeprefix("transformer.")] for name in found if name.removeprefix("transformer.") in bare
    }
    extra = sorted(found - set(names))
    missing = sorted(wanted - set(names.values()) - {"score.weight"})
    if len(set(names.values())) < len(names):
        raise CheckpointError(f"{path}: holds the same tensors twice, with and without the prefix 'transformer.'")
    if missing or extra:
        groups = {"missing": missing, "not part of this model": extra}
        parts = [f"{what}: {_some(keys)}" for what, keys in groups.items() if keys]
        raise CheckpointError(f"{path}: {'; '.join(parts)}")
    return names


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(map(_plain, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _plain(text: str) -> str:
    """A name out of a file, or a message that may hold one, as it can stand in one line."""
    return ascii(text[:200])[1:-1]
