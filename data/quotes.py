"""Whether the quotes in a .tsv are those of a table, around its fields, or part of the texts."""

from collections.abc import Iterable


def quotes_are_a_tables(lines: Iterable[str]) -> bool:
    """For the lines of a .tsv, its header first and without line ends.

    A header in quotes says so. Under another one they are a table's if each field in quotes needs them: it holds a tab,
    a line break or a doubled quote. `"Hello" she said` and `"both"` are texts; so is what two unbalanced quotes would
    swallow, lines between them that are rows of their own.
    """
    columns = fields = length = rows = 0  # of the record being read: fields, lines, and lines that could be rows
    is_open = needed = found = False
    for line in lines:
        parts = line.split("\t")
        if not columns:
            columns = len(parts)
            if all(len(part) > 1 and part[0] == part[-1] == '"' for part in parts):
                return True
        length += 1
        rows += len(parts) >= columns
        for part in parts:
            if is_open:
                needed = True  # before this part stands a tab, or a line break
            else:
                fields += 1
                if not part.startswith('"'):
                    continue
                part, needed, is_open = part[1:], False, True
            rest = part.replace('""', "")
            needed = needed or rest != part
            if '"' in rest:
                if rest.index('"') < len(rest) - 1 or not needed:
                    return False
                is_open, found = False, True
        if not is_open:
            if fields != columns or 1 < length == rows:
                return False
            fields = length = rows = 0
    return found and not is_open
