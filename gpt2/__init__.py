"""The frozen model: a plain GPT-2 that computes what transformers' GPT-2 computes. Start with `model.py`."""

from gpt2.cache import KeyValueCache
from gpt2.checkpoint import has_head, read_config
from gpt2.config import CheckpointError, GPT2Config
from gpt2.fast import hold_frozen, use_fast, use_plain
from gpt2.fingerprint import base_fingerprint, fingerprint
from gpt2.generation import Generation, GenerationConfig, generate, generate_ids
from gpt2.hub import resolve_model
from gpt2.model import GPT2ForSequenceClassification, GPT2LMHeadModel, GPT2Model
from gpt2.tokenizer import Tokenizer

__all__ = [
    "CheckpointError",
    "GPT2Config",
    "GPT2ForSequenceClassification",
    "GPT2LMHeadModel",
    "GPT2Model",
    "Generation",
    "GenerationConfig",
    "KeyValueCache",
    "Tokenizer",
    "base_fingerprint",
    "fingerprint",
    "generate",
    "generate_ids",
    "has_head",
    "hold_frozen",
    "read_config",
    "resolve_model",
    "use_fast",
    "use_plain",
]
