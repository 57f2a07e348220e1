"""The dossier for auditors: what the service stops, with the evidence, in HTML and JSON.

::

    runs ── assess ──┬── threats        NIST's terms and the ATLAS techniques of each attack
      │              ├── aisvs          the rows of OWASP AISVS C11, each a function
      │              ├── metrics        the figures that the AI Act wants declared
      │              └── robustbench    whether its rules accept the defence
      └── command    the line that makes a run again
                     ▼
                   build ── Dossier ──┬── dossier.json
                                      └── page ── dossier.html

``standards`` has every version, address and identifier. The same runs give the same bytes, because
a dossier has no clock, no random number and no order of a set or of arguments.
"""

from harness.report.evidence.build import build
from harness.report.evidence.model import Dossier
from harness.report.evidence.page import html

HTML_FILE, JSON_FILE = "dossier.html", "dossier.json"


def files(dossier: Dossier) -> dict[str, str]:
    """Return the text of each file of a dossier, by the file's name."""
    return {JSON_FILE: dossier.json_text(), HTML_FILE: html(dossier)}


__all__ = ["HTML_FILE", "Dossier", "build", "files"]
