"""How fast the Pareto explorer is with many trials, in headless Chromium: first picture, answer to a brush, size of the page.

    python benchmarks/explorer_scale.py [--trials 200 2000 10000]

Prints Markdown. The trials are made up (16 knobs, intervals, a front of about five per cent); the page and the browser are real.
A brush is dragged across the accuracy plot by pointer events; its answer is the time from an event to the end of the frame that
shows its effect in both scatters. Parallel coordinates and table follow when the brush rests (with up to 200 trials at once):
`let go` is the time from the release to the end of the frame that shows them too.
Exit code 1 if the median answer takes 100 ms or more with 2,000 trials. Needs chromium and chromedriver.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paretolens.mlflow.explorer import write_explorer
from paretolens.mlflow.front import rank_trials

LIMIT_MS, LIMIT_TRIALS = 100.0, 2000
WATCH = """
window.answers = { pointermove: [], pointerup: [] };
for (const [kind, answers] of Object.entries(window.answers)) {
  document.addEventListener(kind, (event) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => answers.push(performance.now() - event.timeStamp);
    channel.port2.postMessage(0);
  }), true);
}
"""


def made_up(count: int, seed: int = 0) -> pd.DataFrame:
    """Trials with the figures that a search logs."""
    random = np.random.default_rng(seed)
    width = np.exp(random.uniform(np.log(8), np.log(160), count))
    accuracy = 0.955 - 0.33 * np.exp(-width / 22) - np.abs(random.normal(0, 0.02, count))
    eps = 0.78 - 0.5 * np.exp(-width / 55) + random.normal(0, 0.05, count)
    knobs = {f"params.knob_{number}": random.choice([1, 2, 4, 8], count) for number in range(11)}
    return pd.DataFrame(
        {
            "run_id": [f"{number:032x}" for number in range(count)],
            "trial": [f"trial-{number:04d}" for number in range(count)],
            "state": "complete",
            "accuracy": accuracy, "accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.02,
            "latency_ms": 0.25 + 0.0085 * width**1.25 * random.lognormal(0, 0.12, count),
            "eps": eps, "eps_low": eps - 0.04, "eps_high": eps + 0.04,
            "size_mb": width**2 * 3.6e-4, "parameters": np.round(width**2 * 90),
            **{f"figure_{number}": random.normal(size=count) for number in range(40)},
            "params.width": width.round(), "params.temperature": random.uniform(1, 8, count),
            "params.beta": random.uniform(0, 3, count), "params.qat": random.choice([True, False], count),
            "params.backbone": random.choice(["resnet18", "mobilenet_v3_small", "shufflenet_v2"], count),
            **knobs,
        }
    )  # fmt: skip


def start() -> Any:
    """A headless browser."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    found = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in found:
        sys.exit("explorer_scale: needs Chromium and its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(found[0])
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"):
        options.add_argument(flag)
    options.add_argument("--window-size=1400,1000")
    return webdriver.Chrome(options=options, service=Service(str(found[1])))


def measure(browser: Any, page: Path) -> dict[str, float]:
    """Milliseconds to the first picture and to the answers of one drag of some 40 steps."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(page.as_uri())
    script = "return performance.getEntriesByName('paretolens:first-render')[0]?.duration"
    first = WebDriverWait(browser, 120).until(lambda driver: driver.execute_script(script))
    browser.execute_script(WATCH)
    plot = browser.find_element("css selector", ".plot")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    chain = ActionChains(browser, duration=10).move_to_element_with_offset(plot, -200, -120).click_and_hold()
    for step in range(40):
        chain.move_to_element_with_offset(plot, -190 + 9 * step, -110 + 5 * step)
    chain.release().perform()
    WebDriverWait(browser, 30).until(lambda driver: driver.execute_script("return window.answers.pointerup.length"))
    answers = browser.execute_script("return window.answers")
    steps = answers["pointermove"]
    return {
        "first": first, "median": statistics.median(steps), "p95": float(np.quantile(steps, 0.95)), "worst": max(steps),
        "let_go": answers["pointerup"][0],
    }  # fmt: skip


def main() -> int:
    """Print a row per number of trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[200, 2000, 10000])
    options = parser.parse_args()
    print("| trials | on the front | page | written in | first picture | answer to a brush, median | p95 | worst | let go |")
    print("|---|---|---|---|---|---|---|---|---|")
    browser, slow = start(), False
    try:
        with tempfile.TemporaryDirectory() as folder:
            for count in options.trials:
                front = rank_trials(made_up(count))
                began = time.perf_counter()
                page = write_explorer(front, Path(folder) / f"{count}.html")
                seconds = time.perf_counter() - began
                found = measure(browser, page)
                slow |= count == LIMIT_TRIALS and found["median"] >= LIMIT_MS
                times = " | ".join(f"{found[name]:.0f} ms" for name in ("first", "median", "p95", "worst", "let_go"))
                size = page.stat().st_size / 1e6
                print(f"| {count} | {len(front.members)} | {size:.1f} MB | {seconds:.1f} s | {times} |", flush=True)
    finally:
        browser.quit()
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main())
