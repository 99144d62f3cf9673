"""What all tests with invented input share: how many examples, and what may come of one."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.strangers.cost import bounded

hypothesis = pytest.importorskip("hypothesis", reason="pip install -r requirements-dev.txt to run these tests")


def examples(most: int = 100) -> "hypothesis.settings":
    """So many examples a test, or as many as FUZZ_EXAMPLES says; after a failure hypothesis prints how to repeat it."""
    return hypothesis.settings(
        max_examples=int(os.environ.get("FUZZ_EXAMPLES", most)),
        deadline=None,  # `only` has a limit of its own, which a busy machine does not reach
        print_blob=True,
        suppress_health_check=[
            hypothesis.HealthCheck.function_scoped_fixture,
            hypothesis.HealthCheck.too_slow,
            hypothesis.HealthCheck.data_too_large,
        ],
    )


@contextlib.contextmanager
def only(*errors: type[BaseException]) -> Iterator[list[BaseException]]:
    """Within the block all goes well or one of `errors` is raised, with one line; in 2 s and 200 MB. Yields the error.

    A panic of a Rust library is no Exception, so every BaseException is looked at. Draw nothing within it: hypothesis
    works with exceptions of its own.
    """
    caught: list[BaseException] = []
    with bounded(seconds=2, megabytes=200):
        try:
            yield caught
        except KeyboardInterrupt:
            raise
        except errors as error:
            caught.append(error)
        except BaseException as error:
            raise AssertionError(f"{type(error).__name__} instead of a refusal: {error}") from error
    assert all("\n" not in str(error) and len(str(error)) < 2000 for error in caught), caught
