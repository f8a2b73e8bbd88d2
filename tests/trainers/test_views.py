import torch

from paretolens.trainers.views import hide_frames, hide_modality, mirror, view


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_mirroring_twice_changes_nothing_and_leaves_sound_alone(train) -> None:
    inputs = train.batch(slice(0, 6))
    once = mirror(inputs, train.signature)
    assert not torch.equal(once[0], inputs[0])
    assert all(torch.equal(a, b) for a, b in zip(once[1:], inputs[1:], strict=True))
    assert torch.equal(mirror(once, train.signature)[0], inputs[0])


def test_view_mirrors_the_chosen_clips_only(train) -> None:
    inputs = train.batch(slice(0, 4))
    chosen = torch.tensor([True, False, True, False])
    out = view(inputs, train.signature, chosen)
    assert torch.equal(out[0][chosen], inputs[0][chosen].flip(-1))
    assert torch.equal(out[0][~chosen], inputs[0][~chosen])


def test_hidden_frames_are_within_the_shares_and_one_stays(train) -> None:
    inputs = train.batch(slice(0, 48))
    out = hide_frames(inputs, train.signature, 0.5, 0.8, generator())
    true, left = (~inputs[2]).sum(1), (~out[2]).sum(1)
    hidden = (true - left) / true
    assert (left >= 1).all() and (hidden >= 1 / 3).all() and (hidden <= 0.8).all()
    assert (out[0][out[2]] == 0).all()
    assert (inputs[2] <= out[2]).all()


def test_everything_cannot_be_hidden(train) -> None:
    inputs = train.batch(slice(0, 8))
    left = (~hide_frames(inputs, train.signature, 0.99, 0.99, generator())[2]).sum(1)
    assert (left == 1).all()


def test_modality_dropout_hides_one_of_both_in_the_given_share(train) -> None:
    inputs = tuple(torch.cat([x] * 20) for x in train.batch(slice(0, 48)))
    out = hide_modality(inputs, train.signature, 0.15, generator())
    no_picture, no_sound = out[2].all(1), out[3].all(1)
    assert not (no_picture & no_sound).any()
    assert 0.1 < float((no_picture | no_sound).float().mean()) < 0.2
    assert (out[0][no_picture] == 0).all() and (out[1][no_sound] == 0).all()
    assert torch.equal(out[0][~no_picture], inputs[0][~no_picture])
