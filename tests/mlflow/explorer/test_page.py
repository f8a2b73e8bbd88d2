import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from paretolens.errors import StoreError
from paretolens.mlflow.explorer import build_document, render_page, write_explorer
from paretolens.mlflow.explorer.page import _PACKAGE
from paretolens.mlflow.explorer.pictures import shrink
from paretolens.mlflow.front import Front, front, rank_trials
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo

EVIL = "</script><img src=x onerror=alert(1)>"


def _scripts(page: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", page, re.DOTALL)


def test_the_page_holds_its_document_and_asks_the_network_for_nothing(drawn: Front) -> None:
    page = render_page(build_document(drawn))
    (text,) = re.findall(r'<script type="application/json" id="document">(.*?)</script>', page, re.DOTALL)
    assert json.loads(text)["study"] == "drawn"
    assert "<title>drawn – Paretolens</title>" in page
    assert re.findall(r"<(?:link|iframe|script[^>]+src|img)\b", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)) == []
    assert "@@" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert len(page) < 1_200_000


def test_only_the_page_s_own_scripts_may_run(drawn: Front) -> None:
    page = render_page(build_document(drawn))
    policy = html.unescape(re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[0])
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    for script in _scripts(page):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy


def test_names_and_knobs_never_become_code(drawn: Front) -> None:
    assert drawn.study is not None
    calm = len(_scripts(render_page(build_document(drawn))))
    trials = drawn.trials.assign(**{"params.backbone": EVIL, "trial": EVIL})
    wild = replace(drawn, trials=trials, study=replace(drawn.study, name=EVIL))
    page = render_page(build_document(wild))
    assert len(_scripts(page)) == calm
    assert "<img src=x" not in page
    assert f"<title>{html.escape(EVIL)}" in page


def test_text_reaches_the_page_as_text() -> None:
    from importlib.resources import files

    for module in files(_PACKAGE).joinpath("templates").iterdir():
        if module.name.endswith(".js"):
            script = module.read_text(encoding="utf-8")
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write\b|\beval\(|localStorage|fetch\(", script
            )
            assert script.count("\n") < 400, module.name


def test_the_library_is_the_one_that_was_published() -> None:
    """Vega 6.4.0, build/vega.min.js of the npm package; a change of version changes the sum."""
    from importlib.resources import files

    vendor = files(_PACKAGE).joinpath("vendor")
    digest = hashlib.sha256(vendor.joinpath("vega.min.js").read_bytes()).hexdigest()
    assert digest == "8f6a3587cf8d4f42c7e08120e3eb05d067e746d554e39d2dcf52acc0bd5ba28f"
    assert "Redistribution and use" in vendor.joinpath("vega.LICENSE.txt").read_text(encoding="utf-8")


def test_a_place_that_can_not_be_written(drawn: Front) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        write_explorer(rank_trials(drawn.trials[["trial", "accuracy", "latency_ms", "eps"]]), Path("/proc/front.html"))


def test_overlays_come_from_the_store_small(tracker: MlflowTracker, tmp_path: Path) -> None:
    overlay, broken = tmp_path / "overlay_best.png", tmp_path / "overlay_worst.png"
    Image.effect_noise((920, 500), 60).save(overlay)
    broken.write_bytes(b"not a picture")
    tracker.start_study(StudyInfo(name="pictured"))
    for number, files in enumerate([[overlay], [overlay, broken], []]):
        name = f"trial-{number:04d}"
        tracker.start_trial(name, params={"width": number}, genome=f"g{number}")
        if files:
            tracker.log_artifacts(name, {"overlays": files})
        metrics = {"accuracy": 0.7 + 0.1 * number, "latency_ms": 1.0 + number, "eps": 0.5}
        tracker.finish_trial(name, TrialState.COMPLETE, metrics=metrics)
    assert tracker.flush(120)
    found = front("pictured", tracking_uri=tracker._uri)
    page = write_explorer(found, tmp_path / "page.html").read_text()
    document = json.loads(re.findall(r'id="document">(.*?)</script>', page, re.DOTALL)[0])
    assert list(document["pictures"]) == ["trial-0000"]
    assert "overlays that can't be read from the store: trial-0001" in document["notes"][-1]
    (picture,) = document["pictures"]["trial-0000"]
    assert (picture["name"], picture["width"], picture["height"]) == ("best", 720, 391)
    assert document["notes"][-2] == "members whose runs have no overlays: trial-0002"
    assert document["commands"]["trial-0000"] == "paretolens export pictured --select trial-0000"


def test_a_small_picture_keeps_its_size(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 30), (255, 0, 0, 128)).save(tmp_path / "overlay_a.png")
    picture = shrink(tmp_path / "overlay_a.png")
    assert (picture.name, picture.width, picture.height) == ("a", 40, 30)
    assert base64.b64decode(picture.src.partition(",")[2])[8:12] == b"WEBP"
