"""What checks.py compares: adapter files both ways, LoRA switched off, and a step under a loss scale."""

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")
pytest.importorskip("peft", reason="needs pip install -r requirements-dev.txt")

from tests.parity import checks  # noqa: E402


@pytest.mark.parametrize("group", checks.GROUPS, ids=lambda group: group.__name__)
def test_the_numbers_are_those_of_peft(group, tmp_path):
    compared = list(group(tmp_path))
    assert compared
    for c in compared:
        assert c.ok, f"{c.name}: {c.max_abs_diff:.1e}"
