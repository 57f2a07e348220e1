import pytest

from harness.report.glossary import GLOSSARY, term_of
from harness.report.groups import grouped
from harness.report.tables import results, worst


def test_terms_have_different_names():
    assert len({term.id for term in GLOSSARY}) == len(GLOSSARY)


@pytest.mark.parametrize("table", [results, worst])
def test_every_heading_is_a_term(make_run, table):
    headings = table(grouped([make_run()])[0]).headings
    assert [heading for heading in headings if term_of(heading) is None] == []
