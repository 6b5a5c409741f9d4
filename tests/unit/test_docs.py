"""What the guides say of the code is so."""

import re
import subprocess
import sys
from pathlib import Path

from sweep.status import Reason, Status

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_of_options_is_what_the_configuration_says() -> None:
    made = subprocess.run([sys.executable, ROOT / "scripts/options.py"], capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "docs" / "options.md").read_text(), "run scripts/options"


def test_every_reason_has_what_to_do_about_it() -> None:
    table = (ROOT / "docs" / "reading.md").read_text().partition("## Statuses")[2].partition("\n## ")[0]
    status, said = "", {}
    for line in table.splitlines():
        first, *rest = [cell.strip() for cell in line.strip("|").split("|")]
        if found := re.fullmatch(r"`(\w+)`", first):
            status = found[1]
        for reason in re.findall(r"`([\w-]+)`", rest[0] if rest else ""):
            said[reason] = (status, rest[-1])
    assert {reason: status for reason, (status, _) in said.items()} == {r.value: r.status.value for r in Reason}
    assert all(what for _, what in said.values())
    assert all(f"`{status}`" in table for status in Status)


def test_links_between_the_guides_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
