"""The explorer where people meet it: among the artefacts of the study's run, in the MLflow UI on a real store."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from paretolens.mlflow.explorer import write_explorer
from paretolens.mlflow.front import Front, front, tag_front
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo, teacher_metrics
from paretolens.mlflow.ui import free_port, runs_link, server_command, server_environment, wait_until_up

_OF_MLFLOW = ("/ajax-api/2.0/mlflow/users/current",)
"""What MLflow's own pages log as errors: a server without users knows no current one."""


@pytest.fixture
def study(tracker: MlflowTracker, tmp_path: Path) -> Front:
    """A finished study in a store: six trials with overlays, the last of them dominated, a teacher, a tagged front, its page."""
    overlay = tmp_path / "overlay_median.png"
    Image.effect_noise((400, 200), 60).save(overlay)
    tracker.start_study(StudyInfo(name="shown-in-ui", tags={"family": "pinpoint"}))
    tracker.log_study(teacher_metrics({"accuracy": 0.95, "latency_ms": 9.0, "eps": 1.0}))
    for number in range(6):
        name, eps = f"trial-{number:04d}", 0.3 + 0.05 * (number % 4)
        tracker.start_trial(name, params={"width": 16 * (number % 3 + 1), "backbone": "resnet18"}, genome=f"g{number}")
        tracker.log_artifacts(name, {"overlays": [overlay]})
        figures = {"accuracy": 0.8 + 0.02 * (number % 5), "latency_ms": 1.0 + 0.5 * number, "eps": eps, "eps_low": eps - 0.04}
        tracker.finish_trial(name, TrialState.COMPLETE, metrics={**figures, "eps_high": eps + 0.04})
    assert tracker.flush(120)
    found = front("shown-in-ui", tracking_uri=tracker._uri)
    tag_front(found)
    tracker.log_artifacts(None, {"front": [write_explorer(found, tmp_path / "front.html")]})
    tracker.finish_study(TrialState.COMPLETE)
    assert tracker.flush(120)
    return found


@pytest.fixture
def address(study: Front, tmp_path: Path) -> Iterator[str]:
    assert study.study is not None
    port = free_port()
    command = server_command(study.study.tracking_uri, host="127.0.0.1", port=port)
    server = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=server_environment(study.study.tracking_uri),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_up(server, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(120)


def _until(browser: Chrome, *texts: str) -> None:
    """Wait until the page says all of this."""
    script = "return document.body.innerText"
    try:
        WebDriverWait(browser, 30).until(lambda _: all(text in browser.execute_script(script) for text in texts))
    except Exception:
        raise AssertionError(f"{texts} not all in: {browser.execute_script(script)[:3000]}") from None


def _only_members_are_found(browser: Chrome, study: Front, link: str) -> None:
    """The table shows the names of the front's members, and no others', when it is filtered by the front's tag."""
    members = set(study.members["trial"])
    others = set(study.trials["trial"]) - members
    assert members and others
    condition = 'tags.paretolens.study = "shown-in-ui" and tags.paretolens.pareto = "true"'
    browser.get("about:blank")  # else only the address's end changes
    browser.get(f"{link}&searchFilter={quote(condition)}")
    _until(browser, f"{len(members) + 1} matching runs")  # the study comes along, folded
    browser.find_element(By.CSS_SELECTOR, ".ag-row button[class*=icon]").click()
    _until(browser, *members)
    told = browser.execute_script("return document.body.innerText")
    assert not any(name in told for name in others)


@pytest.mark.slow
def test_from_the_runs_to_a_copied_command(chromium: Chrome, study: Front, address: str) -> None:
    assert study.study is not None
    assert study.knee is not None
    browser, run = chromium, study.study.run_id
    browser.set_window_size(1400, 1000)
    browser.get_log("browser")  # of earlier tests
    browser.get(runs_link(address, study.study.experiment_id, study="shown-in-ui"))
    _until(browser, "shown-in-ui", "7 matching runs")  # the study and, folded under it, its six trials

    _only_members_are_found(browser, study, runs_link(address, study.study.experiment_id))

    browser.get(f"{address}/#/experiments/{study.study.experiment_id}/runs/{study.knee['run_id']}")
    _until(browser, study.knee["trial"], "paretolens.knee", "Parent run", "shown-in-ui")

    browser.get(f"{address}/#/experiments/{study.study.experiment_id}/runs/{run}/artifacts/front/front.html")
    frame = WebDriverWait(browser, 30).until(lambda _: browser.find_element(By.CSS_SELECTOR, "iframe[sandbox]"))
    assert frame.get_attribute("sandbox") == "allow-scripts"
    browser.switch_to.frame(frame)
    drawn = "return performance.getEntriesByName('paretolens:first-render').length"
    WebDriverWait(browser, 20).until(lambda _: browser.execute_script(drawn))
    assert "shown-in-ui" in browser.find_element(By.TAG_NAME, "h1").text

    plot = browser.find_element(By.CSS_SELECTOR, ".plot")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    width, height = plot.size["width"], plot.size["height"]
    drag = ActionChains(browser, duration=30).move_to_element_with_offset(plot, int(62 - width / 2), int(14 - height / 2))
    drag.click_and_hold().move_by_offset(40, 40).move_by_offset(int(width / 3), int(height / 2)).release().perform()
    shown = browser.find_element(By.ID, "count").text
    assert shown.endswith("of 6 trials"), shown
    assert shown != "6 of 6 trials"

    browser.execute_script("document.querySelector('#picks button').click()")
    card = browser.find_element(By.ID, "card")
    assert f"paretolens export shown-in-ui --select {study.knee['trial']}" in card.text
    assert browser.execute_script("return document.querySelector('#card img').naturalWidth") == 400
    copy = browser.find_element(By.ID, "copy")
    ActionChains(browser).scroll_to_element(copy).click(copy).perform()
    WebDriverWait(browser, 60).until(lambda _: copy.text != "Copy")
    if copy.text != "Copied":  # the frame may not write to the clipboard: the text is selected for the reader's own Ctrl+C
        ActionChains(browser).key_down(Keys.CONTROL).send_keys("c").key_up(Keys.CONTROL).perform()
    box = browser.find_element(By.CSS_SELECTOR, 'input[data-column="params.width"]')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", box)
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()
    assert box.get_property("value") == f"paretolens export shown-in-ui --select {study.knee['trial']}"
    browser.switch_to.default_content()
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in severe if not any(part in message for part in _OF_MLFLOW)] == []
