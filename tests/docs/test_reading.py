"""The machinery behind the pages' tests finds what is wrong with a page: planted outputs, errors, links and numbers."""

import pytest

from scripts.page_figures import unprinted
from scripts.page_lines import unmatched_lines
from scripts.page_runner import run_bash, run_commands, run_python
from scripts.pages import PageError, broken_links
from tests.docs.test_pages import numbered_answers

SUM = """
    FENCEpython
    x = 2
    FENCE

    Prose between.

    FENCEpython
    print("sum", x + 2)
    FENCE

    FENCEtext
    sum {}
    FENCE
"""


def test_blocks_of_a_page_share_a_namespace_and_their_output_is_compared(page):
    assert run_python(page(SUM.format(4))) == []
    assert run_python(page(SUM.format("..."))) == []
    (complaint,) = run_python(page(SUM.format(5)))
    assert "page.md:9" in complaint and "sum 5" in complaint and "sum 4" in complaint


RAISING = """
    FENCEpython
    print("before")
    {}
    FENCE
    {}
"""
SHOWN = """
    FENCEtext
    before
    ZeroDivisionError: {}
    FENCE
"""


def test_a_block_may_raise_only_what_the_page_shows(page):
    assert run_python(page(RAISING.format("1 / 0", SHOWN.format("division by zero")))) == []
    (unshown,) = run_python(page(RAISING.format("1 / 0", "")))
    assert "page.md:3" in unshown and "1 / 0" in unshown  # the traceback with the page's own line
    assert run_python(page(RAISING.format("1 / 0", SHOWN.format("something else"))))
    assert run_python(page(RAISING.format("pass", SHOWN.format("division by zero"))))


@pytest.mark.parametrize(
    "code, complaint",
    [
        ("def f():\n    pass\nprint(1)", "SyntaxError"),  # no empty line behind the function
        ("def f():\n    a = 1\n\n    return a", "IndentationError"),  # one inside it
        ("[1, 2].copy()", "the interpreter echoes: [1, 2]"),
        ("for i in (7,):\n    i + 1", "the interpreter echoes: 8"),
        ("import torch\nprevious = torch.set_grad_enabled(False)", "gradients are off"),
        ("import torch\ntorch.set_default_dtype(torch.float64)", "the default dtype"),
    ],
)
def test_a_block_that_cannot_be_pasted_as_it_stands_is_found(page, code, complaint):
    (found,) = run_python(page(f"FENCEpython\n{code}\nFENCE\n"))
    assert "page.md:2" in found and complaint in found


def test_a_page_seeds_itself_and_the_generator_that_this_shows_is_no_echo(page):
    seeded = "import torch\ntorch.manual_seed(0)\nprint(round(torch.rand(1).item(), 2))"
    assert run_python(page(f"FENCEpython\n{seeded}\nFENCE\n\nFENCEtext\n0.5\nFENCE\n")) == []


def test_an_error_of_another_module_is_shown_as_the_interpreter_shows_it(page):
    text = "FENCEpython\nimport json\ndecoded = json.loads('a')\nFENCE\n\nFENCEtext\n{}: Expecting value...\nFENCE\n"
    assert run_python(page(text.format("json.decoder.JSONDecodeError"))) == []
    assert run_python(page(text.format("JSONDecodeError")))


def test_a_block_is_left_out_where_what_it_needs_is_absent(page):
    text = "<!-- needs: {} -->\nFENCEpython\nraise ValueError\nFENCE\n"
    assert run_python(page(text.format("no_such_module"))) == []
    assert run_python(page(text.format("json, runs/none"))) == []
    assert len(run_python(page(text.format("json")))) == 1


COMMANDS = """
    FENCEbash
    python -c "print('one'); print('two 2.5'); print('three')"  # a comment
    mkdir runs
    FENCE

    FENCEtext
    {}
    FENCE

    FENCEbash
    ls -d runs
    {}
    FENCE
"""


def test_commands_run_in_order_and_their_output_is_looked_for(page, tmp_path):
    def complaints(shown: str, last: str = "true") -> list[str]:
        run_commands("rm -rf runs", tmp_path)
        return run_bash(page(COMMANDS.format(shown, last)), tmp_path)

    assert complaints("one\n    three") == [] == complaints("...wo ...")
    assert "'one'" in complaints("three\n    one")[0], "the order counts"
    assert "'two'" in complaints("two")[0], "a line is a whole line"
    assert "exit code 3, not 0" in complaints("one", "exit 3")[0]


def test_a_command_that_must_fail_says_with_which_code(page, tmp_path):
    text = "<!-- exits with: 2 -->\nFENCEbash\nexit {}\nFENCE\n"
    assert run_bash(page(text.format(2)), tmp_path) == []
    assert "exit code 0, not 2" in run_bash(page(text.format(0)), tmp_path)[0]


MEASURED = """
    FENCEbash
    true
    FENCE
    <!-- measured -->
    FENCEtext
    {}
    FENCE
"""


