"""scripts/renew_pages.py writes what is printed under blocks and marks, and touches nothing else on a page."""

import pytest

from scripts import page_runner, renew_pages
from scripts.pages import Page, PageError
from training.errors import UsageError


@pytest.fixture
def renew(page, tmp_path, capsys):
    """Text of a page -> (its text afterwards, what was said, whether all was renewed)."""
    (tmp_path / "tree").mkdir()

    def run(text: str) -> tuple[str, str, bool]:
        path = page(text).path
        done = renew_pages.renew(path, tmp_path / "tree")
        return path.read_text(encoding="utf-8").replace("```", "FENCE"), capsys.readouterr().out, done

    return run


def block(code: str, shown: str, language: str = "bash", marks: str = "") -> str:
    return f"FENCE{language}\n{code}\nFENCE\n\n{marks}FENCEtext\n{shown}\nFENCE\n"


LOG = """\
for step in 10 20 100; do echo "step $step  loss 0.$step"; done
echo
echo "after  97.42 %"; echo "ham  97"
"""


def test_an_output_becomes_what_is_printed_now(renew):
    assert renew(block("x = 3\nprint('sum', x)\nprint()", "total 2\n", "python"))[0] == block(
        "x = 3\nprint('sum', x)\nprint()", "sum 3\n", "python"
    )
    assert renew(block("1 / 0", "ZeroDivisionError: by 0", "python"))[0] == block(
        "1 / 0", "ZeroDivisionError: division by zero", "python"
    )
    text, said, done = renew(block("echo one 1.5; echo two", "one 2\n\ntwo"))
    assert (text, done) == (block("echo one 1.5; echo two", "one 1.5\n\ntwo"), True)
    assert "page.md:2: 0.0 s\npage.md: written\n" in said


def test_of_an_output_that_is_shown_in_part_the_lines_shown_are_renewed(renew):
    assert renew(block(LOG, "step 20  loss 1\nafter    5 %"))[0] == block(LOG, "step 20  loss 0.20\nafter  97.42 %")
    measured = "<!-- measured -->\n"
    python = "print('a', 1)\nprint('b', 2)\nprint('c', 3)"
    assert renew(block(python, "c 9", "python", measured))[0] == block(python, "c 3", "python", measured)


def test_of_lines_that_look_alike_the_one_with_the_same_numbers_is_taken(renew):
    assert renew(block(LOG, "step 100  loss 0.77"))[0] == block(LOG, "step 100  loss 0.100")
    assert renew(block(LOG, "step 20  loss 1\nstep 100  loss 2"))[0] == block(
        LOG, "step 20  loss 0.20\nstep 100  loss 0.100"
    )


def test_ellipses_stay_and_the_numbers_beside_them_are_renewed(renew):
    assert renew(block(LOG, "...\nafter   9...\nham ..."))[0] == block(LOG, "...\nafter   9...\nham ...")
    assert renew(block(LOG, "after ... 1 %"))[0] == block(LOG, "after ... 97.42 %")
    for language, code, shown in (("bash", "echo 3 4 5 6", "... 5 ..."), ("python", "print('a\\nb 2')", "a... 2")):
        assert renew(block(code, shown, language))[::2] == (block(code, shown, language), True)
    python = "print('a  0.2345 of  12 files'); print('rest'); print('b 7')"
    assert renew(block(python, "a 0.1... of 11 files\n...\nb 6", "python"))[0] == block(
        python, "a 0.2... of 12 files\n...\nb 7", "python"
    )
    assert renew(block("print('a')\nprint('b 7')\nprint('new')", "...\nb 7", "python"))[1:] == (
        "page.md:2: 0.0 s\npage.md: as it was\npage.md:8: more is printed than the page shows\n",
        False,
    )


