"""Updates cut afterwards to their strongest directions, and what is left of the answers then."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anatomy.opened import ADAPTER, Opened, copy_into, factors, open_run, require_same_labels
from anatomy.spectrum import Spectrum
from anatomy.updates import dense_updates, out_in
from tasks.classification import Classification
from tasks.evaluate import recorded_task


def spectra_of(opened: Opened, weights: Mapping[str, Tensor]) -> dict[str, Spectrum]:
    """path -> the update of each layer under these weights, as the run scales it."""
    scaling, found = opened.model.peft_config[ADAPTER].scaling, {}
    for path in opened.layers:
        A, B = (weights[name] for name in pair(path, weights))
        found[path] = Spectrum.of(A, B, scaling)
    return found


def cut_weights(
    opened: Opened, weights: Mapping[str, Tensor], spectra: Mapping[str, Spectrum], rank: int
) -> dict[str, Tensor]:
    """The weights with each A and B cut to that rank; what is too many of their rows and columns is zero."""
    cut, scaling = dict(weights), opened.model.peft_config[ADAPTER].scaling
    for path, spectrum in spectra.items():
        names, (A, B) = pair(path, weights), factors(opened.layers[path])
        small_A, small_B = spectrum.cut(rank)
        cut_A, cut_B = torch.zeros_like(A), torch.zeros_like(B)
        cut_A[: len(small_A)], cut_B[:, : small_B.shape[1]] = small_A, small_B / scaling
        cut |= zip(names, (cut_A, cut_B))
    return cut


def pair(path: str, weights: Mapping[str, Tensor]) -> list[str]:
    """The names of a layer's A and B among weights under peft's keys."""
    return sorted(name for name in weights if name.startswith(f"base_model.model.{path}.lora_"))


def accuracy_by_rank(run: str, full: str, ranks: Sequence[int | None], device: str = "auto") -> list[dict[str, Any]]:
    """Accuracy on the test rows, as each run scored itself, when each layer's update is cut to a rank: of a LoRA run,
    whose own rank is the most there is, and of a run of whole weights. What else was trained (head, biases, norms)
    stays. Rank 0: no update; None: the whole of it. Raises UsageError where their labels are others."""
    lora, whole = (open_run(path, device=device, as_it_was=True) for path in (run, full))
    require_same_labels(lora, whole)
    task, rows = recorded_task(lora.classifier), {rank: {"rank": rank} for rank in ranks}
    own = {name: tensor.clone() for name, tensor in lora.weights().items()}
    spectra = spectra_of(lora, own)
    for rank in ranks:
        if rank is None or rank <= lora.model.peft_config[ADAPTER].r:
            with lora.at(own if rank is None else cut_weights(lora, own, spectra, rank)):
                rows[rank]["lora"] = _accuracy(lora, task)
    dense = dense_updates(whole)
    parts = {path: torch.linalg.svd(update, full_matrices=False) for path, (update, _) in dense.items()}
    weights = {path: out_in(whole.model.get_submodule(path)) for path in dense}  # they share memory with the model
    tuned = {path: weight.clone() for path, weight in weights.items()}
    for rank in ranks:
        cut = {path: dense[path][1] + (U[:, :rank] * S[:rank]) @ Vh[:rank] for path, (U, S, Vh) in parts.items()}
        copy_into(weights, tuned if rank is None else cut)
        rows[rank]["full"] = _accuracy(whole, task)
    return list(rows.values())


def _accuracy(opened: Opened, task: Classification) -> float:
    return task.scores("test", opened.model, opened.batch_size, opened.place)["accuracy"]
