"""Exercise 15: where it starts, where it ends, and whether the two losses go together."""


def diagnose() -> dict[str, str]:
    return {
        "A": "the schedule ends too early",  # the held-out loss stands still from step 20 on
        "B": "the same batch every step",  # learned by heart; the held-out loss turns round
        "C": "full fine-tuning's rate",  # sixty steps, and still above the loss of a coin
        "D": "nothing is wrong",
        "E": "learning rate far too high",  # far above the picture within three steps
        "F": "labels shuffled",  # down to the price of the share of spam, and no further
        "G": "the mask is forgotten at evaluation",  # it learns, and nobody sees it
    }
