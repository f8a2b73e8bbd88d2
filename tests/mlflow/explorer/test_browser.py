"""The page as a person uses it, in a real browser."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from paretolens.mlflow.explorer import build_document, render_page
from paretolens.mlflow.front import Front, rank_trials

Show = Callable[[str], Chrome]
EVIL = "</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def page_of() -> Callable[[Front], str]:
    return lambda front: render_page(build_document(front))


def _trials(browser: Chrome) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#table tbody tr[data-row] td:first-child button')].map((b) => b.textContent)"
    )


def _orange(browser: Chrome, selector: str) -> int:
    """Pixels of a canvas in the colour of chosen trials (#e69f00)."""
    return browser.execute_script(
        """const canvas = document.querySelector(arguments[0]).cloneNode();
        const copy = canvas.getContext("2d", { willReadFrequently: true });
        copy.drawImage(document.querySelector(arguments[0]), 0, 0);
        const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
        let count = 0;
        for (let i = 0; i < data.length; i += 4)
          count += Math.abs(data[i] - 230) < 9 && Math.abs(data[i + 1] - 159) < 9 && data[i + 2] < 40 && data[i + 3] > 120;
        return count;""",
        selector,
    )


def _drag(browser: Chrome, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag within an element; places are fractions of its width and height."""
    target = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    size = target.size
    (x, y), (x2, y2) = (((u - 0.5) * size["width"], (v - 0.5) * size["height"]) for u, v in (start, end))
    chain = ActionChains(browser, duration=20).move_to_element_with_offset(target, int(x), int(y)).click_and_hold()
    chain.move_to_element_with_offset(target, int((x + x2) / 2), int((y + y2) / 2))
    chain.move_to_element_with_offset(target, int(x2), int(y2)).release().perform()


def _filter(browser: Chrome, column: str, text: str) -> None:
    box = browser.find_element(By.CSS_SELECTOR, f'input[data-column="{column}"]')
    box.clear()
    box.send_keys(text)
    WebDriverWait(browser, 60).until(lambda _: _chip(browser, text))


def _range(browser: Chrome, column: str) -> list[float]:
    """What a brush wrote under a heading."""
    box = browser.find_element(By.CSS_SELECTOR, f'input[data-column="{column}"]')
    return [float(end) for end in str(box.get_property("value")).split("..")]


def _chip(browser: Chrome, text: str) -> bool:
    return any(text in chip.text for chip in browser.find_elements(By.CLASS_NAME, "chip"))


def test_a_brush_in_one_plot_reaches_the_other_the_lines_and_the_table(
    show: Show, drawn: Front, page_of: Callable[[Front], str]
) -> None:
    browser = show(page_of(drawn))
    assert (
        _orange(browser, ".panel:nth-child(2) .layer:last-child canvas")
        == _orange(browser, "#parallel .layer:last-child canvas")
        == 0
    )
    _drag(browser, ".panel:nth-child(1) .plot", (0.15, 0.05), (0.6, 0.6))
    assert _orange(browser, ".panel:nth-child(2) .layer:last-child canvas") > 100
    assert _orange(browser, "#parallel .layer:last-child canvas") > 100
    ranges = {name: _range(browser, name) for name in ("latency_ms", "accuracy")}
    trials = drawn.trials
    expected = trials[
        trials["latency_ms"].between(*ranges["latency_ms"]) & (100 * trials["accuracy"]).between(*ranges["accuracy"])
    ]
    assert 0 < len(expected) < len(trials)
    assert sorted(_trials(browser)) == sorted(expected["trial"])
    assert browser.find_element(By.ID, "count").text == f"{len(expected)} of {len(trials)} trials"
    browser.find_element(By.ID, "clear").click()
    assert len(_trials(browser)) == len(trials)
    assert _orange(browser, ".panel:nth-child(2) .layer:last-child canvas") == 0


def test_filters_are_typed_as_well_and_tables_sorted(show: Show, drawn: Front, page_of: Callable[[Front], str]) -> None:
    browser = show(page_of(drawn))
    trials = drawn.trials
    assert _trials(browser)[: len(drawn.members)] == drawn.members["trial"].tolist()
    _filter(browser, "accuracy", ">85")
    assert sorted(_trials(browser)) == sorted(trials["trial"][trials["accuracy"] > 0.85])
    _filter(browser, "params.backbone", "resnet")
    kept = trials[(trials["accuracy"] > 0.85) & (trials["params.backbone"] == "resnet")]
    browser.find_element(By.CSS_SELECTOR, '#table th[data-column="latency_ms"] button').click()
    assert _trials(browser) == kept.sort_values("latency_ms")["trial"].tolist()
    _filter(browser, "eps", "many")
    assert browser.find_element(By.CSS_SELECTOR, 'input[data-column="eps"]').get_attribute("aria-invalid") == "true"
    assert len(_trials(browser)) == len(kept)
    browser.find_element(By.ID, "front-only").click()
    assert sorted(_trials(browser)) == sorted(kept["trial"][kept["pareto"]])


def test_an_axis_of_the_lines_filters_too(show: Show, drawn: Front, page_of: Callable[[Front], str]) -> None:
    browser = show(page_of(drawn))
    browser.execute_script("document.querySelector('#parallel').scrollIntoView()")
    width = browser.find_element(By.CSS_SELECTOR, "#parallel canvas").size["width"]
    share = 88 / browser.find_element(By.ID, "parallel").size["width"]
    assert width > 88
    _drag(browser, "#parallel", (share, 0.2), (share, 0.5))
    assert 0 < len(_trials(browser)) < len(drawn.trials)
    assert len(browser.find_elements(By.CLASS_NAME, "chip")) == 1


def test_everything_works_from_the_keyboard(show: Show, drawn: Front, page_of: Callable[[Front], str]) -> None:
    browser = show(page_of(drawn))
    assert drawn.knee is not None
    plot = browser.find_element(By.CSS_SELECTOR, ".plot")
    plot.send_keys(Keys.HOME)
    fastest = drawn.members.nsmallest(1, "latency_ms")["trial"].iloc[0]
    assert browser.find_element(By.ID, "live").get_attribute("textContent").startswith(f"Trial {fastest}, ")
    plot.send_keys(Keys.ARROW_RIGHT)
    second = drawn.members.nsmallest(2, "latency_ms")["trial"].iloc[1]
    plot.send_keys(Keys.ENTER)
    assert browser.find_element(By.ID, "card-title").text == f"Trial {second}"
    assert browser.switch_to.active_element.get_attribute("id") == "card-title"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not browser.find_element(By.ID, "card").is_displayed()
    assert browser.switch_to.active_element == plot
    _filter(browser, "latency_ms", "<1")
    plot.send_keys(Keys.ESCAPE)
    assert len(_trials(browser)) == len(drawn.trials)
    knee = browser.find_element(By.CSS_SELECTOR, "#picks button")
    knee.send_keys(Keys.ENTER)
    assert browser.find_element(By.ID, "card-title").text == f"Trial {drawn.knee['trial']}"


def test_a_click_opens_the_card_and_its_command_is_copied(show: Show, drawn: Front, page_of: Callable[[Front], str]) -> None:
    browser = show(page_of(drawn))
    assert drawn.knee is not None
    browser.find_element(By.CSS_SELECTOR, f'tr[data-row="{drawn.trials.index[drawn.trials["knee"]][0]}"] td:nth-child(2)').click()
    card = browser.find_element(By.ID, "card").text
    assert "The knee of the front" in card
    assert f"{14.7 / drawn.knee['latency_ms']:.1f}× less" in card
    assert f"paretolens export drawn --select {drawn.knee['trial']}" in card
    browser.find_element(By.ID, "copy").click()
    WebDriverWait(browser, 60).until(lambda _: browser.find_element(By.ID, "copy").text == "Copied")
    box = browser.find_element(By.CSS_SELECTOR, 'input[data-column="params.backbone"]')
    box.send_keys(Keys.CONTROL, "v")
    assert box.get_property("value") == f"paretolens export drawn --select {drawn.knee['trial']}"


def test_a_dominated_trial_says_what_beats_it(show: Show, drawn: Front, page_of: Callable[[Front], str]) -> None:
    browser = show(page_of(drawn))
    row = drawn.trials.index[~drawn.trials["pareto"]][0]
    browser.execute_script("document.querySelector(`tr[data-row='${arguments[0]}']`).click()", int(row))
    own, card = drawn.trials.loc[row], browser.find_element(By.ID, "card").text
    better = drawn.members[
        (drawn.members["accuracy"] >= own["accuracy"])
        & (drawn.members["latency_ms"] <= own["latency_ms"])
        & (drawn.members["eps"] >= own["eps"])
    ]
    assert "Dominated" in card
    assert f"trial {better.sort_index()['trial'].iloc[0]} (" in card
    assert "Export" not in card


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(
    show: Show, drawn: Front, page_of: Callable[[Front], str], scheme: str
) -> None:
    browser = show("<p>first</p><script>performance.measure('paretolens:first-render')</script>")
    metrics = {"width": 380, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    try:
        show(page_of(drawn))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 380
        assert browser.execute_script("return [...document.querySelectorAll('.plot canvas')].every((c) => c.clientWidth <= 380)")
        browser.execute_script("document.querySelector('#picks button').click()")
        assert browser.find_element(By.ID, "card").size["width"] == 380
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 27)"}[scheme]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_no_name_or_knob_runs_and_nothing_is_fetched(show: Show, drawn: Front, page_of: Callable[[Front], str]) -> None:
    assert drawn.study is not None
    trials = drawn.trials.assign(**{"params.backbone": EVIL, "tied_with": EVIL})
    trials.loc[0, "trial"] = EVIL
    browser = show(page_of(replace(drawn, trials=trials, study=replace(drawn.study, name=EVIL))))
    browser.execute_script("document.querySelector(`tr[data-row='0']`).click()")
    assert browser.title == f"{EVIL} – Paretolens"
    assert EVIL in browser.find_element(By.ID, "card").text
    assert EVIL in browser.find_element(By.TAG_NAME, "h1").text
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize(
    ("count", "state", "said"),
    [(0, "complete", "The study has no trial yet."), (1, "complete", "nothing to follow yet"), (3, "failed", "3 failed")],
)
def test_studies_with_hardly_anything(
    show: Show, trials: Callable[..., pd.DataFrame], *, count: int, state: str, said: str
) -> None:
    found = rank_trials(trials(5).iloc[:count].assign(state=state))
    browser = show(render_page(build_document(found)))
    assert said in browser.find_element(By.TAG_NAME, "body").text
    assert len(browser.find_elements(By.CSS_SELECTOR, ".plot canvas")) == 4
