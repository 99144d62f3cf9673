"""Exercise 6: the dot is what makes `c_proj` a name and not a piece of one."""


def matching(names: list[str], target_modules: list[str]) -> list[str]:
    return [name for name in names if any(name == t or name.endswith(f".{t}") for t in target_modules)]
