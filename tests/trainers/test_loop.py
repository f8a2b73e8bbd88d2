from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from paretolens.errors import IntegrityError, StoreError, TrialError
from paretolens.trainers.loop import LoopSettings, Monitor, learning_rate_at, train_loop
from paretolens.trainers.losses import hard_loss
from paretolens.trainers.validation import Score, Validator

SETTINGS = LoopSettings(epochs=3, batch_size=16, learning_rate=2e-3)


class StoppedError(Exception):
    pass


def run(model, train, val, settings=SETTINGS, *, report=lambda figures: None, folder=None, scale=1.0, seed=3):
    def objective(model, batch):
        return scale * hard_loss(model(*train.batch(batch.rows)).logit, train.targets(batch.rows))

    return train_loop(
        model,
        objective,
        count=len(train),
        validate=Validator(val),
        settings=settings,
        seed=seed,
        stage="demo",
        report=report,
        folder=folder,
    )


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_learning_rate_rises_then_falls_as_a_cosine() -> None:
    settings = LoopSettings(learning_rate=1.0, warmup=0.2, final_rate=0.0)
    rates = [learning_rate_at(step, 10, settings) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_it_learns_and_reports_plain_floats(model_of, train, val) -> None:
    seen: list[dict[str, float]] = []
    history = run(model_of(), train, val, replace(SETTINGS, epochs=6), report=seen.append)
    assert [figures["epoch"] for figures in seen] == [1, 2, 3, 4, 5, 6]
    assert set(seen[0]) == {"epoch", "epochs", *(f"demo_{k}" for k in ("loss", "val_loss", "val_accuracy", "val_auc", "seconds"))}
    assert all(type(value) is float for figures in seen for value in figures.values())
    assert history.best["demo_val_auc"] > 0.9


def test_same_seed_same_weights_and_the_global_generator_is_left_alone(model_of, train, val) -> None:
    first, second, third = (model_of(dropout=0.2) for _ in range(3))
    run(first, train, val)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    run(second, train, val)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(weights(first), weights(second))
    run(third, train, val, seed=4)
    assert not torch.equal(weights(first), weights(third))


def test_the_best_epoch_is_kept(model_of, train) -> None:
    model = model_of()
    scores = iter([0.6, 0.9, 0.7])
    kept = []

    def validate(model):
        kept.append(weights(model))
        return Score(loss=1.0, accuracy=next(scores), auc=0.5)

    history = train_loop(
        model,
        lambda model, batch: hard_loss(model(*train.batch(batch.rows)).logit, train.targets(batch.rows)),
        count=len(train),
        validate=validate,
        settings=replace(SETTINGS, monitor=Monitor.ACCURACY),
        seed=0,
        stage="demo",
        report=lambda figures: None,
    )
    assert history.best_epoch == 1
    assert torch.equal(weights(model), kept[1])
    assert not model.training


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named(model_of, train, val, scale: float) -> None:
    with pytest.raises(TrialError, match=r"loss of stage demo must be finite; got \w+ in epoch 1, step 1"):
        run(model_of(), train, val, scale=scale)


def test_a_gradient_that_is_not_finite_is_named(model_of, train, val) -> None:
    def objective(model, batch):
        logit = model(*train.batch(batch.rows)).logit
        return torch.sqrt(logit - logit.detach()).sum()  # 0, with an infinite slope

    with pytest.raises(TrialError, match="gradient's norm"):
        train_loop(
            model_of(),
            objective,
            count=len(train),
            validate=Validator(val),
            settings=SETTINGS,
            seed=0,
            stage="demo",
            report=lambda figures: None,
        )


def test_report_may_stop_the_work(model_of, train, val) -> None:
    def report(figures):
        if figures["epoch"] == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(model_of(), train, val, report=report)


def test_a_stopped_run_continues_to_the_same_result(model_of, train, val, tmp_path) -> None:
    whole = model_of(dropout=0.2)
    wanted = run(whole, train, val)

    def report(figures):
        if figures["epoch"] == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(model_of(dropout=0.2), train, val, report=report, folder=tmp_path)
    resumed, seen = model_of(seed=5, dropout=0.2), []
    history = run(resumed, train, val, report=seen.append, folder=tmp_path)
    assert [figures["epoch"] for figures in seen] == [3]
    assert torch.equal(weights(resumed), weights(whole))
    assert [h["demo_loss"] for h in history.epochs] == [h["demo_loss"] for h in wanted.epochs]
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0002"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimiser.safetensors", "best.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_refused(model_of, train, val, tmp_path, name: str) -> None:
    run(model_of(), train, val, replace(SETTINGS, epochs=1), folder=tmp_path)
    path = tmp_path / "epoch-0000" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match="damaged"):
        run(model_of(), train, val, replace(SETTINGS, epochs=1), folder=tmp_path)


def test_a_checkpoint_of_another_run_is_refused(model_of, train, val, tmp_path) -> None:
    run(model_of(), train, val, replace(SETTINGS, epochs=1), folder=tmp_path)
    with pytest.raises(IntegrityError, match="must belong to"):
        run(model_of(), train, val, replace(SETTINGS, epochs=1), folder=tmp_path, seed=8)


def test_a_folder_that_cannot_be_written_is_named(model_of, train, val, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="must be writable"):
        run(model_of(), train, val, replace(SETTINGS, epochs=1), folder=tmp_path / "file" / "inner")


def test_checkpoints_hold_tensors_only(model_of, train, val, tmp_path) -> None:
    model = model_of()
    run(model, train, val, replace(SETTINGS, epochs=1), folder=tmp_path)
    stored = load_file(tmp_path / "epoch-0000" / "model.safetensors")
    assert set(stored) == set(model.state_dict())
