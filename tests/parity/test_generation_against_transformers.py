"""Writing beside transformers' generate: token for token, greedy and drawn, with an adapter of peft's beside ours.

The plain form in float32, where it computes what transformers computes, and the fast form in float64, where only a tie
could tell them apart. Fresh weights give nearly flat logits and one token for ever, so these models have larger ones.
"""

import copy
from pathlib import Path

import pytest
import torch

import gpt2
import lora

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
transformers = pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")
initialization = pytest.importorskip("transformers.initialization")  # no attribute of transformers until imported
peft = pytest.importorskip("peft", reason="needs pip install -r requirements-dev.txt")

BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "gpt2-tiny"
SMALL = gpt2.GPT2Config(vocab_size=211, n_embd=64, n_layer=2, n_head=4, eos_token_id=None)
SIZES = {"2 x 64": SMALL, "124M": gpt2.GPT2Config(eos_token_id=None)}
FORMS = {"plain, float32": torch.float32, "fast, float64": torch.float64, "plain, bfloat16": torch.bfloat16}
IDLE = {"do_sample": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0,
        "num_return_sequences": 1, "num_beams": 1}  # fmt: skip
SETTINGS = {
    "greedy": {},
    "greedy, penalty": {"repetition_penalty": 1.3},
    "drawn": {"do_sample": True},
    "top_k": {"do_sample": True, "temperature": 0.8, "top_k": 20},
    "top_p": {"do_sample": True, "top_p": 0.9},
    "drawn, penalty": {"do_sample": True, "repetition_penalty": 1.3},
    "all": {"do_sample": True, "temperature": 0.8, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.3,
            "num_return_sequences": 3},
}  # fmt: skip
every_form = pytest.mark.parametrize("form", ["plain, float32", "fast, float64"])
every_adapter = pytest.mark.parametrize("adapter", ["live", "merged"])


def random_base(config):
    torch.manual_seed(0)
    model = gpt2.GPT2LMHeadModel(config).eval()
    scale = {"wpe": 1.0, "wte": 0.3 if config.n_embd < 100 else 0.1, "ln_": 0.1}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            std = next((scale[part] for part in scale if part in name), config.n_embd**-0.5)
            parameter.add_(torch.randn_like(parameter) * (0.1 if name.endswith("bias") else std))
    return model


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """pair(base, adapter, form): their model and ours, with one adapter, which peft has read from our file."""
    made = {}

    def build(base, adapter, form):
        key = base, adapter, form
        if key not in made:
            made.clear()  # two models of 124 M parameters are enough
            ours = random_base(SIZES[base]) if base in SIZES else gpt2.GPT2LMHeadModel.from_pretrained(base)
            theirs = their_model(ours)
            torch.manual_seed(1)
            recipe = {"r": 8, "target_modules": ["c_attn", "c_proj"], "task_type": "CAUSAL_LM"}
            lora.apply_lora(ours, lora.LoraConfig(**recipe, init_lora_weights=False))
            for name, parameter in ours.named_parameters():
                if "lora_" in name:
                    parameter.data.mul_(0.5)
            directory = tmp_path_factory.mktemp("adapter")
            lora.save_adapter(ours, directory)
            theirs = peft.PeftModel.from_pretrained(theirs, directory).eval()
            if adapter == "merged":
                lora.merge_lora(ours)
                theirs = theirs.merge_and_unload()
            if form.startswith("fast"):
                gpt2.use_fast(ours)
                lora.use_fast(ours)
            made[key] = theirs.to(FORMS[form]), ours.to(FORMS[form])
        return made[key]

    return build


def their_model(ours):
    values = {**ours.config.to_dict(), "eos_token_id": None, "pad_token_id": None, "bos_token_id": None}
    with initialization.no_init_weights():
        theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**values)).eval()
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    return theirs


def prompt_of(length, vocab, seed=2):
    return torch.randint(1, vocab, (1, length), generator=torch.Generator().manual_seed(seed))


