"""LoraConfig: peft's field names and meanings, and the JSON that peft writes beside an adapter.

Of peft's fields only those are here that this project computes. A file that asks for more is refused by name; the
remaining keys are written with the value that means "not used", so that peft reads the file without a word.
"""

import json
import math
import sys
from dataclasses import asdict, dataclass, fields
from typing import Any


class AdapterError(ValueError):
    """An adapter or a LoRA setting that does not fit; the message says which and what to do."""

    exit_code = 4


# The keys of peft 0.21's adapter_config.json that this project does not compute, at the value that switches them off.
_UNUSED: dict[str, Any] = {
    "alora_invocation_tokens": None,
    "alpha_pattern": {},
    "arrow_config": None,
    "auto_mapping": None,
    "bias": "none",
    "corda_config": None,
    "ensure_weight_tying": False,
    "eva_config": None,
    "exclude_modules": None,
    "kasa_config": None,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_bias": False,
    "lora_ga_config": None,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "monteclora_config": None,
    "qalora_group_size": 16,
    "rank_pattern": {},
    "revision": None,
    "target_parameters": None,
    "trainable_token_indices": None,
    "use_bdlora": None,
    "use_dora": False,
    "use_qalora": False,
    "velora_config": None,
}
# Keys that change nothing about the numbers of a finished adapter.
_HARMLESS = {"auto_mapping", "revision", "megatron_core", "loftq_config", "qalora_group_size", "runtime_config"}
_INITS = (True, False, "gaussian")
_FLAGS = ("use_rslora", "fan_in_fan_out", "inference_mode")
_TEXTS = ("task_type", "base_model_name_or_path")
_NUMBERS = ("r", "lora_alpha", "lora_dropout")
_LARGEST_R = 2**31 - 1  # with which torch can still compute how large a tensor would be
_LARGEST_SCALING = 2.0**127  # what float32, in which the layers multiply by it, can hold
_LONGEST_NAME = 1000


@dataclass(frozen=True)
class LoraConfig:
    """How to adapt a model: `h = W0 x + (lora_alpha / r) B A x` on each of `target_modules`.

    `target_modules` are names or endings of names after a dot: "c_proj" is both attn.c_proj and mlp.c_proj.
    `modules_to_save` are trained in full and stored with the adapter; for task_type "SEQ_CLS" that includes `score`.
    """

    r: int = 8
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    target_modules: tuple[str, ...] = ("c_attn",)
    modules_to_save: tuple[str, ...] | None = None
    task_type: str | None = None
    use_rslora: bool = False  # scale by lora_alpha / sqrt(r) instead (Kalajdzievski 2023)
    init_lora_weights: bool | str = True  # A Kaiming-uniform and B zero; "gaussian": A ~ N(0, 1/r); False: B not zero
    fan_in_fan_out: bool = False  # written for peft; the orientation of a weight is read off its layer
    inference_mode: bool = False
    base_model_name_or_path: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.r, int) or isinstance(self.r, bool) or not 1 <= self.r <= _LARGEST_R:
            raise AdapterError(f"LoraConfig: r must be a whole number above 0 and at most {_LARGEST_R}, not {self.r!r}")
        if not _is_number(self.lora_alpha) or self.lora_alpha <= 0:
            raise AdapterError(f"LoraConfig: lora_alpha must be a number above 0, not {self.lora_alpha!r}")
        if self.scaling > _LARGEST_SCALING:
            raise AdapterError(f"LoraConfig: lora_alpha / r is {self.scaling:g}, more than float32 can hold")
        if not _is_number(self.lora_dropout) or not 0.0 <= self.lora_dropout < 1.0:
            raise AdapterError(f"LoraConfig: lora_dropout must be at least 0 and below 1, not {self.lora_dropout!r}")
        for names, kind, what in ((_FLAGS, bool, "true or false"), (_TEXTS, str | None, "a text")):
            for name in names:
                if not isinstance(getattr(self, name), kind):
                    raise AdapterError(f"LoraConfig: {name} must be {what}, not {getattr(self, name)!r}")
        if isinstance(self.target_modules, str):
            raise AdapterError(
                f"LoraConfig: target_modules must be a list of names, not the pattern {self.target_modules!r}"
            )
        if not any(type(self.init_lora_weights) is type(known) and self.init_lora_weights == known for known in _INITS):
            raise AdapterError(f"LoraConfig: init_lora_weights={self.init_lora_weights!r} is not one of {_INITS}")
        object.__setattr__(self, "target_modules", _names(self.target_modules, "target_modules"))
        saved = _names(self.modules_to_save or (), "modules_to_save")
        if self.task_type == "SEQ_CLS":
            # peft adds both usual names of a classifier's head; the model has the one or the other.
            saved = tuple(dict.fromkeys((*saved, "classifier", "score")))
        object.__setattr__(self, "modules_to_save", saved or None)
        if not self.target_modules:
            raise AdapterError("LoraConfig: target_modules is empty; name the layers to adapt, e.g. c_attn c_proj")

    @property
    def scaling(self) -> float:
        """The factor in front of B A x."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)

    def to_dict(self) -> dict[str, Any]:
        """What peft writes to adapter_config.json, key for key."""
        values = _UNUSED | {"peft_type": "LORA", "peft_version": "0.21.2"} | asdict(self)
        values["target_modules"] = sorted(self.target_modules)
        values["modules_to_save"] = sorted(self.modules_to_save) if self.modules_to_save else None
        return dict(sorted(values.items()))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LoraConfig":
        """Read an adapter_config.json; raises AdapterError for a variant that would compute something else."""
        if values.get("peft_type", "LORA") != "LORA":
            raise AdapterError(f"adapter_config.json: peft_type is {values['peft_type']!r}; only LORA is supported")
        unsupported = [
            name for name, off in _UNUSED.items() if name not in _HARMLESS and not _is_off(values.get(name, off), off)
        ]
        if unsupported:
            given = ", ".join(f"{name}={json.dumps(values[name])[:60]}" for name in unsupported)
            raise AdapterError(f"adapter_config.json: not supported here: {given}")
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known - set(_UNUSED) - _HARMLESS - {"peft_type", "peft_version"})
        if any(values[name] for name in unknown):
            raise AdapterError(
                f"adapter_config.json: unknown settings {ascii(', '.join(unknown))[1:-1]}; they may change the result"
            )
        try:
            left_out = {name for name, value in values.items() if value is None and name not in _NUMBERS}
            return cls(**{name: value for name, value in values.items() if name in known and name not in left_out})
        except TypeError as error:
            raise AdapterError(f"adapter_config.json: {error}") from error


def _is_off(value: Any, off: Any) -> bool:
    return value == off or value is None or value is False or value in ([], {})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _names(names: Any, field: str) -> tuple[str, ...]:
    if not isinstance(names, list | tuple | set) or not all(
        isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME for name in names
    ):
        raise AdapterError(f"LoraConfig: {field} must be a list of names, not {names!r}")
    return tuple(dict.fromkeys(names))
