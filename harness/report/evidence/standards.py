"""The standards as data: versions, addresses, identifiers, and subjects in our words.

No sentence of a standard is copied. What was read, and what was not at hand:

- OWASP AISVS 1.0, C11: the requirements with their levels were read in a bilingual copy of the
  locked folder ``1.0/`` of the standard's repository, whose English side is the original.
- NIST AI 100-2 E2025: the terms and identifiers were read in indices and summaries of this
  edition. Its own PDF was not at hand, so no page and no number below section 2.2 is cited.
- MITRE ATLAS 5.6.0: identifiers and names were read in copies of its data. Later releases rename
  some techniques, so the version is pinned.
- Regulation (EU) 2024/1689: Article 15 and Article 13(3)(b)(ii) were read in full. Dates of
  application were not looked up, and no harmonised standard is cited.
- RobustBench: the rules were read in the README of its repository.
"""

from typing import Final

from harness.report.evidence.model import Source, Technique

AISVS: Final = Source(
    key="aisvs",
    name="OWASP Artificial Intelligence Security Verification Standard, chapter C11",
    version="1.0 (2026)",
    address="https://github.com/OWASP/AISVS/blob/main/1.0/en/0x10-C11-Adversarial-Robustness.md",
)
NIST: Final = Source(
    key="nist",
    name="NIST AI 100-2, Adversarial Machine Learning: A Taxonomy and Terminology",
    version="E2025 (March 2025), section 2.2",
    address="https://doi.org/10.6028/NIST.AI.100-2e2025",
)
ATLAS: Final = Source(
    key="atlas",
    name="MITRE ATLAS",
    version="5.6.0",
    address="https://github.com/mitre-atlas/atlas-data",
)
AI_ACT: Final = Source(
    key="ai-act",
    name="Artificial Intelligence Act, Regulation (EU) 2024/1689",
    version="Articles 13(3)(b)(ii) and 15, as published on 12 July 2024",
    address="https://eur-lex.europa.eu/eli/reg/2024/1689/oj",
)
ROBUSTBENCH: Final = Source(
    key="robustbench",
    name="RobustBench, README, Main idea",
    version="arXiv:2010.09670",
    address="https://github.com/RobustBench/robustbench#main-idea",
)
SOURCES: Final = (AISVS, NIST, ATLAS, AI_ACT, ROBUSTBENCH)

# NIST AI 100-2 E2025. Transferability has a section of its own and no identifier.
EVASION: Final = "evasion (NISTAML.022)"
WHITE_BOX: Final = "white-box"
BLACK_BOX: Final = "black-box evasion (NISTAML.025)"
SCORE_BASED: Final = "score-based"
DECISION_BASED: Final = "decision-based"
TRANSFER: Final = "transferability"

WHITE_BOX_OPTIMIZATION: Final = Technique(id="AML.T0043.000", name="White-Box Optimization")
BLACK_BOX_OPTIMIZATION: Final = Technique(id="AML.T0043.001", name="Black-Box Optimization")
BLACK_BOX_TRANSFER: Final = Technique(id="AML.T0043.002", name="Black-Box Transfer")
FULL_ACCESS: Final = Technique(id="AML.T0044", name="Full AI Model Access")
API_ACCESS: Final = Technique(id="AML.T0040", name="AI Model Inference API Access")
VERIFY: Final = Technique(id="AML.T0042", name="Verify Attack")
EVADE: Final = Technique(id="AML.T0015", name="Evade AI Model")

DECLARED: Final = "15(3), 13(3)(b)(ii)"
"""Accuracy: the Act wants its levels and metrics in the instructions for use."""
RESILIENCE: Final = "15(5), 13(3)(b)(ii)"
"""Resilience against inputs that are made to cause a mistake. The Act names no threshold."""
