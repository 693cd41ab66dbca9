"""The page in a browser: Debian's Chromium, without any network, on a screen and on a phone, light and dark.

Skipped where Chromium with its driver or Selenium is missing; the check of accessibility also where axe-selenium-python is.
"""

from __future__ import annotations

import os
import shutil
from importlib.resources import files
from importlib.util import find_spec

import pytest

from bnsbench.report.page.build import build_page
from bnsbench.suite.store import write_text
from tests.report.page.made import add_previews, made_record

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))

pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER and find_spec("selenium")), reason="needs Chromium, its driver and Selenium"
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

WIDTHS, THEMES = (1440, 390), ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "mute-audio"):
        options.add_argument(f"--{argument}")
    options.add_argument("--autoplay-policy=no-user-gesture-required")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SE_OFFLINE", "true")
        opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER, env=dict(os.environ)))
    opened.set_script_timeout(120)
    yield opened
    opened.quit()


@pytest.fixture
def open_page(browser, page_file):
    """Open a page, of the results if none is given, on a screen of that width and theme."""

    def open_(width=1440, theme="light", link="", page=page_file):
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get("about:blank")
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get(page.as_uri() + link)
        return browser

    return open_


def find(browser, selector):
    """Return the elements that fit a selector and are shown."""
    return browser.execute_script(
        "const shown = (each) => each.checkVisibility() && getComputedStyle(each).display !== 'none';"
        " return [...document.querySelectorAll(arguments[0])].filter(shown)",
        selector,
    )


def texts(browser, selector):
    return [each.text for each in find(browser, selector)]


def requests(browser):
    """Return the addresses that were asked for, but those of the page itself and its data."""
    import json

    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith(("file:", "data:", "about:"))]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_asked_for_said_to_the_console_or_wider_than_the_screen(open_page, width, theme):
    browser = open_page(width, theme)
    assert texts(browser, "h1") == ["bnsbench: small"]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if theme == "light" else "rgb(21, 25, 31)"
    )
    use_everything(browser)
    assert browser.get_log("browser") == []
    assert requests(browser) == []
    assert browser.execute_script("return [localStorage.length, document.cookie]") == [0, ""]


def use_everything(browser):
    """Click on every kind of thing once, and move over figures."""
    browser.execute_script("for (const each of document.querySelectorAll('.legend')) each.open = true")
    for selector in (".sort", "[data-toggle]", "[data-all=none]", "[data-all=named]", "[data-all=all]", ".differ", "#theme"):
        browser.execute_script("arguments[0].click()", find(browser, selector)[0])
    for selector in (".scenario .shot", ".scenario [data-copy=CSV]"):
        browser.execute_script("arguments[0].click()", find(browser, selector)[0])
        assert find(browser, "dialog")
        browser.execute_script("arguments[0].click()", find(browser, "dialog form button")[0])
        assert not find(browser, "dialog")
    browser.execute_script(
        "for (const each of document.querySelectorAll('.chart'))"
        " each.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, clientX: 90, clientY: 90 }))"
    )


@pytest.mark.skipif(not find_spec("axe_selenium_python"), reason="needs axe-selenium-python")
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_accessible(open_page, width, theme):
    browser = open_page(width, theme, "#scenario=voices-w-0" if theme == "dark" else "")
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    source = (files("axe_selenium_python") / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
    browser.execute_script(source)
    found = browser.execute_async_script("const done = arguments[0]; axe.run(document).then(done)")
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in found["violations"]] == []
    assert len(found["passes"]) > 20


def test_tables_are_sorted(open_page):
    browser = open_page()
    head = find(browser, ".panel th[data-n='4'] .sort")[0]
    names = ".panel tbody th span"
    before = texts(browser, names)
    assert before[0] == "bns"
    head.click()
    assert texts(browser, names) == ["bns", "student", "ab2[grid=best]", "ab2", "euler"]
    head.click()
    assert texts(browser, names) == ["euler", "ab2", "ab2[grid=best]", "student", "bns"]
    assert [each.get_attribute("aria-sort") for each in find(browser, ".panel [aria-sort]")] == ["ascending"]


def test_scenarios_measures_nfe_kinds_and_names_are_chosen(open_page):
    from selenium.webdriver.support.select import Select

    browser = open_page()
    Select(find(browser, "#scenario")[0]).select_by_visible_text("ring8, w = 2")
    Select(find(browser, "#measure")[0]).select_by_visible_text("fid-gt")
    Select(find(browser, "#nfe")[0]).select_by_visible_text("8")
    assert texts(browser, ".scenario h3") == ["ring8, w = 2"]
    assert texts(browser, ".panel thead th") == ["solver", "kind", "8 NFE", "mean gap"]
    assert texts(browser, ".panel h4") == ["fid-gt over NFE"]
    find(browser, "[data-kind=classic]")[0].click()
    assert texts(browser, ".panel tbody th span") == ["bns", "student", "ab2[grid=best]"]
    find(browser, "#solver")[0].send_keys("B")
    assert texts(browser, ".panel tbody th span") == ["bns", "ab2[grid=best]"]
    assert texts(browser, "#status") == ["ring8, w = 2: 2 of 5 solvers by fid-gt"]
    assert browser.current_url.endswith("#scenario=ring8-w-2&measure=fid-gt&nfe=8&solver=B")