def test_a_line_whose_words_have_changed_is_taken_where_its_neighbours_leave_as_many(renew):
    shown = "{}\nafter  97.42 %\n{}"
    assert renew(block(LOG, shown.format("step 100  loss 0.1", "spam  88")))[0] == block(
        LOG, shown.format("step 100  loss 0.100", "ham  97")
    )
    assert renew(block("echo spam 3", "ham 4"))[0] == block("echo spam 3", "spam 3")


def test_a_line_that_looks_like_nothing_printed_is_named_and_left(renew):
    shown = "loss of step 10\nafter  {}"
    text, said, done = renew(block(LOG, shown.format("1 %")))
    assert text == block(LOG, shown.format("97.42 %")) and not done
    assert "page.md:9: nothing printed looks like 'loss of step 10'\n" in said


TABLES = (
    r"echo x >> ran; printf 'two\n| r | %s |\n|---|--:|\nwarning\n| a | 2.5 |\n\n| b |\n|---|\nend 7\n' $(wc -l < ran)"
)
MARK = f"<!-- renew: {TABLES} -->\n"
PAGE = f"""# Title  7.5

<!-- one -->
{MARK}| r | 0 |
|---|---|

prose
{MARK}| old |
| rows |
| more |

{MARK}    say
{MARK}FENCEtext
FENCE
"""


def test_tables_and_texts_under_a_mark_become_what_its_command_prints_in_one_run(renew):
    text, said, done = renew(PAGE)
    assert done and said.count(" s\n") == 1
    printed = "two\n| r | 1 |\n|---|--:|\nwarning\n| a | 2.5 |\n\n| b |\n|---|\nend 7"
    indented = "\n".join("    " * bool(line) + line for line in printed.split("\n"))
    wanted = PAGE.replace("| r | 0 |\n|---|---|\n", "| r | 1 |\n|---|--:|\n| a | 2.5 |\n")
    wanted = wanted.replace("| old |\n| rows |\n| more |\n", "| b |\n|---|\n").replace("    say", indented)
    assert text == wanted.replace("FENCEtext\n", f"FENCEtext\n{printed}\n")


def test_a_table_that_is_not_printed_is_named_with_its_new_line(renew):
    text, said, done = renew(f"{PAGE}{MARK}| third |")
    assert text.endswith("\n| third |") and not done
    line = 1 + text[: text.index("| third |")].count("\n")
    assert f"page.md:{line}: {TABLES} prints 2 tables\n" in said


def test_a_mark_with_the_command_of_a_block_takes_what_that_block_printed(renew):
    text, _, done = renew(f"FENCEbash\n{TABLES}\nFENCE\n\n{MARK}| old |\n")
    assert done and text.endswith("| r | 1 |\n|---|--:|\n| a | 2.5 |\n")
    whole = f"<!-- renew: {LOG.splitlines()[0]} -->\nFENCEtext\n{{}}FENCE\n"
    before = f"FENCEbash\n{LOG.splitlines()[0]}\nFENCE\n\n" + whole
    steps = "step 10  loss 0.10\nstep 20  loss 0.20\nstep 100  loss 0.100\n"
    assert renew(before.format("all gone\n"))[::2] == (before.format(steps), True)


def test_all_else_stays_byte_for_byte_and_a_second_run_changes_nothing(page, tmp_path):
    text = "\ufeff# One  \r\n\r\n- item\r\n\r\n  FENCEbash\r\n  echo a 1; echo; echo b 2\r\n  FENCE\r\n\t\r\n"
    text += "  <!-- measured -->\r\n  FENCEtext\r\n  a {}\r\n\r\n  b 2\r\n  FENCE\r\n\x0cprose 0.1 \r\n"
    text += "FENCEpython\nprint('c', 3)\nFENCE\nFENCEtext\nc {}\nFENCE\n"
    text += "<!-- renew: echo '| 4 |'; echo '|---|' -->\n| {} |\n|---|"
    text = text.replace("FENCE", "```")
    path = tmp_path / "page.md"
    path.write_bytes(text.format(8, 8, 8).encode())
    for _ in range(2):
        assert renew_pages.renew(path, tmp_path)
        assert path.read_bytes() == text.format(1, 3, 4).encode()


