"""Exercise 9: cut an update's rank. Chapter: docs/07-what-was-learned.md."""

import torch


def cut_rank(A: torch.Tensor, B: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A smaller adapter: the update of rank k that is nearest to B A.

    A        (r, in)
    B        (out, r)
    k        1 <= k <= r
    returns  (k, in) and (out, k): of all factors of this size those whose product is nearest, in the Frobenius norm

    Eckart and Young (1936): keep the k largest singular values of B A with their two vectors, and drop the others. How
    the singular values are shared between the two factors is yours to choose; the product is what counts.

    With A = [[1, 0], [0, 2]], B = [[3, 0], [0, 1]] and k = 1 the product is [[3, 0], [0, 0]]: its singular values are
    3 and 2. For a real layer B A is much larger than A and B; the QR of B and of A.T leads to an r by r matrix instead.
    """
    raise NotImplementedError("yours to write: return the two factors of the update cut to rank k")
