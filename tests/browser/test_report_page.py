"""The report in a real browser: searched, pointed at, lassoed, on a phone and on paper."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind
from tests.browser.conftest import NASTY

from rankformer.cells.normalise import log_normalise


def draw_lasso(page, centre, radius=(0.2, 0.2)):
    """Draw an ellipse over the first picture; places are shares of it."""
    page.locator(".canvas").first.scroll_into_view_if_needed()
    box = page.locator(".canvas").first.bounding_box()
    points = [
        (
            box["x"] + (centre[0] + radius[0] * math.cos(angle)) * box["width"],
            box["y"] + (centre[1] + radius[1] * math.sin(angle)) * box["height"],
        )
        for angle in np.linspace(0, 2 * math.pi, 33)
    ]
    page.click("#mode-lasso")
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points:
        page.mouse.move(*point)
        page.wait_for_timeout(12)
    page.mouse.up()


def choose_colour(page, name):
    page.select_option("#colour-by", label=name)
    page.wait_for_function(
        "name => document.querySelector('#legend h3').textContent === name", arg=name
    )


def select_in_legend(page, name):
    page.locator("#legend button", has_text=name).first.click()
    page.wait_for_selector("#selection table:nth-of-type(1)")


def test_text_of_the_data_stays_text(page):
    assert page.locator("h1").inner_text() == NASTY
    choose_colour(page, "nasty")
    assert page.locator("#legend .name").all_inner_texts() == [NASTY, "plain"]
    select_in_legend(page, "plain")
    assert NASTY in page.locator("#effects tbody").inner_text()


def test_a_gene_is_found_and_shown_by_keyboard_alone(page, blood):
    page.focus("#gene")
    page.keyboard.type("cd79")
    options = page.locator("#gene-list [role=option]")
    assert options.first.inner_text().startswith("CD79")
    page.keyboard.press("ArrowDown")
    chosen = options.nth(1).inner_text()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#legend .ramp')")
    assert page.locator("#legend h3").inner_text() == f"{chosen}, log counts"
    counts = blood.raw[:, chosen].X.expm1().toarray().ravel()
    whole = np.asarray(blood.raw.X.expm1().sum(axis=1)).ravel()
    highest = np.log1p(counts / whole * 1e4).max()
    shown = float(page.locator("#legend .ramp-ends span").nth(1).inner_text())
    assert shown == pytest.approx(highest, abs=0.02)


def test_a_gene_that_is_not_there_is_said_to_be_missing(page):
    page.fill("#gene", "no such gene")
    assert "No gene" in page.locator("#gene-list").inner_text()


def test_selected_cells_are_counted_and_their_genes_compared(page, blood):
    choose_colour(page, "bulk_labels")
    select_in_legend(page, "CD19+ B")
    n = int((blood.obs["bulk_labels"] == "CD19+ B").sum())
    assert page.locator("#selection h3").inner_text().startswith(f"{n} cells")
    genes = page.locator("#selection table").nth(1).locator("tbody tr")
    genes.first.wait_for()
    rows = genes.all()
    shown = {
        row.locator("th").inner_text(): float(row.locator("td").last.inner_text()) for row in rows
    }
    assert {"CD79A", "CD79B"} & set(shown)
    values = log_normalise(blood.raw.X.expm1())
    of_label = (blood.obs["bulk_labels"] == "CD19+ B").to_numpy()
    for gene, t in shown.items():
        own = values[:, [blood.raw.var_names.get_loc(gene)]].toarray().ravel()
        expected = ttest_ind(own[of_label], own[~of_label], equal_var=False).statistic
        assert t == pytest.approx(expected, rel=0.03), gene


def test_a_lasso_selects_in_both_pictures_and_can_be_cleared(page):
    draw_lasso(page, (0.5, 0.5), (0.45, 0.45))
    page.wait_for_selector("#selection h3")
    assert int(page.locator("#selection h3").inner_text().split()[0]) > 100
    page.keyboard.press("Escape")
    page.wait_for_selector("#selection h3", state="detached")


@pytest.mark.parametrize("zoomed", [False, True])
def test_a_lasso_selects_the_cells_that_lie_in_it(page, zoomed):
    """Around the name of a kind, which stands among its cells, also where the picture was moved."""
    choose_colour(page, "bulk_labels")
    if zoomed:
        page.click("#zoom-out")
        page.wait_for_timeout(500)
    page.locator(".canvas").first.scroll_into_view_if_needed()
    area = page.locator(".canvas").first.bounding_box()
    name = page.locator(".canvas").first.locator(".names span", has_text="CD19+ B").bounding_box()
    centre = (
        (name["x"] + name["width"] / 2 - area["x"]) / area["width"],
        (name["y"] + name["height"] / 2 - area["y"]) / area["height"],
    )
    draw_lasso(page, centre, (20 / area["width"], 20 / area["height"]))
    first = page.locator("#selection table").first.locator("tbody tr").first
    assert first.locator("th").inner_text() == "CD19+ B"
    assert int(first.locator("td").nth(1).inner_text().rstrip("%")) > 70


def test_pointing_at_a_cell_tells_what_is_known_of_it(page, blood):
    choose_colour(page, "bulk_labels")
    page.locator(".canvas").first.scroll_into_view_if_needed()
    box = page.locator(".canvas").first.bounding_box()
    tip = page.locator("#tip")
    for share in np.linspace(0.05, 0.95, 120):
        down = 0.5 + 0.3 * math.sin(20 * share)
        page.mouse.move(box["x"] + share * box["width"], box["y"] + down * box["height"])
        page.wait_for_timeout(30)
        if tip.is_visible():
            break
    name = tip.locator("strong").inner_text()
    told = dict(
        zip(tip.locator("dt").all_inner_texts(), tip.locator("dd").all_inner_texts(), strict=True)
    )
    assert told["bulk_labels"] == blood.obs.loc[name, "bulk_labels"]
    assert float(told["percent_mito"]) == pytest.approx(
        blood.obs.loc[name, "percent_mito"], rel=0.01
    )


def test_the_theme_follows_the_system_and_the_reader(browser, report):
    page = browser.new_page(color_scheme="dark")
    page.goto(report.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme")
    assert page.evaluate(ground) != dark
    assert page.locator("#theme").inner_text() == "Dark"
    page.close()


def test_nothing_is_wider_than_a_phone(browser, report):
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.goto(report.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_paper_shows_pictures_and_no_controls(page):
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".canvas img").first.is_visible()
    assert page.locator(".canvas img").first.evaluate("image => image.naturalWidth") == 900
    assert not page.locator(".controls").is_visible()


def test_without_webgl_the_pictures_are_still_there(browser, report):
    page = browser.new_page()
    page.add_init_script("""{
        const own = HTMLCanvasElement.prototype.getContext
        HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
            return kind.startsWith('webgl') ? null : own.call(this, kind, ...more)
        }
    }""")
    page.goto(report.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    assert "does not draw with WebGL" in page.locator("#hint").inner_text()
    assert page.locator(".canvas img").first.is_visible()
    page.close()


def test_a_context_that_is_lost_leaves_still_pictures(browser, report):
    """As phones take it from pages in the background."""
    page = browser.new_page()
    page.add_init_script("""{
        const own = OffscreenCanvas.prototype.getContext
        const ownOfPage = HTMLCanvasElement.prototype.getContext
        window.contexts = []
        const keep = (get) => function (kind, ...more) {
            const context = get.call(this, kind, ...more)
            if (context && kind.startsWith('webgl')) window.contexts.push(context)
            return context
        }
        OffscreenCanvas.prototype.getContext = keep(own)
        HTMLCanvasElement.prototype.getContext = keep(ownOfPage)
    }""")
    page.goto(report.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    page.click("#mode-lasso")
    page.evaluate("contexts.forEach(each => each.getExtension('WEBGL_lose_context').loseContext())")
    page.wait_for_function("document.querySelector('#hint').textContent.includes('WebGL')")
    assert page.locator(".canvas img").first.is_visible()
    assert page.locator(".canvas .lasso.active").count() == 0
    select_in_legend(page, "CD19+ B")
    page.close()


def test_a_reader_without_javascript_has_all_tables(browser, report):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(report.as_uri())
    assert page.locator("table").count() >= 6
    assert "One lane" not in page.locator("#careful").inner_text()
    assert "90% of the cells are of one lane (1)" in page.locator("#careful").inner_text()
    page.close()


def test_each_control_has_a_name(page):
    names = page.evaluate(
        """() => [...document.querySelectorAll('button, select, input')]
        .map(each => each.getAttribute('aria-label') || each.textContent.trim()
            || document.querySelector(`label[for="${each.id}"]`)?.textContent || '')"""
    )
    assert names
    assert all(names)


def test_a_finger_draws_a_lasso_and_scrolls_otherwise(browser, report):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(report.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    touch_action = "getComputedStyle(document.querySelector('.canvas {}')).touchAction"
    assert page.evaluate(touch_action.format("canvas")) == "pan-y"
    page.locator(".canvas").first.scroll_into_view_if_needed()
    page.tap("#mode-lasso")
    assert page.evaluate(touch_action.format(".lasso.active")) == "none"
    box = page.locator(".canvas").first.bounding_box()
    session = context.new_cdp_session(page)

    def touch(kind, angle=None):
        point = {} if angle is None else {
            "x": box["x"] + (0.5 + 0.45 * math.cos(angle)) * box["width"],
            "y": box["y"] + (0.5 + 0.45 * math.sin(angle)) * box["height"],
        }  # fmt: skip
        points = [] if angle is None else [point]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(15)

    touch("touchStart", 0)
    for angle in np.linspace(0, 2 * math.pi, 33):
        touch("touchMove", angle)
    touch("touchEnd")
    page.wait_for_selector("#selection h3")
    assert int(page.locator("#selection h3").inner_text().split()[0]) > 100
    context.close()