def test_links_lead_to_a_scenario_a_measure_and_a_solver(open_page):
    browser = open_page(link="#scenario=voices-w-0&measure=fid-gt&solver=bns")
    assert texts(browser, ".scenario h3") == ["voices, w = 0"]
    assert texts(browser, ".panel tbody th span") == ["bns"]
    browser.execute_script("location.hash = 'scenario=ring8-w-0&solver='")
    assert texts(browser, ".scenario h3") == ["ring8, w = 0"]
    assert len(texts(browser, ".panel tbody th span")) == 5
    browser.execute_script("location.hash = 'scenario=none&measure=none&nfe=99'")
    assert texts(browser, ".scenario h3") == ["ring8, w = 0"]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_small_screen_has_keys_below_figures_and_a_closed_legend(open_page, width):
    browser = open_page(width)
    small = width < 640
    assert bool(find(browser, ".panel .chart .name")) is not small
    assert [text.split("\n") for text in texts(browser, ".panel .key")] == (
        [["student", "bns", "ab2[grid=best]", "ab2", "euler"]] if small else []
    )
    assert bool(find(browser, "[data-toggle]")) is not small
    find(browser, ".legend summary")[0].click()
    assert bool(find(browser, "[data-toggle]")) is small


def test_a_solver_leaves_all_figures_and_colours_stay(open_page):
    browser = open_page()
    drawn = "(each) => getComputedStyle(each).fill + each.querySelector('use').getAttribute('href')"
    colours = f"return [...document.querySelectorAll('.curves .curve')].map({drawn})"
    before, count = browser.execute_script(colours), len(find(browser, ".panel .curve"))
    button = next(each for each in find(browser, "[data-toggle]") if each.text == "ab2")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert len(find(browser, ".panel .curve")) == count - 1
    assert browser.execute_script(colours) == before
    assert len(set(before)) == 5
    button.click()
    assert len(find(browser, ".panel .curve")) == count


def test_points_say_their_numbers_to_pointer_and_keys(open_page):
    from selenium.webdriver import ActionChains, Keys

    browser = open_page()
    point = find(browser, ".panel .curve.named use")[-1]
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", point)
    ActionChains(browser).move_to_element(point).perform()
    assert texts(browser, "#tip") == [point.get_attribute("aria-label")]
    first = find(browser, ".panel use[tabindex='0']")[0]
    browser.execute_script("arguments[0].focus()", first)
    said = texts(browser, "#tip")
    assert "4 NFE" in said[0]
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    along = texts(browser, "#tip")
    assert along[0].split(",")[0] == said[0].split(",")[0]
    assert "8 NFE" in along[0]
    ActionChains(browser).send_keys(Keys.ARROW_DOWN).perform()
    assert texts(browser, "#tip")[0].split(",")[0] != said[0].split(",")[0]
    assert "8 NFE" in texts(browser, "#tip")[0]
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert texts(browser, "#tip") == []


def test_a_gallery_opens_with_truth_and_difference(open_page):
    browser = open_page()
    find(browser, ".scenario td:not(.truth) .shot")[0].click()
    assert [caption.split(", ")[-1] for caption in texts(browser, "dialog figcaption")] == [
        "4 NFE",
        "ground truth",
        "times 4",
    ]
    assert browser.execute_script(
        "return [...document.querySelectorAll('dialog img')].every((each) => each.naturalWidth > 0)"
    )
    find(browser, "dialog form button")[0].click()
    button = find(browser, ".differ")[0]
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert len(find(browser, ".scenario .over")) == 10


def test_sounds_are_played_one_at_a_time(open_page):
    browser = open_page(link="#scenario=voices-w-0")
    script = """
    const [first, second] = document.querySelectorAll("[id='scenario=voices-w-0'] audio"), done = arguments[0];
    first.loop = true;
    const told = () => done([first.paused, first.duration, first.error]);
    first.play().then(() => second.play()).then(() => setTimeout(told, 50), (error) => done(String(error)));
    """
    paused, duration, error = browser.execute_async_script(script)
    assert (paused, error) == (True, None)
    assert duration == pytest.approx(2000 / 8000, abs=1e-3)


def test_tables_are_copied_as_they_are_shown(open_page):
    browser = open_page(link="#scenario=ring8-w-0&measure=psnr&nfe=8&solver=ab2")
    find(browser, ".panel [data-copy=CSV]")[0].click()
    area = find(browser, "dialog textarea")[0]
    assert area.get_attribute("value") == (
        "solver,kind,8 NFE,mean gap\nab2[grid=best],tuned,33,7.01\nab2,classic,29,10.26\n"
    )
    find(browser, "dialog form button")[0].click()
    find(browser, "#solver")[0].clear()
    find(browser, "#solver")[0].send_keys("bns")
    find(browser, ".panel [data-copy=LaTeX]")[0].click()
    copied = find(browser, "dialog textarea")[0].get_attribute("value")
    assert copied.startswith("\\begin{tabular}{lrrr}\n\\toprule\nsolver & kind & 8 NFE & mean gap \\\\\n\\midrule\n")
    assert "bns & learned & 41.00" in copied


def test_hostile_names_run_nothing(open_page, made_results, tmp_path):
    name = "</script><script>document.title = 'x'</script><img src=x onerror=\"document.title='x'\">"
    made = [made_record(name, n, 20.0 + n, model=name, kind="learned") for n in (4, 8)]
    store = made_results(made, name="hostile")
    add_previews(store, made)
    write_text(tmp_path / "hostile.html", build_page([store]))
    browser = open_page(page=tmp_path / "hostile.html")
    assert browser.title == "bnsbench: hostile"
    assert browser.get_log("browser") == []
    assert name in texts(browser, ".panel tbody th span")
    find(browser, ".panel [data-copy=LaTeX]")[0].click()
    assert "\\textless{}/script\\textgreater{}" in find(browser, "dialog textarea")[0].get_attribute("value")
