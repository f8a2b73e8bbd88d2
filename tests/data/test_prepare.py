import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paretolens.data.generated.settings import GeneratedSettings
from paretolens.data.prepare import clips_folder, prepare, set_folder
from paretolens.data.samples import SampleSet
from paretolens.errors import IntegrityError


def metadata(settings: GeneratedSettings, cache: Path) -> list[dict[str, object]]:
    return json.loads((clips_folder(settings, cache) / "metadata.json").read_text(encoding="utf-8"))


def test_splits_have_the_wanted_sizes_and_are_balanced(sets: dict[str, SampleSet], settings: GeneratedSettings) -> None:
    assert {split: len(samples) for split, samples in sets.items()} == settings.sizes()
    assert all(float(samples.labels.mean()) == 0.5 for samples in sets.values())


def test_no_person_and_no_source_is_in_two_splits(sets: dict[str, SampleSet]) -> None:
    for column in ("identities", "groups"):
        owners = [set(getattr(samples, column).tolist()) for samples in sets.values()]
        assert len(set().union(*owners)) == sum(map(len, owners))


def test_a_fake_shares_its_group_and_person_with_its_original(sets: dict[str, SampleSet], settings, cache: Path) -> None:
    samples = sets["train"]
    row = {f"{name}.mp4": i for i, name in enumerate(samples.ids)}
    fakes = [entry for entry in metadata(settings, cache) if entry["split"] == "train" and entry["n_fakes"]]
    assert len(fakes) == 24
    for entry in fakes:
        fake, original = row[entry["file"]], row[entry["original"]]
        assert samples.kinds[original] == "real"
        assert samples.groups[fake] == samples.groups[original]
        assert samples.identities[fake] == samples.identities[original]


def test_the_unseen_kind_is_in_no_other_split(sets: dict[str, SampleSet]) -> None:
    assert set(sets["unseen"].kinds) == {"real", "upsample"}
    assert all("upsample" not in sets[split].kinds for split in ("train", "val", "test"))


def test_shares_of_the_kinds_are_as_set(sets: dict[str, SampleSet]) -> None:
    assert Counter(sets["train"].kinds) == {"real": 24, "blend": 10, "mouth": 8, "voice": 4, "shift": 2}


def test_metadata_has_lav_dfs_fields_and_tells_that_it_is_generated(settings: GeneratedSettings, cache: Path, sets) -> None:
    entries = metadata(settings, cache)
    fields = (
        "file n_fakes fake_periods duration original modify_video modify_audio split video_frames audio_channels audio_frames"
    )
    assert all(set(fields.split()) <= set(entry) for entry in entries)
    assert all(entry["generated"] is True for entry in entries)
    assert all((clips_folder(settings, cache) / str(entry["file"])).is_file() for entry in entries)
    assert "Generated" in json.loads((clips_folder(settings, cache) / "about.json").read_text())["note"]
    assert sets["train"].generated


def test_regions_and_periods_agree_with_the_kind(sets: dict[str, SampleSet]) -> None:
    for samples in sets.values():
        for row, kind in enumerate(samples.kinds):
            pictured = kind in ("blend", "mouth", "upsample")
            assert samples.regions[row].any() == pictured
            first, last = samples.periods[row]
            assert (last > first) == (kind != "real")
            if pictured:
                shown = samples.regions[row].any(axis=(1, 2))
                times = np.arange(len(shown)) / 8.0
                np.testing.assert_array_equal(shown, (times >= first) & (times < last))


def test_offsets_are_known_but_for_strange_mouths(sets: dict[str, SampleSet]) -> None:
    samples = sets["train"]
    kinds = np.array(samples.kinds)
    assert (samples.offsets[np.isin(kinds, ("real", "blend", "voice"))] == 5).all()
    assert (samples.offsets[kinds == "mouth"] == -100).all()
    shifted = samples.offsets[kinds == "shift"]
    assert (np.abs(shifted - 5) >= 2).all()
    assert (np.abs(shifted - 5) <= 5).all()


def test_strengths_are_within_the_set_range(sets: dict[str, SampleSet]) -> None:
    samples = sets["train"]
    fake = samples.labels == 1
    assert (samples.strengths[~fake] == 0).all()
    assert samples.strengths[fake].min() >= 0.25
    assert samples.strengths[fake].max() <= 1.0


def test_the_second_call_generates_nothing(
    sets, settings: GeneratedSettings, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("the set is there")

    monkeypatch.setattr("paretolens.data.prepare.build_set", refused)
    again = prepare(settings, cache)
    assert {split: samples.fingerprint for split, samples in again.items()} == {
        split: samples.fingerprint for split, samples in sets.items()
    }


def test_two_processes_make_the_same_set_as_one(tmp_path: Path) -> None:
    small = GeneratedSettings(seed=3, train=20, val=6, test=6, unseen=4)
    code = (
        "import sys; from pathlib import Path\n"
        "from paretolens.data.generated.settings import GeneratedSettings\n"
        "from paretolens.data.prepare import prepare\n"
        "if __name__ == '__main__':\n"
        "    settings = GeneratedSettings(seed=3, train=20, val=6, test=6, unseen=4)\n"
        "    print(prepare(settings, Path(sys.argv[1]), workers=2)['train'].fingerprint)\n"
    )
    script = tmp_path / "make.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script, tmp_path / "two"], capture_output=True, text=True, check=True)
    seen: list[tuple[int, int]] = []
    alone = prepare(small, tmp_path / "one", lambda made, total: seen.append((made, total)), workers=1)
    assert done.stdout.strip() == alone["train"].fingerprint
    assert seen[-1] == (36, 36)
    assert [made for made, _ in seen] == sorted(made for made, _ in seen)


def test_other_settings_are_another_entry(settings: GeneratedSettings, cache: Path) -> None:
    assert set_folder(replace(settings, seed=6), cache) != set_folder(settings, cache)


def test_a_damaged_cache_is_one_clear_line(tmp_path: Path) -> None:
    small = GeneratedSettings(train=4, val=2, test=2, unseen=2)
    prepare(small, tmp_path, workers=1)
    path = set_folder(small, tmp_path) / "val" / "input_audio.npy"
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(IntegrityError, match=r"input_audio\.npy .*delete all of it"):
        prepare(small, tmp_path)


def test_the_folder_of_generated_clips_is_read_with_its_four_splits(sets: dict[str, SampleSet]) -> None:
    from paretolens.data.readers.hygiene import SplitSettings, organise
    from paretolens.data.readers.registry import read_listing

    assert sets["train"].folder is not None
    listing = read_listing(sets["train"].folder.parent / "clips")
    organised = organise(listing, SplitSettings())
    assert listing.layout == "lavdf"
    assert Counter(item.split for item in organised.items) == {split: len(samples) for split, samples in sets.items()}
    assert organised.notes == ()