def test_prose_that_quotes_a_number_that_has_moved_is_named(renew):
    prose = """
# 97.2 %

It was 97.2 % before, and 0.97 is what the new one rounds to as well,
`97.2 %` is code, <!-- cited: 81.1 --> 81.1 % is cited, 12 is small,
and 97.20 % too; 41.5 is printed elsewhere.

<!-- renew: printf '| none | 41.5 |\\n|---|---|\\n' -->
| none | 41.5 |
|---|---|

"""
    _, said, done = renew(prose + block("echo accuracy 0.9655, recall 0.5", "accuracy 0.9720, recall 0.8112"))
    assert [line for line in said.splitlines() if "quotes" in line] == [
        "page.md:4: quotes 97.2 %, which moved",
        "page.md:6: quotes 97.20 %, which moved",
    ]
    assert done


@pytest.mark.parametrize(
    "failing, said",
    [
        ("FENCEbash\necho so; echo far; exit 3\nFENCE\n", "exit code 3, not 0\nso\nfar\n"),
        ("<!-- exits with: 2 -->\nFENCEbash\ntrue\nFENCE\n", "exit code 0, not 2\n"),
        ("FENCEpython\nprint(1)\nraise ValueError('so far')\nFENCE\n", "ValueError: so far\n"),
        ("<!-- renew: echo so far; false -->\n| a |\n", "exit code 1, not 0\nso far\n"),
    ],
)
def test_where_something_fails_the_page_stays_as_it_was(renew, failing, said):
    text = block("echo a 1", "a 2") + "\n" + failing
    after, lines, done = renew(text)
    assert after == text and not done
    assert "page.md:10: " in lines or "page.md:11: " in lines
    assert said in lines and lines.endswith("page.md: left as it was\n")


def test_a_page_that_was_stopped_or_edited_meanwhile_is_not_written(renew, page, tmp_path, monkeypatch):
    text, said, done = renew(block("echo mine >> ../page.md; echo a 1", "a 2"))
    assert text.endswith("a 2\nFENCE\nmine\n") and "was changed while its blocks ran" in said and not done

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    path = page(block("echo a 1", "a 2", marks="") + "\n<!-- renew: stop -->\n| a |\n").path
    before = path.read_bytes()
    monkeypatch.setattr(page_runner, "run_commands", stop)
    with pytest.raises(KeyboardInterrupt):
        renew_pages.renew(path, tmp_path)
    assert path.read_bytes() == before


def test_what_a_page_needs_and_has_not_is_skipped_and_said(renew):
    needs = "<!-- needs: no_such_module -->\n"
    text = needs + block("exit 1", "a 2") + f"\n{needs}<!-- renew: exit 1 -->\n| a |\n"
    after, said, done = renew(text)
    assert after == text and done
    assert [line.split(": ", 1)[1] for line in said.splitlines()[:2]] == ["skipped, needs no_such_module"] * 2


def test_the_command_renews_the_pages_that_it_is_given_and_fails_if_one_could_not_be(page, capsys):
    good = page(block("ls README.md; echo a 1", "README.md\na 2"), "good.md").path
    bad = page(block("exit 1", "a 2"), "bad.md").path
    with pytest.raises(renew_pages.NotRenewedError, match="bad.md") as error:
        renew_pages.main(renew_pages.RenewConfig(pages=(str(bad), str(good))))
    assert error.value.exit_code == 1
    assert "a 1\n" in good.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="not a Markdown page"):
        renew_pages.RenewConfig(pages=("docs/course.ipynb",))
    with pytest.raises(PageError):  # before anything runs
        renew_pages.main(renew_pages.RenewConfig(pages=(str(good), str(page("FENCEbash\n", "open.md").path))))
    assert "good.md:2" in capsys.readouterr().out.split("left as it was")[1]
    assert Page.read(good).blocks[0].output.text == "README.md\na 1\n"
