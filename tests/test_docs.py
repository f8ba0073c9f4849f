"""Every code block of the documentation is run by ``.ci/run``, or says why not."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

spec = importlib.util.spec_from_file_location("blocks", ROOT / ".ci" / "blocks.py")
blocks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(blocks)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_says_why_not(page):
    found = blocks.blocks(page)
    assert len(found) == page.read_text().count("\n```") // 2, "a code block is not closed or has no language"
    for mark, text, language, code in found:
        assert language in {*blocks.COMMANDS, "text"} or mark == "not run", code
        assert mark != "not run" or len(text) > 10, "give a reason"
        if language == "python":
            ast.parse(code)


def test_the_named_blocks_are_those_that_ci_runs():
    names = {text for page in PAGES for mark, text, _, _ in blocks.blocks(page) if mark == "ci"}
    run = (ROOT / ".ci" / "run").read_text()
    assert names == {"demo", "tests"}
    assert all(f"{name} README.md" in run for name in names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    targets = blocks.re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