def both(pair, prompt, new, settings, end=None, seed=5):
    """Their token ids and ours, (R, T), after one seed."""
    theirs, ours = pair
    torch.manual_seed(seed)
    ends = {"eos_token_id": end, "pad_token_id": 0 if end is None else end}
    plan = transformers.GenerationConfig(**(IDLE | settings), max_new_tokens=new, **ends)
    with torch.inference_mode():
        want = theirs.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), generation_config=plan)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    ours.config = ours.config.replace(eos_token_id=end)
    got = gpt2.generate_ids(ours, prompt, gpt2.GenerationConfig(max_new_tokens=new, **settings))
    assert torch.equal(torch.get_rng_state(), state)
    return want, got


@pytest.mark.parametrize("rows", [1, 3])
def test_logits_behind_a_cache_are_the_same_bits(rows):
    ours = random_base(SMALL)
    theirs, text = their_model(ours), torch.randint(0, 211, (rows, 60))
    cache, their_cache = gpt2.KeyValueCache(SMALL), transformers.DynamicCache()
    with torch.inference_mode():
        for piece in text.split([7, *[1] * 20, 5, 1, 1, 9, *[1] * 17], dim=1):
            want = theirs(piece, past_key_values=their_cache, use_cache=True).logits
            assert torch.equal(ours(piece, cache=cache).logits, want)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@every_adapter
@every_form
def test_every_setting_chooses_the_same_tokens(pair, form, adapter, settings):
    want, got = both(pair("2 x 64", adapter, form), prompt_of(7, 211), 48, settings)
    assert want.shape == (settings.get("num_return_sequences", 1), 55) and torch.equal(got, want)
    assert len(set(got[0].tolist())) > 20


def test_a_half_precision_model_draws_in_float32_too(pair):
    want, got = both(pair("2 x 64", "merged", "plain, bfloat16"), prompt_of(7, 211), 48, SETTINGS["all"])
    assert torch.equal(got, want)


@pytest.mark.parametrize("adapter, settings", [("live", "greedy"), ("merged", "all")])
@every_form
def test_the_same_tokens_up_to_the_last_of_1024_positions(pair, form, adapter, settings):
    want, got = both(pair("2 x 64", adapter, form), prompt_of(7, 211), 1017, SETTINGS[settings])
    assert want.shape[1] == 1024 and torch.equal(got, want)


@pytest.mark.parametrize("adapter, settings", [("live", "top_k"), ("merged", "greedy")])
@every_form
def test_the_bundled_base_writes_the_same_up_to_its_last_position(pair, form, adapter, settings):
    want, got = both(pair(BUNDLED, adapter, form), prompt_of(9, 8192), 247, SETTINGS[settings])
    assert want.shape[1] == 256 and torch.equal(got, want)


@every_form
def test_the_same_end_token_ends_it_and_fills_up_the_texts_that_have_met_it(pair, form):
    models, prompt = pair("2 x 64", "live", form), prompt_of(7, 211)
    free, _ = both(models, prompt, 48, SETTINGS["all"])
    end = free[1, 20].item()
    want, got = both(models, prompt, 48, SETTINGS["all"], end)
    assert torch.equal(got, want) and (got[1, 20:] == end).all()
    assert want.shape[1] < 55 or not (got[:, -1] == end).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "form, adapter", [("plain, float32", "live"), ("plain, float32", "merged"), ("fast, float64", "live")]
)
def test_five_prompts_are_continued_alike_at_the_size_of_gpt2(pair, form, adapter):
    for i, name in enumerate(["greedy", "top_k", "greedy, penalty", "top_p", "drawn"]):
        prompt = prompt_of(3 + 4 * i, 50257, seed=i)
        want, got = both(pair("124M", adapter, form), prompt, 64, SETTINGS[name], seed=i)
        assert want.shape[1] == prompt.shape[1] + 64 and torch.equal(got, want), name
