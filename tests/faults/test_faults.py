"""Can the parity comparisons fail? One mistake at a time is planted in the code, and they must see it.

python -m pytest tests/faults -q -s                prints which comparison saw which mistake
python -m pytest tests/faults -q -s -m slow        prints all mistakes that each group of comparisons sees
"""

import contextlib
import copy
import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.faults.faults import FAULTS
from tests.faults.planting import Fault, plant

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")
pytest.importorskip("peft", reason="needs pip install -r requirements-dev.txt")

from benchmarks.equality import comparisons, side_by_side  # noqa: E402
from tests.parity import checks  # noqa: E402

LAST = (comparisons.half_precision, comparisons.a_head_on_a_half_base)  # few CPUs are quick at these
GROUPS = [g for g in (*comparisons.GROUPS, *checks.GROUPS, *comparisons.RUNS) if g not in LAST] + [*LAST]
Row = dict[str, str]  # group -> its first comparison that does not hold, or the error it ended in


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """Where the comparisons write. Meanwhile the reference's side is computed once, and on sound code."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # at these sizes a second one only waits
    logging.disable(logging.WARNING)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("write_base", "their_model", "train_theirs"):
                patch.setattr(side_by_side, name, remembered(getattr(side_by_side, name)))
            patch.setattr(comparisons, "MAKERS", (side_by_side.their_model, side_by_side.our_model))
            path = tmp_path_factory.mktemp("parity")
            found = row(path)
            assert not found, f"the code as it is differs already: {found}"
            yield path
    finally:
        logging.disable(logging.NOTSET)
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, Row]]:
    rows: dict[str, Row] = {}
    yield rows
    width = max(map(len, rows), default=0) + 2
    print("\n\nmistake, and the first comparison that sees it\n")
    print(*(f"{name:{width}}{next(iter(found.values()), 'NOT SEEN')}" for name, found in rows.items()), sep="\n")
    print(f"\n{sum(map(bool, rows.values()))} of {len(rows)} mistakes seen")


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_planted_mistake_is_seen(fault, folder, table, monkeypatch):
    plant(fault, monkeypatch)
    table[fault.name] = row(folder, only_first=True)
    assert table[fault.name], f"no comparison sees it; people make this mistake: {fault.why}"


@pytest.mark.slow
def test_every_group_of_comparisons_sees_some_mistake(folder):
    seen: dict[str, list[str]] = {group.__name__: [] for group in GROUPS}
    for fault in FAULTS:
        with pytest.MonkeyPatch.context() as patch:
            plant(fault, patch)
            for name in row(folder):
                seen[name].append(fault.name)
    print("\n\ngroup of comparisons, and the mistakes that it sees\n")
    for name, faults in seen.items():
        print(f"{name.replace('_', ' ')} ({len(faults)}): {', '.join(faults)}")
    assert all(seen.values()), f"these see none: {[name for name, faults in seen.items() if not faults]}"


def test_a_mistake_whose_line_is_gone_says_so(monkeypatch):
    with pytest.raises(AssertionError, match="stands 0 times in gpt2.model:gelu_new; write the fault anew"):
        plant(Fault("", "gpt2.model:gelu_new", "no such line", "", ""), monkeypatch)


def row(folder: Path, only_first: bool = False) -> Row:
    """What the comparisons say of the code as it is now; groups in which all is well are left out."""
    found: Row = {}
    for group in GROUPS:
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                wrong = next((c for c in group(folder / group.__name__) if not c.ok), None)
            if wrong:
                how = f"by {wrong.max_abs_diff:.1e}" if wrong.max_abs_diff else "in names or dtypes alone"
                found[group.__name__] = f"{wrong.name}, {how}"
        except Exception as error:  # noqa: BLE001 - a mistake may end in any
            found[group.__name__] = f"{group.__name__}: {type(error).__name__}: {error}"
        if found and only_first:
            break
    return found


def remembered(function: Callable) -> Callable:
    """`function`, its answers kept by its arguments: a copy each time, and the random state as after the first call."""
    answers = {}

    def recall(*args, **kwargs):
        key = repr((args, kwargs))
        if key not in answers:
            answers[key] = function(*args, **kwargs), torch.get_rng_state()
        answer, state = answers[key]
        torch.set_rng_state(state)
        return copy.deepcopy(answer)

    return recall
