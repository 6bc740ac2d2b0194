"""The page: what it says first, that it needs no network, and that it believes no name it prints."""

import re
from html.parser import HTMLParser

import pytest

from taxaforge.evaluation.schema import VERDICT
from taxaforge.evaluation.verdict import CORE_CONTROLS
from taxaforge.report import words
from taxaforge.report.page import write
from taxaforge.tables import BrokenContract

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text, self.hidden = [], [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def words(self):
        return " ".join(" ".join(self.text).split())


def test_the_page_loads_nothing_from_anywhere(shown):
    page = Page(shown().html)
    assert not page.open
    loads = [a[key] for _, a in page.tags for key in ("src", "href", "srcset", "data", "action") if key in a]
    assert loads and all(value.startswith(("data:image/", "#")) for value in loads)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    style = re.search(r"<style>(.*?)</style>", shown().html, re.S).group(1)
    assert "url(" not in style and "@import" not in style


def test_the_verdict_stands_before_everything_else_and_in_words(shown):
    text = Page(shown().html).words()
    assert text.index("Do not use") < text.index("What was done")
    assert text.index("Inconclusive") < text.index("What was done")
    assert "No synthetic images are shown to help this classifier. Do not use cfg." in text
    assert "all: the reason in one sentence." in text and "-1.8 to +0.6" in text


@pytest.mark.parametrize("verdict", words.VERDICTS)
def test_every_verdict_stands_in_the_same_place_and_size(world, verdict):
    w = world(species=1, methods=("cfg",), seeds=1, verdicts=(verdict,))
    write(settings={}, provenance={}, verdict=w.verdict, out=w.page)
    html = w.page.read_text("utf-8")
    page = Page(html)
    assert words.VERDICTS[verdict][0] in page.words()
    cards = [a["class"] for tag, a in page.tags if tag == "section"]
    assert len(cards) == 1 and cards[0].startswith("verdict ")
    assert re.findall(r"\.verdict \.word \{[^}]*\}", html) == [
        ".verdict .word { font-size: 1.5rem; font-weight: 700; color: var(--tone); margin: 0; }"
    ]


@pytest.mark.parametrize("rows, answer", [
    ([], "This run compared no method, so it cannot say whether synthetic images help."),
    ([("a", "adopt")], "Synthetic images from a help this classifier."),
    ([("a", "adopt"), ("b", "do not use")], "Synthetic images from a help this classifier. Do not use b."),
    ([("a", "inconclusive")], "No synthetic images are shown to help this classifier. Whether a helps is not settled."),
])  # fmt: skip
def test_the_answer_of_the_run(rows, answer):
    assert words.headline([{"method": method, "verdict": verdict} for method, verdict in rows]) == answer


def test_every_picture_has_words_and_every_heading_its_order(shown):
    page = Page(shown().html)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 11 and all(len(image["alt"]) > 20 for image in images)
    headings = [tag for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert headings[0] == "h1" and headings.count("h1") == 1 and "h4" not in headings
    assert sum(tag == "figcaption" for tag, _ in page.tags) == len(images)


def test_a_hostile_name_is_text_and_nothing_else(shown):
    hostile = "<script>alert('x')</script> \"onload=1 $\\frac{1$"
    w = shown(species=1, methods=("cfg",), seeds=1, name=hostile)
    assert "<script" not in w.html and "&lt;script&gt;" in w.html
    page = Page(w.html)
    assert hostile in " ".join(page.text)
    assert any(hostile in attributes.get("alt", "") for tag, attributes in page.tags if tag == "img")


def test_what_is_missing_is_named_on_the_page(world, tmp_path):
    w = world()
    write(settings={}, provenance={"seed": 7}, out=w.page, verdict=tmp_path / "nowhere.csv")
    text = Page(w.page.read_text()).words()
    for what in ("This run has no verdict", "accuracies", "paired comparisons", "costs", "table of names", "ledger"):
        assert what in text
    assert text.count("No figure") == 11


def test_a_run_without_methods_says_so(shown):
    text = Page(shown(species=1, methods=(), seeds=1).html).words()
    assert "compared no method" in text and "No figure “Image metrics”" in text


def test_caveats_name_the_simulation_the_missing_controls_and_the_tags(shown):
    text = Page(shown().html).words()
    assert "never depict" in text and "balanced sampling" in text and "random drop" in text
    assert "Only 3 seeds" in text and "follows code that the method's authors released" in text
    rows = [{"method": "m", "evidence": "reconstruction", "missing_controls": ""}]
    told = " ".join(words.caveats({"collection": {"source": "folder"}}, rows, [], CORE_CONTROLS))
    assert "m is tagged “reconstruction”" in told and "never depict" not in told and "did not run" not in told


def test_runs_that_are_joined_are_said_to_share_the_verdict_and_what_they_do_not_share():
    told = " ".join(words.caveats({"evaluation": {"beside": ["a", "b"]}}, [], [], CORE_CONTROLS))
    assert "count 3 runs" in told and "an audit that failed in one of them is in the verdict" in told
    for alone in ("audits", "image metrics", "confusion", "species without training images", "cost"):
        assert alone in told.partition("in the verdict.")[2].partition("of this run alone")[0]


def test_ranges_of_image_metrics_are_not_called_intervals(shown):
    page = shown().html
    section = page[page.index('id="images"') : page.index('id="audits"')]
    assert '<th scope="col" class="n">range</th>' in section and ">interval<" not in section


def test_the_recognised_share_is_told_with_its_lower_bound_beside_real():
    row = {"metric": "recognised", "scope": "all", "n": 200, "value": 0.9, "low": 0.85, "floor": 0.95}
    told = words.recognised([{**row, "method": "real", "value": 0.96}, {**row, "method": "cfg"}])
    assert told == [
        "cfg: the judge names the species in 90% of 200 kept images, that is ≥ 85% (lower end of the 95% interval); "
        "for unseen real images it is 96%."
    ]


def test_settings_and_provenance_are_printed_but_not_where_results_are_tracked(shown, tmp_path):
    w = shown(species=1, methods=("cfg",), seeds=1)
    settings = {**w.settings, "runtime": {"tracking_uri": "http://me:secret@host"}, "tracking": {"experiment": "e"}}
    write(**w.page_inputs, settings=settings, provenance=w.provenance, out=tmp_path / "p.html")
    text = Page((tmp_path / "p.html").read_text("utf-8")).words()
    assert "secret" not in text and "guidance.cfg.scale" in text and "abc1234" in text and "0123456789ab" in text


def test_the_same_run_gives_the_same_page(shown):
    w = shown()
    write(**w.page_inputs, settings=w.settings, provenance=w.provenance, out=w.root / "again.html")
    assert (w.root / "again.html").read_text("utf-8") == w.html


def test_a_table_that_breaks_its_contract_stops_the_page(world):
    w = world(species=1, methods=("cfg",), seeds=1)
    w.verdict.write_text(w.verdict.read_text().replace("missing_controls", "renamed"))
    with pytest.raises(BrokenContract, match=VERDICT.name):
        write(settings={}, provenance={}, verdict=w.verdict, out=w.page)


def test_every_metric_that_is_drawn_is_explained():
    from taxaforge.report.result_figures import METRICS

    assert set(METRICS) == set(words.METRICS)
