"""What all tests with invented input share: how many examples."""

import os

import pytest

hypothesis = pytest.importorskip("hypothesis", reason="pip install -r requirements-dev.txt to run these tests")


def examples(most: int = 100) -> "hypothesis.settings":
    """So many examples a test, or as many as FUZZ_EXAMPLES says; after a failure hypothesis prints how to repeat it."""
    return hypothesis.settings(
        max_examples=int(os.environ.get("FUZZ_EXAMPLES", most)),
        deadline=None,
        print_blob=True,
        suppress_health_check=[
            hypothesis.HealthCheck.function_scoped_fixture,
            hypothesis.HealthCheck.too_slow,
            hypothesis.HealthCheck.data_too_large,
        ],
    )
