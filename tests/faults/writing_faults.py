"""Mistakes that people make when a model learns to write, and when it writes. Most texts look no worse for them."""

from dataclasses import dataclass

from tests.faults.planting import Fault

LABELS, WINDOWS, CUT = (f"data.windows:{name}" for name in ("collate_windows", "make_windows", "cut_into_windows"))
STEP, CHOOSE, TASK = "train:train_step", "gpt2.generation:choose", "tasks.language:Language"
LANGUAGE, STEPS = "tests/doors/test_language.py", "tests/doors/test_language_steps.py"
GENERATION = "tests/gpt2/test_generation.py"
SCORES = f"{LANGUAGE}::test_the_scores_are_those_of_each_test_text_alone_and_its_end"
LONG = f"{LANGUAGE}::test_of_one_long_text_the_last_tenth_is_held_out_and_every_token_counts_once"
UNEVEN = f"{STEPS}::test_uneven_batches_of_a_step_equal_one_large_batch"
MEAN = f"{STEPS}::test_the_loss_of_a_step_is_the_mean_over_all_its_target_tokens"
PIECES = f"{GENERATION}::test_a_text_fed_in_pieces_gets_the_logits_of_the_whole_text"
ONE_TOKEN = f"{GENERATION}::test_drawing_from_one_token_is_greedy"


@dataclass(frozen=True)
class Seen:
    """A mistake, and the test that sees it."""

    fault: Fault
    test: str


def seen(test: str, *fault: str) -> Seen:
    return Seen(Fault(*fault), test)


# fmt: off
WRITING_FAULTS = [
    # What is learned
    seen("tests/gpt2/test_model.py::test_lm_loss_predicts_the_next_token_and_leaves_out_minus_100",
         "labels not shifted", "gpt2.model:GPT2LMHeadModel.forward", "F.pad(labels, (0, 1), value=-100)[:, 1:]",
         "labels", "the shift was thought to be the caller's"),
    seen(MEAN, "labels not shifted in the fast form", "gpt2.fast:plan_targets",
         "F.pad(labels.cpu(), (0, 1), value=-100)[:, 1:]", "labels.cpu()", "the plain form does it"),
    seen(f"{LANGUAGE}::test_of_prompts_and_completions_the_completion_alone_is_learned_and_scored",
         "prompt in the loss", WINDOWS, "1 + len(prompt)", "1", "labels = input_ids.clone()"),
    seen(SCORES, "padding in the loss", LABELS, "slice(window.first_target, len(window.ids))",
         "slice(window.first_target, None)", "labels = input_ids.clone()"),
    seen(SCORES, "the end of a text masked out", LABELS, "= batch.input_ids[row, target]",
         "= batch.input_ids[row, target].masked_fill(batch.input_ids[row, target] == pad_token_id, IGNORED)",
         "labels[labels == pad_token_id] = -100, where padding and end are one token: it never stops"),
    seen(SCORES, "no end after a text", WINDOWS, "*text, eos_token_id]", "*text]", "the tokenizer adds none"),
    seen(SCORES, "no end before a text", WINDOWS, "[eos_token_id, *prompt", "[*prompt",
         "the first token is never foretold, and writing from nothing has nothing to begin with"),
    seen(LONG, "windows that share two tokens", CUT, "max_length - 1):", "max_length - 2):",
         "one token is a target twice, and the test texts seem longer"),
    seen(LONG, "windows that share no token", CUT, "max_length - 1):", "max_length):",
         "concatenate and cut: the first token of every window is never a target"),
    # One step
    seen(UNEVEN, "mean of means over batches", STEP, "output.loss / counted",
         "output.loss / batch.counted / len(batches)", "loss / gradient_accumulation_steps"),
    seen(MEAN, "divided by rows", STEP, "sum(batch.counted for batch", "sum(len(batch.labels) for batch",
         "as a classifier's loss is"),
    seen(MEAN, "padding counted in the divisor", STEP, "sum(batch.counted for batch",
         "sum(batch.labels.numel() for batch", "loss / labels.numel()"),
    seen(MEAN, "prompts counted in the divisor", STEP, "sum(batch.counted for batch", "sum(batch.tokens for batch",
         "loss / attention_mask.sum()"),
    # What is reported
    seen(SCORES, "held-out loss a sum of means", "training.evaluation:summed_loss", 'reduction="sum"',
         'reduction="mean"', "the loss of a batch is a mean by default"),
    seen(f"{LANGUAGE}::test_bits_a_byte_are_of_bytes_where_a_character_has_several",
         "bits a character", "data.documents:Documents.n_bytes", ".text.encode())", ".text)",
         "the same in English, a third of it in Japanese"),
    seen(SCORES, "nats called bits", f"{TASK}._scores_of", "nats / math.log(2) / ", "nats / ", "loss / bytes"),
    seen(f"{LANGUAGE}::test_the_bigram_model_beside_it_has_counted_the_training_texts_alone",
         "bigrams of the test texts counted", f"{TASK}.baselines", 'self.rows.of_part("train")', "self.rows.windows",
         "a baseline fitted on all there is"),
    seen(f"{STEPS}::test_evaluations_and_their_samples_change_not_a_byte_of_what_is_learned",
         "a sample moves the run's random numbers", f"{TASK}.samples",
         'torch.random.fork_rng([place.device] if place.device.type == "cuda" else [])', "torch.no_grad()",
         "how often one looks changes what is learned"),
    # Writing
    seen(PIECES, "positions begin again after the cache", "gpt2.model:GPT2Model.forward",
         "torch.arange(past, past + T,", "torch.arange(T,", "each new token stands at position 0"),
    seen(PIECES, "positions off by one after the cache", "gpt2.model:GPT2Model.forward",
         "torch.arange(past, past + T,", "torch.arange(max(past - 1, 0), max(past - 1, 0) + T,",
         "the position of the last token, not of the next"),
    seen(PIECES, "keys kept one place too early", "gpt2.cache:BlockCache.append", "self.keys[:, :, start:end] = k",
         "self.keys[:, :, max(start - 1, 0) : max(start - 1, 0) + k.shape[2]] = k",
         "the place of the last token, not of the next; values stay where they belong"),
    seen(PIECES, "the mask after the cache is that of a fresh text", "gpt2.model:attention_bias", ".tril(past)",
         ".tril()", "a prompt fed in pieces sees its beginning alone"),
    seen(ONE_TOKEN, "top_p drops the likeliest token", CHOOSE, "out[:, -1] = False", "pass",
         "a token likelier than top_p leaves nothing to draw"),
    seen(ONE_TOKEN, "multiplied by the temperature", CHOOSE, "scores / config.temperature",
         "scores * config.temperature", "cold is wild and hot is dull"),
    seen("tests/gpt2/test_choosing.py::test_the_penalty_makes_what_was_said_less_likely_on_either_side_of_zero",
         "the penalty divides negative logits", CHOOSE,
         "torch.where(said < 0, said * config.repetition_penalty, said / config.repetition_penalty)",
         "said / config.repetition_penalty", "what is unlikely gets likelier by being said"),
    seen(f"{GENERATION}::test_a_text_that_ends_early_waits_for_the_others_behind_end_tokens",
         "a text that has ended goes on", "gpt2.generation:Generation._step",
         "torch.where(self._unfinished, tokens, end)", "tokens", "with one text nobody notices"),
    seen("tests/doors/test_generate.py::test_greedy_is_the_likeliest_token_each_time_and_the_prompt_stands_before_it",
         "a prompt without the end token before it", "generate:Writer.start", "[self.tokenizer.eos_token_id, *",
         "[*", "in training every text had one"),
]
# fmt: on
