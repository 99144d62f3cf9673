"""What a GPT-2 is made of, in transformers' words: the fields of `config.json`.

Only what changes the computation is kept. A field that would ask for another computation than `gpt2/model.py`
does (another activation, scaled attention, ...) is refused by name instead of being ignored.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any


class CheckpointError(ValueError):
    """A model directory that cannot be used as it is; the message names the file and what to do."""

    exit_code = 4


# Fields of config.json with the one value this forward pass computes.
_ONLY = {
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}


_MOST_LABELS = 20_000  # so many names fit into the files beside a model


@dataclass(frozen=True)
class GPT2Config:
    """The defaults are GPT-2 small ("gpt2", 124 M parameters)."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None  # width of the MLP; None means 4 * n_embd
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    bos_token_id: int | None = 50256
    eos_token_id: int | None = 50256
    pad_token_id: int | None = None
    num_labels: int = 2
    id2label: dict[int, str] | None = None  # None means LABEL_0, LABEL_1, ...

    def __post_init__(self) -> None:
        for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "num_labels"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise CheckpointError(f"GPT2Config: {name} must be a whole number above 0, not {getattr(self, name)!r}")
        if self.n_embd % self.n_head:
            raise CheckpointError(
                f"GPT2Config: n_head={self.n_head} does not divide n_embd={self.n_embd}; heads share the columns evenly"
            )
        if self.n_inner is not None and (type(self.n_inner) is not int or self.n_inner < 1):
            raise CheckpointError(f"GPT2Config: n_inner must be a whole number above 0 or null, not {self.n_inner!r}")
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if type(getattr(self, name)) is not int and getattr(self, name) is not None:
                raise CheckpointError(f"GPT2Config: {name} must be a whole number or null, not {getattr(self, name)!r}")
        for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon", "initializer_range"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0.0 <= value < 1.0:
                raise CheckpointError(f"GPT2Config: {name} must be a number from 0 to below 1, not {value!r}")
        if self.id2label is not None:
            self._number_labels()
        if self.num_labels > _MOST_LABELS:
            raise CheckpointError(f"GPT2Config: num_labels is {self.num_labels}; {_MOST_LABELS:,} are the most")

    def _number_labels(self) -> None:
        named = self.id2label
        if not isinstance(named, dict) or not all(str(i).isdecimal() and len(str(i)) < 9 for i in named):
            raise CheckpointError(f"GPT2Config: id2label must map 0, 1, 2, ... to names, not {named!r}")
        object.__setattr__(self, "id2label", {int(i): str(label) for i, label in named.items()})
        if sorted(self.id2label) != list(range(len(self.id2label))):
            raise CheckpointError(
                f"GPT2Config: id2label must number the labels 0, 1, 2, ..., not {sorted(self.id2label)}"
            )
        object.__setattr__(self, "num_labels", len(self.id2label))

    @property
    def inner_size(self) -> int:
        return self.n_inner if self.n_inner is not None else 4 * self.n_embd

    def label_names(self) -> list[str]:
        """The labels in the order of the rows of `score`."""
        if self.id2label is None:
            return [f"LABEL_{i}" for i in range(self.num_labels)]
        return [self.id2label[i] for i in range(self.num_labels)]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "GPT2Config":
        """Read the fields of a `config.json`; raises CheckpointError where it asks for another computation."""
        if values.get("model_type", "gpt2") != "gpt2":
            raise CheckpointError(f"config.json: model_type is {values['model_type']!r}; only 'gpt2' is supported")
        for name, only in _ONLY.items():
            if values.get(name, only) != only:
                raise CheckpointError(
                    f"config.json: {name}={values[name]!r} is not supported; this GPT-2 computes {only!r}"
                )
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{name: value for name, value in values.items() if name in known})
        except (TypeError, AttributeError) as error:
            raise CheckpointError(f"config.json: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The fields as `config.json` has them, so that transformers reads the same model."""
        values = asdict(self) | _ONLY | {"model_type": "gpt2"}
        del values["num_labels"]
        del values["id2label"]
        names = self.label_names()
        values["id2label"] = {str(i): name for i, name in enumerate(names)}
        values["label2id"] = {name: i for i, name in enumerate(names)}
        return values

    def replace(self, **changes: Any) -> "GPT2Config":
        """A copy with some fields changed; naming the labels also sets their number, and the other way round."""
        if "num_labels" in changes and "id2label" not in changes and changes["num_labels"] != self.num_labels:
            changes["id2label"] = None
        return replace(self, **changes)