def test_measured_numbers_may_differ_and_words_may_not(page):
    shown = page(MEASURED.format("after (LoRA)     95.48 %   -0.180   1,115 rows   12.5 s")).blocks[0].output
    assert unmatched_lines(shown, "after (LoRA)      89 %    0.2  1,115 rows   7 s\n") == []
    assert unmatched_lines(shown, "after (LoRA)      89 %    0.2  1,115 lines  7 s\n")
    assert unmatched_lines(shown, "after (LoRA)      89 %    nan  1,115 rows   7 s\n")


def test_of_measured_numbers_neither_large_counts_nor_shares_may_be_of_another_run(page):
    shown = page(MEASURED.format("weights 4,274,176   right  95.48 %")).blocks[0].output
    assert unmatched_lines(shown, "weights 4,274,176   right  86 %\n") == []
    assert unmatched_lines(shown, "weights 5,322,752   right  95.48 %\n")
    assert unmatched_lines(shown, "weights 4,274,176   right  85 %\n")


def test_python_blocks_may_use_what_the_commands_of_the_page_have_made(page, tmp_path):
    text = """
        FENCEbash
        mkdir -p runs/made
        FENCE

        <!-- needs: runs/made -->
        FENCEpython
        raise ValueError("ran")
        FENCE
    """
    assert run_python(page(text)) == []
    assert "ValueError: ran" in run_bash(page(text), tmp_path)[0]


def test_links_are_followed_to_files_and_headings(page, tmp_path):
    page("# One\n\n## 0.65 % of the weights, `two` thirds\n\n## Again\n\n## Again\n", "other.md")
    good = "other.md other.md#one other.md#065--of-the-weights-two-thirds other.md#again-1 #here https://x.org"
    bad = "othr.md other.md#two other.md#again-2 #there"
    links = " ".join(f"[a link]({target})" for target in f"{good} {bad}".split())
    found = broken_links(page(f"# Here\n\n{links} `[code](gone.md)` ![picture](gone.svg)\n"))
    assert [complaint.split(":")[0] for complaint in found] == [*bad.split(), "gone.svg"]


NUMBERS = """
    # 7.5 of 10 headings

    In 2021 (arXiv 2106.09685) with torch 2.13.0, GPT-2 and `lora_alpha=32.5`: {}

    FENCEbash
    python train.py
    FENCE

    FENCEtext
    accuracy 0.8709, 1,115 rows, 124,439,808 weights
    FENCE

    | run | score |
    | a | 98.71 |

    ## No command here

    | b | 12.34 |

    <!-- cited: 91, 12.34 -->
"""


@pytest.mark.parametrize(
    "prose",
    ["87.09 %", "87.1 %", "0.871", "1115 rows", "124 million", "124.4 M", "7 of 10", "98.7", "91 %", "2e-5", "bf16"],
)
def test_a_number_that_is_printed_in_a_table_under_a_command_or_cited_passes(page, prose):
    assert unprinted(page(NUMBERS.format(prose))) == []


@pytest.mark.parametrize("prose", ["87.2 %", "1,116", "125 million", "0.5", "98.72", "90 %"])
def test_a_number_that_nothing_prints_is_found(page, prose):
    assert unprinted(page(NUMBERS.format(prose))) == [prose]


def test_a_number_in_a_table_that_no_command_makes_is_found(page):
    assert unprinted(page(NUMBERS.format("").replace(", 12.34", ""))) == ["12.34"]


@pytest.mark.parametrize("prose, missing", [("12.3", []), ("12.4", ["12.4"])])
def test_the_numbers_of_a_table_or_a_text_with_a_renew_mark_count_as_printed(page, prose, missing):
    mark = "<!-- renew: python train.py -->"
    for marked in ("| a | 12.34 |", "FENCEtext\na 12.34\nFENCE", "    a 12.34"):
        assert unprinted(page(f"{prose}\n\n{mark}\n{marked}\n")) == missing


def test_a_renew_mark_stands_right_above_what_it_renews(page):
    marks = "<!-- measured -->\n<!-- renew: python train.py -->\n"
    text = f"{marks}| a |\n| b |\n\n{marks}    one\n\n    two\n\n{marks}FENCEtext\nthree\nFENCE\n"
    blocks = page(text).renewed
    assert [block.text for block in blocks] == ["| a |\n| b |\n", "one\n\ntwo\n", "three\n"]
    assert all({*block.marks} == {"measured", "renew"} for block in blocks)
    for below in ("\n| a |\n", "prose\n", "FENCEbash\ntrue\nFENCE\n", ""):
        with pytest.raises(PageError, match="page.md:2: no table and no text"):
            page(marks + below).renewed  # noqa: B018


def test_questions_are_told_apart_by_their_numbers(page):
    text = "**1. Why?**\n\nBecause [so](a.md).\n\n## Group\n\n**2. How?**\n\nLike\nthis.\n"
    assert numbered_answers(page(text)) == {1: "Because [so](a.md).", 2: "Like this."}


def test_a_fence_that_is_never_closed_is_an_error(page):
    with pytest.raises(ValueError, match="page.md:2: a fence is opened"):
        page("FENCEpython\nx = 1\n").blocks  # noqa: B018
