"""Exercise 11: four counts; everything else is a ratio of them."""


def scores(labels: list[int], predicted: list[int]) -> dict[str, float]:
    pairs = list(zip(labels, predicted))
    hits, misses = pairs.count((1, 1)), pairs.count((1, 0))
    alarms, passed = pairs.count((0, 1)), pairs.count((0, 0))
    recall = hits / (hits + misses)
    return {
        "accuracy": (hits + passed) / len(pairs),
        "precision": hits / (hits + alarms) if hits else 0.0,
        "recall": recall,
        "f1": 2 * hits / (2 * hits + misses + alarms),
        "balanced_accuracy": (recall + passed / (passed + alarms)) / 2,
    }


def beats_majority(labels: list[int], predicted: list[int]) -> bool:
    right = sum(label == said for label, said in zip(labels, predicted))
    return right > max(labels.count(label) for label in labels)
