"""Exercise 6: which layers `target_modules` names. Chapter: docs/05-wrapping.md, "What c_proj matches"."""


def matching(names: list[str], target_modules: list[str]) -> list[str]:
    """The names that peft would wrap, in the order of `names`, each once.

    A target matches a name that equals it, or that ends in it after a dot.

    matching(["h.0.attn.c_proj", "h.0.mlp.c_proj", "h.0.mlp.c_fc"], ["c_proj"])      -> the first two
    matching(["h.0.attn.c_proj", "h.0.mlp.c_proj", "h.0.mlp.c_fc"], ["mlp.c_proj"])  -> the second alone
    """
    raise NotImplementedError("yours to write: return the list of names that match")
