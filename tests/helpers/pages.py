"""README.md and the pages of docs/, with what a reader would copy from them."""

import re

from conftest import ROOT

README = "README.md"
FOLLOWED_ELSEWHERE = "docs/your-own-project.md"  # by a test of its own, in a fresh environment
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / README, *sorted((ROOT / "docs").rglob("*.md")))
    if path != ROOT / FOLLOWED_ELSEWHERE
}


def listings(page: str, language: str) -> list[str]:
    """The blocks of code in that language on a page, outside of tabs."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every command line of the pages, without its comment, once."""
    lines = [line for page in PAGES for block in listings(page, "bash") for line in block.splitlines()]
    return list(dict.fromkeys(re.split(r"\s+#", line)[0].strip() for line in lines if line.strip()))
