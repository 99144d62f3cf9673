"""This project's LoRA beside peft's: the same draws, the same files, the same numbers, with no word from peft."""

import json
import warnings

import pytest
import torch

import gpt2
import lora

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
transformers = pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")
peft = pytest.importorskip("peft", reason="needs pip install -r requirements-dev.txt")

COMMON = {"r": 4, "lora_alpha": 16, "task_type": "SEQ_CLS"}
RECIPES = {
    "notebook": {"lora_dropout": 0.1, "target_modules": ["c_attn", "c_proj"]},
    "all layers": {"target_modules": ["c_attn", "c_proj", "c_fc"], "r": 3, "lora_alpha": 5},
    "one layer, rslora": {"target_modules": ["h.1.mlp.c_fc"], "use_rslora": True},
    "gaussian": {"target_modules": ["c_attn"], "init_lora_weights": "gaussian", "lora_dropout": 0.3},
    "embedding too": {"target_modules": ["wte", "c_attn", "c_proj", "c_fc"], "lora_dropout": 0.1},
    "embeddings alone": {"target_modules": ["wte", "wpe"], "init_lora_weights": "gaussian", "use_rslora": True},
    "embedding, nothing zero": {"target_modules": ["wte", "c_attn"], "init_lora_weights": False},
    "nothing zero": {"target_modules": ["c_attn", "c_proj"], "init_lora_weights": False},
}
IDS = torch.randint(0, 250, (3, 12), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(IDS)
MASK[1, 7:], MASK[2, 9:] = 0, 0
IDS[MASK == 0] = 299
LABELS = torch.tensor([0, 1, 1])
every_recipe = pytest.mark.parametrize("recipe", [COMMON | r for r in RECIPES.values()], ids=RECIPES)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A classifier's directory with every tensor in it, so that both libraries read the same head."""
    directory = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    gpt2.GPT2ForSequenceClassification(
        gpt2.GPT2Config(vocab_size=300, n_positions=32, n_embd=32, n_layer=2, n_head=2, eos_token_id=299)
    ).save_pretrained(directory)
    return directory


def their_base(directory):
    model = transformers.GPT2ForSequenceClassification.from_pretrained(directory, pad_token_id=299).eval()
    model.config.use_cache = False
    return model


def our_base(directory):
    return gpt2.GPT2ForSequenceClassification.from_pretrained(directory)


def theirs_with(directory, recipe, seed=5):
    torch.manual_seed(seed)
    return peft.get_peft_model(their_base(directory), peft.LoraConfig(**recipe))


def ours_with(directory, recipe, seed=5):
    torch.manual_seed(seed)
    return lora.apply_lora(our_base(directory), lora.LoraConfig(**recipe))


def moved(model):
    """`model` with every trainable tensor moved off its start, in the order in which the model lists them."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS, attention_mask=MASK).logits


def step(model):
    """Loss, gradients in order, and the random state after one forward and backward pass with dropout on."""
    model.train()
    torch.manual_seed(9)
    loss = model(input_ids=IDS, attention_mask=MASK, labels=LABELS).loss
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad), torch.get_rng_state()]


def equal(some, others):
    return len(some) == len(others) and all(torch.equal(a, b) for a, b in zip(some, others))


@every_recipe
def test_the_same_seed_draws_the_same_adapter_and_leaves_the_same_random_state(base, recipe):
    theirs = peft.get_peft_model_state_dict(theirs_with(base, recipe))
    state = torch.get_rng_state()
    ours = lora.lora_state_dict(ours_with(base, recipe))
    assert torch.equal(state, torch.get_rng_state())
    assert set(theirs) == set(ours)
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)


def test_a_target_that_is_also_trained_in_full_draws_as_peft_draws(base):
    recipe = COMMON | {"target_modules": ["c_attn", "score"]}
    theirs = theirs_with(base, recipe)
    state = torch.get_rng_state()
    ours = ours_with(base, recipe)
    assert set(peft.get_peft_model_state_dict(theirs)) == set(lora.lora_state_dict(ours))
    assert torch.equal(state, torch.get_rng_state())


@every_recipe
def test_a_training_step_gives_the_same_bits(base, recipe):
    theirs, ours = step(moved(theirs_with(base, recipe))), step(moved(ours_with(base, recipe)))
    assert len(theirs) > 4 and equal(theirs, ours)


@every_recipe
def test_our_lora_on_transformers_own_gpt2_gives_peft_s_bits(base, recipe):
    torch.manual_seed(5)
    ours = lora.apply_lora(their_base(base), lora.LoraConfig(**recipe))
    assert equal(step(moved(theirs_with(base, recipe))), step(moved(ours)))


def test_three_optimizer_steps_end_in_the_same_bits(base):
    recipe, ends = COMMON | RECIPES["notebook"], []
    for model in (theirs_with(base, recipe), ours_with(base, recipe)):
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            step(model)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        ends.append([p.detach() for p in model.parameters()])
    assert equal(*ends)


@pytest.mark.promise("P13")
@every_recipe
def test_peft_reads_our_files_without_a_warning_and_leaves_no_key(base, recipe, tmp_path):
    ours = moved(ours_with(base, recipe))
    lora.save_adapter(ours, tmp_path)
    plain = their_base(base)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # between peft and transformers
        read = peft.PeftModel.from_pretrained(plain, tmp_path)
        again = read.load_adapter(tmp_path, "again")
    assert list(again.unexpected_keys) == [] and [key for key in again.missing_keys if "again" in key] == []
    assert torch.equal(logits(read), logits(ours))
    found, expected = peft.get_peft_model_state_dict(read), lora.lora_state_dict(ours)
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.promise("P13")
@every_recipe
def test_we_read_peft_s_files(base, recipe, tmp_path):
    theirs = moved(theirs_with(base, recipe))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs.save_pretrained(tmp_path)
        ours = lora.load_adapter(our_base(base), tmp_path)
    assert torch.equal(logits(ours), logits(theirs))
    assert lora.trainable_parameters(ours) == {}
    expected, found = peft.get_peft_model_state_dict(theirs), lora.lora_state_dict(ours)
    assert set(found) == set(expected) and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.promise("P13")
@pytest.mark.parametrize("task", ["SEQ_CLS", "CAUSAL_LM"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_adapter_config_json_has_peft_s_keys_and_values(base, recipe, task, tmp_path):
    recipe = COMMON | recipe | {"task_type": task}
    name = "GPT2ForSequenceClassification" if task == "SEQ_CLS" else "GPT2LMHeadModel"
    source = tmp_path / "base"
    getattr(gpt2, name)(gpt2.read_config(base)).save_pretrained(source)
    theirs = getattr(transformers, name).from_pretrained(source)
    peft.get_peft_model(theirs, peft.LoraConfig(**recipe)).save_pretrained(tmp_path / "theirs")
    ours = getattr(gpt2, name).from_pretrained(source)
    lora.save_adapter(lora.apply_lora(ours, lora.LoraConfig(**recipe)), tmp_path / "ours")
    values = []
    for which in ("theirs", "ours"):
        text = (tmp_path / which / "adapter_config.json").read_text()
        values.append(json.loads(text))
        values[-1]["target_modules"].sort()  # peft writes a set, in any order
    assert list(values[0]) == list(values[1])
    assert values[0] == values[1]


@pytest.mark.promise("P13")
def test_the_adapter_files_hold_the_same_bytes_for_every_tensor(base, tmp_path):
    recipe = COMMON | RECIPES["notebook"]
    moved(theirs_with(base, recipe)).save_pretrained(tmp_path / "theirs")
    lora.save_adapter(moved(ours_with(base, recipe)), tmp_path / "ours")
    files = [(tmp_path / which / "adapter_model.safetensors").read_bytes() for which in ("theirs", "ours")]
    assert files[0] == files[1]


@every_recipe
def test_a_merged_model_saved_here_loads_in_transformers_with_the_tuned_logits(base, recipe, tmp_path):
    ours = moved(ours_with(base, recipe))
    tuned = logits(ours)
    lora.merge_and_unload(ours).save_pretrained(tmp_path)
    merged = logits(their_base(tmp_path))
    assert torch.equal(merged, logits(ours))
    assert (merged - tuned).abs().max() <= 1e-5


@every_recipe
def test_merging_gives_peft_s_merged_weights(base, recipe):
    theirs = moved(theirs_with(base, recipe)).merge_and_unload().state_dict()
    ours = lora.merge_and_unload(moved(ours_with(base, recipe))).state_dict()
    assert set(theirs) == set(ours)
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)


def test_two_adapters_switch_and_are_disabled_as_in_peft(base):
    one, two = (COMMON | RECIPES[name] for name in ("nothing zero", "gaussian"))
    theirs = theirs_with(base, one)
    theirs.add_adapter("two", peft.LoraConfig(**two))
    ours = ours_with(base, one)
    lora.apply_lora(ours, lora.LoraConfig(**two), "two")
    assert torch.equal(logits(theirs), logits(ours))
    theirs.set_adapter("two")
    lora.set_adapter(ours, "two")
    assert torch.equal(logits(moved(theirs)), logits(moved(ours)))
    with theirs.disable_adapter(), lora.disable_lora(ours):
        assert torch.equal(logits(theirs), logits(ours))
        theirs.set_adapter("default")
        lora.set_adapter(ours, "default")
        assert torch.equal(logits(theirs), logits(ours))
    assert torch.equal(logits(theirs), logits(ours))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_adapter_of_peft_s_is_read(base, dtype, tmp_path):
    theirs = moved(theirs_with(base, COMMON | RECIPES["notebook"])).to(dtype)
    theirs.save_pretrained(tmp_path)
    ours = lora.load_adapter(our_base(base), tmp_path)
    assert torch.equal(logits(ours), logits(peft.PeftModel.from_pretrained(their_base(base), tmp_path)))


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"rank_pattern": {"c_attn": 2}}, "rank_pattern"),
        ({"target_modules": r".*\.c_attn"}, "target_modules"),
        ({"layers_to_transform": 0}, "layers_to_transform"),
    ],
)
def test_an_adapter_of_peft_s_that_computes_something_else_is_refused(base, asked, word, tmp_path):
    theirs_with(base, COMMON | {"target_modules": ["c_attn"]} | asked).save_pretrained(tmp_path)
    with pytest.raises(lora.AdapterError, match=word):
        lora.load_adapter(our_base(base), tmp_path)


@every_recipe
def test_parameters_are_counted_as_peft_counts_them(base, recipe, capsys):
    theirs, ours = theirs_with(base, recipe), ours_with(base, recipe)
    assert theirs.get_nb_trainable_parameters() == lora.count_parameters(ours)
    theirs.print_trainable_parameters()
    expected = capsys.readouterr().out
    lora.print_trainable_parameters(ours)
    assert capsys.readouterr().out == expected
