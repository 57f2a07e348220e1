import re
import shutil
import subprocess
from html import escape

import pytest

from service.evaluate.page import html
from service.evaluate.report import Selective, Unreadable

ROWS = [("fd+rdg", 1, 170), ("fd+rdg", 8, 186), ("rdg", 1, 180)]


@pytest.fixture
def page(make_report):
    return html(make_report(rights=ROWS))


def test_the_page_has_the_advice_and_all_figures(page):
    assert "Recommended: fd+rdg with 8 draws." in page
    assert "warpguard serve --model colours --defense fd+rdg --draws 8" in page
    assert page.count('role="listitem"') == 4
    assert page.count('<tr><th scope="row">') == 4
    assert "85 %" in page
    assert "[79…89]" in page


def test_the_page_needs_nothing_else(page):
    assert not re.search(r"https?://|\ssrc=|<script|<link|@import|url\(", page)


def test_the_chart_places_shares_between_its_ends(page):
    places = [float(each) for each in re.findall(r'class="dot" style="left:([\d.]+)%"', page)]
    assert "<span>70 %</span><span>100 %</span>" in page
    expected = [100 * (right / 200 - 0.7) / 0.3 for right in (190, 170, 186, 180)]
    assert places == pytest.approx(expected, abs=0.01)


def test_names_are_text_and_not_markup(make_report):
    evil = "<script>alert(1)</script>"
    report = make_report(
        rights=ROWS,
        data=evil,
        model=evil,
        unreadable=(Unreadable(file=evil, message=evil),),
        notes=(evil,),
    )
    assert "<script" not in html(report)
    assert html(report).count("&lt;script&gt;") >= 5


def test_what_was_left_out_is_named(make_report):
    report = make_report(
        rights=ROWS, unreadable=(Unreadable(file="a.png", message="It is cut short."),)
    )
    assert "1 file is left out, because it cannot be classified: a.png (It is cut short.)" in html(
        report
    )


def test_selective_accuracies_have_a_table(make_report):
    report = make_report(rights=ROWS)
    selective = (Selective(agreement=1.0, answered=0.8, right=0.975),)
    rows = tuple(row.model_copy(update={"selective": selective}) for row in report.rows[2:3])
    page = html(report.model_copy(update={"rows": (*report.rows[:2], *rows)}))
    assert "<td>80 %, 98 % right</td>" in page


@pytest.mark.parametrize("width_px", [390, 1280])
def test_the_page_is_no_wider_than_its_window(make_report, tmp_path, width_px):
    if shutil.which("chromium") is None:
        pytest.skip("Chromium is not installed")
    long = "rdg(grid=26,delta=0.15)+rand(largest=330,canvas=400)"
    page = html(make_report(rights=[*ROWS, (long, 8, 150)], data="photographs-" * 8))
    frame = f'<iframe id="page" srcdoc="{escape(page)}" style="width: {width_px}px"></iframe>'
    measure = "document.title = page.contentDocument.documentElement.scrollWidth"
    file = tmp_path / "frame.html"
    file.write_text(f"<title></title>{frame}<script>onload = () => {{ {measure} }}</script>")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(re.search(r"<title>(\d+)</title>", done.stdout)[1]) <= width_px
