"""The page, as a reader's browser shows it, and what it must never let a dataset do to that browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from audit.report.__main__ import main
from audit.report.gallery import Card, Gallery
from audit.report.page import script_data
from audit.report.results import read_result
from contract.dataset import read_dataset
from contract.schemas import CABIN
from runtime.generate import main as generate
from tests.audit.chromium import PROGRAM, Chromium
from tests.fake_bundle import write_fake_bundle

pytest.importorskip("jinja2", reason="Jinja2 isn't installed: pip install '.[audit]'")

ROOT = Path(__file__).parents[2]
FRAMES = 60
PHONE = 390
"""CSS pixels: the width of a common phone."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_fake_bundle(folder / "bundle", annotator=True)
    options = ["-n", str(FRAMES), "--backend", "cpu", "--seed", "3"]
    assert generate([str(folder / "bundle"), "-o", str(folder / "frames"), *options]) == 0
    return folder / "frames"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the audits and benchmarks of this repository measured, and a utility study of two arms."""
    folder = tmp_path_factory.mktemp("results")
    for name in ("fidelity-cabin128.json", "benchmarks-cpu.json"):
        shutil.copy(ROOT / "benchmarks" / "results" / name, folder)
    (folder / "utility.json").write_text(json.dumps(UTILITY))
    (folder / "other.json").write_text("{}")
    return folder


UTILITY_METRIC = {"mean": 0.5, "low": 0.4, "high": 0.6}
METRICS = ("accuracy", "recall", "precision", "macro_f1", "worst_class_recall")
UTILITY = {
    "domain": "shifted",
    "seeds": [0, 1],
    "arms": {name: dict.fromkeys(METRICS, UTILITY_METRIC) for name in ("real", "real + synthetic")},
}


@pytest.fixture(scope="module")
def page(dataset: Path, results: Path) -> Path:
    path = dataset.parent / "report.html"
    assert main([str(dataset), "-o", str(path), "--results", str(results), "--title", "Cabin <b>"]) == 0
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if PROGRAM is None:
        pytest.skip("no Chromium on this machine: apt install chromium")
    with Chromium(tmp_path_factory.mktemp("browser")) as found:
        yield found


def visible(browser: Chromium) -> int:
    count: int = browser.evaluate("[...document.querySelectorAll('.card')].filter(card => !card.hidden).length")
    return count


def test_every_picture_loads_and_nothing_is_asked_of_the_network(browser: Chromium, page: Path) -> None:
    browser.open(page)
    assert browser.evaluate("[...document.querySelectorAll('.card img')].length") == FRAMES
    broken = (
        "[...document.querySelectorAll('.card img')].filter(image => !image.complete || !image.naturalWidth).length"
    )
    assert browser.evaluate(broken) == 0
    assert browser.errors() == []
    assert browser.requests() == [page.resolve().as_uri()]


def test_filters_show_the_frames_that_the_records_say(browser: Chromium, page: Path, dataset: Path) -> None:
    records = list(read_dataset(dataset).records())
    browser.open(page)
    browser.evaluate("document.querySelector('input[name=lighting][value=night]').click()")
    browser.evaluate("document.querySelector('input[name=lighting][value=tunnel]').click()")
    browser.evaluate("document.querySelector('input[name=gender][value=female]').click()")
    found = [r for r in records if r["lighting"] in ("night", "tunnel") and r["gender"] == "female"]
    assert 0 < len(found) < FRAMES and visible(browser) == len(found)
    low = "document.querySelector('input[name=head_yaw]')"
    browser.evaluate(f"{low}.value = 0, {low}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    found = [r for r in found if r["head_yaw"] >= 0]
    assert visible(browser) == len(found)
    assert browser.evaluate("document.getElementById('shown').textContent") == f"{len(found)} of {FRAMES} frames"
    shown = "[...document.querySelectorAll('.card')].filter(c => !c.hidden).map(c => data.frames[c.dataset.frame].name)"
    assert browser.evaluate(shown) == [record["file_name"] for record in found]
    browser.evaluate("new Promise(done => { document.getElementById('reset').click(); setTimeout(done, 50) })")
    assert visible(browser) == 48  # one page of cards
    browser.evaluate("document.getElementById('more').click()")
    assert visible(browser) == FRAMES
    assert browser.errors() == []


def test_frames_that_disagree_are_marked_and_can_be_picked(browser: Chromium, page: Path, dataset: Path) -> None:
    wrong = [record for record in read_dataset(dataset).records() if not record["agrees"]]
    assert wrong
    browser.open(page)
    assert browser.evaluate("document.querySelectorAll('.card.wrong').length") == len(wrong)
    browser.evaluate("document.querySelector('input[name=agrees][value=false]').click()")
    assert visible(browser) == len(wrong)
    browser.evaluate("document.querySelector('.card:not([hidden])').click()")
    assert browser.evaluate("document.querySelector('#detail h3').textContent") == wrong[0]["file_name"]
    cells = "[...document.querySelector('#detail tbody').rows].map(row => [...row.cells].map(cell => cell.textContent))"
    table = {row[0]: row[1:] for row in browser.evaluate(cells)}
    assert table["lighting"] == [wrong[0]["lighting"], wrong[0]["measured"]["lighting"] or "hidden"]
    assert len(table) == len(CABIN.fields)


def test_two_conditions_at_a_time_are_counted_over_all_records(browser: Chromium, page: Path, dataset: Path) -> None:
    records = list(read_dataset(dataset).records())
    browser.open(page)
    choose = "for (const [id, value] of [['rows', 'accessory'], ['columns', 'fatigue_level']]) {"
    choose += "const s = document.getElementById(id); s.value = value; s.dispatchEvent(new Event('change')) }"
    browser.evaluate(choose)
    cells = "[...row.cells].slice(1).map(cell => +cell.textContent)"
    table = f"[...document.querySelectorAll('#together tr')].slice(1).map(row => {cells})"
    counts = [
        [
            sum(r["accessory"] == a and r["fatigue_level"] == f for r in records)
            for f in CABIN.field("fatigue_level").values
        ]
        for a in CABIN.field("accessory").values
    ]
    assert browser.evaluate(table) == counts


def test_the_page_fits_a_phone(browser: Chromium, page: Path) -> None:
    browser.open(page, width=PHONE, height=844)
    assert browser.evaluate("document.documentElement.scrollWidth") == PHONE
    assert browser.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 14
    assert browser.evaluate("document.querySelector('.filters').open") is False
    assert browser.evaluate("document.querySelector('.card img').getBoundingClientRect().width") > 80
    assert browser.errors() == []


def test_the_page_refuses_to_ask_for_anything(browser: Chromium, page: Path) -> None:
    browser.open(page)
    script = "fetch('http://127.0.0.1:9/').then(() => 'asked', error => String(error))"
    assert "Failed to fetch" in browser.evaluate(script)
    assert any("Content Security Policy" in error for error in browser.errors())


def test_it_shows_what_was_measured_elsewhere_and_says_what_was_not(page: Path, results: Path) -> None:
    text = text_of(page.read_text())
    run = json.loads((results / "fidelity-cabin128.json").read_text())["runs"][0]
    low, high = run["intervals"]["mean_class_accuracy"]
    shown = f"{run['mean_class_accuracy']:.1%}".replace("%", "\u00a0%")
    assert "fidelity-cabin128.json" in text and f"{shown} ({100 * low:.1f} to {100 * high:.1f})" in text
    assert "benchmarks-cpu.json" in text and "ours int8" in text and "frames a second, int8, 32 at once" in text
    assert "real + synthetic" in text and "50.0\u00a0% (40.0 to 60.0)" in text
    assert "python -m audit.privacy" in text  # nobody measured it


def test_figures_of_people_are_on_the_page(page: Path) -> None:
    text = text_of(page.read_text())
    assert "The same, by person" in text and "0.333 to 0.667" in text


def test_names_from_outside_are_text_and_never_markup(page: Path) -> None:
    assert "Cabin &lt;b&gt;" in page.read_text()
    gallery = Gallery(CABIN)
    gallery.cards.append(Card(0, "</script><script>alert(1)</script>", "data:,", "x", {}, None, None, ()))
    found = script_data(gallery)
    assert "<" not in found and json.loads(found)["frames"][0]["name"].startswith("</script>")


def test_a_page_without_an_annotator_says_so(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path / "bundle")
    assert generate([str(tmp_path / "bundle"), "-o", str(tmp_path / "frames"), "-n", "2", "--backend", "cpu"]) == 0
    assert main([str(tmp_path / "frames"), "-o", str(tmp_path / "page.html")]) == 0
    text = text_of((tmp_path / "page.html").read_text())
    assert "Not measured: no annotator has read these frames" in text and "nan" not in text.lower().split()


def test_a_smaller_gallery_is_spread_over_the_dataset(dataset: Path, tmp_path: Path) -> None:
    assert main([str(dataset), "-o", str(tmp_path / "page.html"), "--frames", "3"]) == 0
    html = (tmp_path / "page.html").read_text()
    assert html.count('class="card') == 3 and f"3 of {FRAMES} frames are in this page" in html
    assert all(f'alt="frame {index}:' in html for index in (0, 30, FRAMES - 1))


DAMAGED: dict[str, Any] = {
    "no arms": UTILITY | {"arms": {"real": {}}},
    "no rows": {"machine": {}, "rows": [], "ratios": {}},
    "no runs": {"format": "dms-edge/fidelity@1"},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_result_is_refused_by_name(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    (tmp_path / "broken.json").write_text(json.dumps(DAMAGED[case]))
    assert main([str(dataset), "-o", str(tmp_path / "page.html"), "--results", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "broken.json" in err and not (tmp_path / "page.html").exists()


def test_other_json_is_passed_over(results: Path) -> None:
    assert read_result(results / "other.json") is None


@pytest.mark.parametrize("option", [["-o", "."], ["--results", "nowhere"], ["--frames", "0"]])
def test_bad_options_are_one_line(
    dataset: Path,
    option: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(dataset), *option]) in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1


class Text(HTMLParser):
    """The text of a page, without styles and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self.pieces.append(data)


def text_of(html: str) -> str:
    parser = Text()
    parser.feed(html)
    return " ".join(parser.pieces)


def test_the_page_asks_for_nothing_but_itself(page: Path) -> None:
    tags = list[tuple[str, dict[str, str | None]]]()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))  # type: ignore[method-assign]
    parser.feed(page.read_text())
    policies = [found["content"] for _, found in tags if found.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"]
    addresses = [address for _, found in tags for name in ("src", "href") if (address := found.get(name))]
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
