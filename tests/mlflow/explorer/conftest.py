"""A headless Chromium driven through Selenium; tests that need one are skipped where there is none."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

Driver = webdriver.Chrome

# Nothing that Chromium does by itself may reach for the network.
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1400,1000",
)  # fmt: skip


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    os.environ["SE_OFFLINE"] = os.environ["SE_AVOID_STATS"] = "true"
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_script_timeout(20)
    yield started
    started.quit()


@pytest.fixture
def browser(chromium: Driver) -> Iterator[Driver]:
    """The browser at a desktop's size; afterwards its console must hold nothing but what a test has read itself."""
    chromium.set_window_size(1400, 1000)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.get_log("browser")
    yield chromium
    assert [entry["message"] for entry in chromium.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


@pytest.fixture
def show(browser: Driver, tmp_path: Path) -> Callable[[str], Driver]:
    """Open a page from a file, as a person who was sent one does, and wait until it is drawn."""

    def opened(page: str) -> Driver:
        path = tmp_path / "page.html"
        path.write_text(page, encoding="utf-8")
        browser.get(path.as_uri())
        wait_drawn(browser)
        return browser

    return opened


def wait_drawn(browser: Driver) -> None:
    script = "return performance.getEntriesByName('paretolens:first-render').length"
    WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(script))
