import base64
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from harness import report
from harness.errors import RunError
from harness.report.image_grid import amplified, image_grids
from harness.results import ADVERSARIAL, CLEAN, Check, image_name

FAILED = (
    Check(name="fixed-draw", passed=False, detail="it succeeds on 1 of 4 photographs"),
    Check(name="noise", passed=True, detail="noise does nothing"),
)
NOTHING = {0: 0, 1: 0}
LOADS = {"src", "srcset", "href", "data", "poster", "action", "background"}
VOID = {"meta", "img", "source"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words, self.rows, self.styles = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            self.styles.append(data)
            return
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def blank_plots(monkeypatch):
    """Replaces the plots, because drawing takes most of a page's time."""
    buffer = BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    monkeypatch.setattr("harness.report.figures.drawn_as", lambda *_: buffer.getvalue())


@pytest.fixture(scope="module")
def page(make_run):
    runs = [make_run(), make_run("noise", "none", successes={0: 0, 1: 0}, checks=FAILED)]
    return Page(report.html([(run, None) for run in runs]))


def test_the_page_loads_nothing_and_runs_nothing(page):
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in LOADS:
                assert value.startswith(("data:image/png;base64,", "#"))
    for style in page.styles:
        assert "url(" not in style
        assert "@import" not in style


def test_links_lead_somewhere(page):
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert all(each["href"][1:] in ids for each in page.all("a"))


def test_every_image_is_in_the_page_and_is_described_in_words(page):
    images = page.all("img")
    assert len(images) == 2
    for image in images:
        assert len(image["alt"]) > 20
        content = base64.b64decode(image["src"].partition(",")[2])
        with Image.open(BytesIO(content)) as decoded:
            assert decoded.format == "PNG"


def test_the_figures_are_in_the_page(page):
    (row,) = [r for r in page.rows if r[0] == "fd+rdg" and len(r) == 11]
    assert row == [
        "fd+rdg",
        "bpda",
        "10",
        "l2 ≤ 0.058-bit",
        "20 % [3…66]clean 100 %",
        "80 % [34…97]clean 0 %",
        "100 %clean 0 %",
        "100 %clean 0 %",
        "0.02l∞ 8/255",
        "1,500 gradients0.25 s",
        "✓ 1 met, 1 not done",
    ]


def test_the_page_opens_with_the_verdict_then_bars_photographs_tables_checks_and_terms(
    make_run, with_images
):
    run = make_run("adaptive")
    page = Page(report.html([(run, with_images(run)), (make_run("cw", successes=NOTHING), None)]))
    marks = [
        "An attacker who knows the model and the code of the defence gets 80 % [34…97]",
        "Of all answers to the attacked images:",
        "Photographs",
        "Results of the final iterates",
        "All checks that were made are met",
        "The runs",
        "Terms",
    ]
    assert [page.text.index(mark) for mark in marks] == sorted(map(page.text.index, marks))


def test_a_bar_has_all_answers_of_a_run(page):
    labels = [each["aria-label"] for each in page.all("div") if each.get("role") == "img"]
    assert labels == [
        "the attacker's class: 0 %, another wrong class: 0 %, right: 100 %",
        "the attacker's class: 80 %, another wrong class: 0 %, right: 20 %",
        "the attacker's class: 0 %, another wrong class: 0 %, right: 100 %",
        "the attacker's class: 0 %, another wrong class: 0 %, right: 100 %",
    ]
    widths = [each["style"] for each in page.all("i") if "style" in each]
    assert widths == ["width: 100.00%", "width: 80.00%", "width: 20.00%", *["width: 100.00%"] * 2]


def test_each_heading_has_its_meaning_and_leads_to_it_by_keyboard(page):
    terms = [each for each in page.all("a") if each.get("class") == "term"]
    assert {"#term-acc", "#term-asr", "#term-checks", "#term-fixed-draw"} <= {
        each["href"] for each in terms
    }
    assert all(len(each["aria-description"]) > 20 for each in terms)
    assert any("a.term:is(:hover, :focus-visible)::after" in style for style in page.styles)


def test_a_check_that_was_not_met_does_not_read_as_a_failed_attack(page):
    assert "! 1 of 2 runs did not meet a check." in page.text
    assert "check fixed-draw not met. it succeeds on 1 of 4 photographs" in page.text
    assert "failed" not in page.text
    (row,) = [r for r in page.rows if r[1:2] == ["noise"] and len(r) == 11]
    assert row[0] == "none! check not met"
    assert row[-1] == "! check fixed-draw not met: says little"
    # The matrix: fixed-draw, gradients, noise.
    matrix = [r[2:] for r in page.rows if len(r) == 5]
    assert matrix[1:] == [
        ["✓ met", "– not done", "– not done"],
        ["! not met", "– not done", "✓ met"],
    ]
    assert [("open" in each) for each in page.all("details")] == [False, True]


@pytest.mark.usefixtures("blank_plots")
def test_the_verdict_on_the_checks_is_that_all_are_met_or_that_nothing_is_known(make_run):
    met = Page(report.html([(make_run(), None)])).text
    assert "✓ All checks that were made are met , in the only run." in met
    unknown = Page(report.html([(make_run(checks=()), None)])).text
    assert "? 1 of 1 runs was not checked" in unknown
    assert "All checks" not in unknown


@pytest.mark.usefixtures("blank_plots")
def test_notes_are_in_the_page(make_run):
    page = Page(report.html([(make_run(), None)], ["Left out: <b>"]))
    assert "Left out: <b>" in page.text


@pytest.mark.usefixtures("blank_plots")
def test_foreign_text_is_not_markup(make_run):
    evil = '"><script>alert(1)</script><img src=http://evil/x>'
    run = make_run(evil, evil, dataset=evil, model=evil, parameters={evil: evil})
    run = run.model_copy(update={"checks": (Check(name=evil, passed=False, detail=evil),)})
    page = Page(report.html([(run, None)]))
    assert page.all("script") == []
    assert len(page.all("img")) == 2
    assert "<script>alert(1)</script>" in page.text


@pytest.mark.usefixtures("blank_plots")
def test_groups_have_their_own_sections(make_run):
    page = Page(report.html([(make_run(), None), (make_run(model="v3"), None)]))
    assert "on 2 different sets" in page.text
    assert page.words.count("lite2 · nips · 4 images") == 2  # the checks, and its section
    assert page.words.count("v3 · nips · 4 images") == 2
    assert len(page.all("img")) == 4


def test_the_page_is_the_same_each_time(make_run):
    runs = [(make_run(), None)]
    assert report.html(runs) == report.html(runs)


@pytest.mark.usefixtures("blank_plots")
def test_the_image_grid(make_run, with_images):
    run = make_run()
    page = Page(report.html([(run, with_images(run))]))
    captions = re.findall(r"Original|Adversarial|Difference ×8|Defended", page.text)
    assert captions == ["Original", "Adversarial", "Difference ×8", "Defended"] * 4
    pictures = [each for each in page.all("img") if "images/0.png" in each["alt"]]
    assert [each["alt"].split(",")[0] for each in pictures] == [
        "Original",
        "Adversarial",
        "Difference ×8",
        "Defended",
    ]
    content = base64.b64decode(pictures[2]["src"].partition(",")[2])
    with Image.open(BytesIO(content)) as difference:
        assert np.asarray(difference).tolist() == np.full((24, 32, 3), 136).tolist()
    assert "Wanted: great white shark. Answered: great white shark, 8 of 10" in page.text
    assert "fd+rdg, on a fresh draw" in page.text


@pytest.mark.parametrize("kinds", [(), (CLEAN,), (ADVERSARIAL,)])
@pytest.mark.usefixtures("blank_plots")
def test_a_run_without_its_images_has_no_image_grid(make_run, with_images, kinds):
    run = make_run()
    page = Page(report.html([(run, with_images(run, kinds))]))
    assert len(page.all("img")) == 2
    assert "Original" not in page.text


def test_the_image_grid_has_the_first_available_images(make_run, with_images):
    run = make_run()
    folder = with_images(run)
    (folder / ADVERSARIAL / image_name("images/0.png")).unlink()
    assert [each.file for each in image_grids(run, folder, 2)] == ["images/1.png", "images/2.png"]


def test_an_unknown_defence_is_not_shown(make_run, with_images):
    run = make_run(defense="jpeg(75)")
    (grid, *_) = image_grids(run, with_images(run), 1)
    assert [each.heading for each in grid.pictures] == ["Original", "Adversarial", "Difference ×8"]


def test_the_classes_of_a_model_with_its_own_labels_have_no_names(make_run, with_images):
    run = make_run(labels="own")
    (grid,) = image_grids(run, with_images(run), 1)
    assert grid.pictures[0].caption.startswith("Label: class 1. Answered: class 1, 10 of 10")


def test_large_images_are_scaled_down(make_run, with_images):
    run = make_run(images=1)
    (grid,) = image_grids(run, with_images(run, size=(300, 600)), 1)
    content = base64.b64decode(grid.pictures[0].uri.partition(",")[2])
    with Image.open(BytesIO(content)) as image:
        assert image.size == (299, 150)


def test_a_file_that_is_not_an_image_is_named(make_run, with_images):
    run = make_run()
    folder = with_images(run)
    (folder / CLEAN / image_name("images/0.png")).write_bytes(b"GIF")
    with pytest.raises(RunError, match=r"images_0\.png-\w+\.png cannot be read"):
        image_grids(run, folder, 1)


def test_an_adversarial_example_of_another_size_is_refused(make_run, with_images):
    run = make_run()
    folder = with_images(run)
    Image.new("RGB", (9, 9)).save(folder / ADVERSARIAL / image_name("images/0.png"))
    with pytest.raises(RunError, match="has another size"):
        image_grids(run, folder, 1)


def test_a_difference_is_clipped_and_does_not_wrap_around():
    clean = np.array([[[100, 100, 0]]], np.uint8)
    adversarial = np.array([[[99, 140, 255]]], np.uint8)
    assert amplified(clean, adversarial).tolist() == [[[120, 255, 255]]]
    assert amplified(adversarial, clean).tolist() == [[[136, 0, 0]]]
