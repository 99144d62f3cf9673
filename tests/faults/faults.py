"""Mistakes that people make in LoRA, in GPT-2 and in a training loop. Most of them train, and learn something."""

from tests.faults.planting import Fault

FORWARD, ADD, DELTA = (f"lora.layer:LoraLayer.{name}" for name in ("forward", "add_adapter", "delta_weight"))
HEAD = "lora.modules_to_save:ModulesToSaveWrapper.add_adapter"
SCALING, APPLY, FILE = "lora.config:LoraConfig.scaling", "lora.inject:put_in", "lora.checkpoint:lora_state_dict"
MODEL, ATTENTION, BLOCK = (
    f"gpt2.model:GPT2{name}" for name in ("Model.forward", "Attention.forward", "Block.__init__")
)
OPTIMIZER, RATE = "training.optimization:build_optimizer", "training.optimization:learning_rate_at"
STEP, FIT = "train:train_step", "train:fit"
KAIMING = "nn.init.kaiming_uniform_(A.weight, a=math.sqrt(5))"
LAST_LINE_OF_APPLY = "_switch(model, active if configs else [adapter_name])"

# fmt: off
FAULTS = [
    # LoRA: what is computed
    Fault("scaling forgotten", FORWARD, " * self.scaling[name]", "", "h = W0 x + B A x is how it is drawn on a board"),
    Fault("alpha/sqrt(r) for alpha/r", SCALING, "(math.sqrt(self.r) if self.use_rslora else self.r)",
          "math.sqrt(self.r)", "rsLoRA's factor, taken for LoRA's"),
    Fault("use_rslora has no effect", SCALING, "(math.sqrt(self.r) if self.use_rslora else self.r)", "self.r",
          "a setting that is stored and never read"),
    Fault("dropout after A", FORWARD, "B(A(dropout(x)))", "B(dropout(A(x)))", "A's output looks like a hidden layer"),
    Fault("dropout on the output", FORWARD, "B(A(dropout(x)))", "dropout(B(A(x)))", "as on the residual branches"),
    Fault("no LoRA dropout", FORWARD, "B(A(dropout(x)))", "B(A(x))", "built in __init__, never called"),
    Fault("W0 sees the dropped input", FORWARD, "h = self.base_layer(x)",
          "x = self.lora_dropout[self.active_adapters[0]](x) if self.active_adapters else x; h = self.base_layer(x)",
          "x = dropout(x) on the first line of forward"),
    Fault("one dropout mask for all tokens", FORWARD, "dropout(x)", "x * dropout(torch.ones_like(x[:1, :1]))",
          "dropping columns of A is cheaper than dropping inputs"),
    Fault("every layer draws the same dropout mask", FORWARD, "h = self.base_layer(x)",
          "h = self.base_layer(x); self.training and torch.manual_seed(0)", "one mask for all targets of a block"),
    # LoRA: how it starts
    Fault("B not zero", ADD, "nn.init.zeros_(B.weight)", "pass", "nn.Linear's own draw is left as it is"),
    Fault("A zero, B random", ADD, "nn.init.zeros_(B.weight)",
          "B.weight.data.uniform_(-0.1, 0.1), A.weight.data.zero_()", "swapped: the product is zero either way"),
    Fault("A drawn as (in, r)", ADD, KAIMING,
          "A.weight.data.copy_(nn.init.kaiming_uniform_(torch.empty(self.in_features, r), a=math.sqrt(5)).T)",
          "written x @ A @ B, A has the fan on its other side: the bound is 1/sqrt(r)"),
    Fault("A drawn once", ADD, KAIMING, "pass", "nn.Linear has drawn it from that distribution already"),
    Fault("A and B in half precision", ADD, ".to(torch.promote_types(W0.dtype, torch.float32))", "",
          "they take the base's dtype: a bf16 weight does not move by a small step"),
    # LoRA: merging, the head, the file
    Fault("delta not transposed where square", DELTA, "if self.transposed else",
          "if self.transposed and delta.shape[0] != delta.shape[1] else",
          "attn.c_proj is square: nothing fails without the transpose"),
    Fault("merged without scaling", DELTA, " * self.scaling[name]", "", "the factor stands in forward alone"),
    Fault("head frozen", APPLY, LAST_LINE_OF_APPLY, LAST_LINE_OF_APPLY +
          "; [m.requires_grad_(False) for m in model.modules() if isinstance(m, ModulesToSaveWrapper)]",
          "what trains is what has lora_ in its name"),
    Fault("head shared, not copied", HEAD, "copy.deepcopy(self.original_module)", "self.original_module",
          "there is one head: but with LoRA off, the tuned head stays"),
    Fault("head not saved", FILE, "if adapter_name in adapter_names(w)",
          "if adapter_name in adapter_names(w) and isinstance(w, LoraLayer)",
          "what is saved is what has lora_ in its name"),
    Fault("A and B swapped in the file", "lora.checkpoint:_under_file_keys", "in wrapper.adapter(name).items()",
          "in zip(wrapper.adapter(name), [t.T.contiguous() for t in wrapper.adapter(name).values()][::-1])",
          "the other convention: x A B"),
    Fault("lora_alpha lost in the file", "lora.config:LoraConfig.from_dict", "if name in known and",
          'if name in known - {"lora_alpha"} and', "the default is often right"),
    # GPT-2
    Fault("erf GELU", "gpt2.model:gelu_new", "return 0.5 * x", "return F.gelu(x)  #", "F.gelu's default"),
    Fault("LayerNorm eps of 1e-12", BLOCK, "self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)",
          "self.ln_1 = nn.LayerNorm(config.n_embd, eps=1e-12)", "BERT's"),
    Fault("c_proj read as nn.Linear has it", "gpt2.model:Conv1D.forward", "self.weight)",
          "self.weight.T if self.nf == self.nx else self.weight)", "the square one loads without a word"),
    Fault("attention scaled by the whole width", ATTENTION, "(D // self.n_head) ** -0.5", "D**-0.5", "D is at hand"),
    Fault("k and v copied", ATTENTION, ".transpose(1, 2) for t in", ".transpose(1, 2).contiguous() for t in",
          "the same values on another layout: attention dropout rounds differently"),
    Fault("not causal", ATTENTION, "is_causal=mask is None and T > 1", "is_causal=False", "the flag's default"),
    Fault("mask forgotten", MODEL, "attention_bias(attention_mask, x.device, T, past)", "None",
          "padded on the right, a causal model gives the same answer without it"),
    Fault("position ids from the mask", MODEL, "torch.arange(past, past + T, device=input_ids.device).unsqueeze(0)",
          "torch.arange(T).unsqueeze(0) if attention_mask is None else (attention_mask.cumsum(1) - 1).clamp_min(0)",
          "as generate() does"),
    Fault("pooling on a pad", "gpt2.model:last_token",
          "(torch.arange(T, device=attention_mask.device) * attention_mask).argmax(dim=-1)", "torch.full((B,), T - 1)",
          "hidden[:, -1]"),
    Fault("labels not shifted", "gpt2.model:GPT2LMHeadModel.forward", "F.pad(labels, (0, 1), value=-100)[:, 1:]",
          "labels", "the shift was thought to be the caller's"),
    Fault("fresh head as nn.Linear draws it", "gpt2.checkpoint:PretrainedModel.from_pretrained",
          ".normal_(0.0, config.initializer_range)", ".uniform_(-1.0, 1.0).mul_(config.n_embd**-0.5)",
          "the head is left as its constructor made it"),
    # The training loop
    Fault("biases and norms decay too", OPTIMIZER, "(plain if name in norms or name.endswith(\"bias\") else decay)",
          "decay", "AdamW(model.parameters(), weight_decay=...)"),
    Fault("A and B do not decay", OPTIMIZER, 'name.endswith("bias")', 'name.endswith("bias") or "lora_" in name',
          "LoRA is taken for a regulariser already"),
    Fault("Adam for AdamW", OPTIMIZER, "EagerAdamW(", "torch.optim.Adam(", "it has a weight_decay too"),
    Fault("clip before unscale", STEP, "scaler.unscale_(optimizer)", "pass", "scaler.step() unscales by itself, later"),
    Fault("clipping forgotten", "training.optimization:clip_gradients", "max_norm if max_norm > 0 else math.inf",
          "math.inf", "Trainer clips to 1.0 without being asked"),
    Fault("schedule off by one", RATE, "(total - step) / rest", "(total - step - 1) / rest",
          "scheduler.step() before optimizer.step()"),
    Fault("warm-up off by one", RATE, "(step / max(1, warmup))", "((step + 1) / max(1, warmup))", "a rate of 0?"),
    Fault("mean of means", STEP, "output.loss / counted", "output.loss / batch.counted / len(batches)",
          "loss / gradient_accumulation_steps: the rows of a short batch weigh more"),
    Fault("gradients summed over batches", STEP, "output.loss / counted", "output.loss / batch.counted",
          "accumulation without a division"),
    Fault("gradients never cleared", STEP, "optimizer.zero_grad(set_to_none=True)", "pass", "the classic"),
    Fault("trained in eval mode", FIT, "model.train()\n", "model.eval()\n", "from_pretrained returns it in eval mode"),
    Fault("the same order in every epoch", "data.batches:epoch_order", "manual_seed(seed + epoch)", "manual_seed(seed)",
          "one generator, seeded anew at the start of each epoch"),
    Fault("dropout not seeded", FIT, "torch.manual_seed(", "int(", "seeded before the model is built"),
    Fault("no draw at the start of an epoch", "training.exact:draw_for_epoch",
          "torch.empty((), dtype=torch.int64).random_()", "pass",
          "nobody expects a data loader to move the random stream"),
]
# fmt: on
