"""Waiting for room, without a cluster."""

import pytest

from paretolens.errors import BackendError
from paretolens.search.cluster.room import await_room


def test_what_ended_the_wait_is_told_also_where_the_autoscaler_cannot_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def request(bundles: list[dict[str, float]]) -> None:
        if not bundles:
            raise ConnectionError("Ray is gone")

    monkeypatch.setattr("ray.nodes", list)
    monkeypatch.setattr("ray.autoscaler.sdk.request_resources", request)
    with pytest.raises(BackendError, match=r"no machine of the Ray cluster has CPU 2; there is no machine at all"):
        await_room({"CPU": 2.0}, latency=None, timeout_s=0.0)
    assert "could not be told that nothing more is asked for: Ray is gone" in caplog.text
