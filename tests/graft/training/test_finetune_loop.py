"""Fine-tuning: it starts where the head is, changes what it should, and leaves the average of the end."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from stages.graft.backbone.blocks import block_names, first_tuned, split_backbone
from stages.graft.backbone.network import NormalisedNetwork, load_backbone, run_batch
from stages.graft.backbone.tensor_files import save_tensors
from stages.graft.backbone.torch_runtime import TorchRuntime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError
from stages.graft.core.params import load_params
from stages.graft.heads.class_weights import class_weights
from stages.graft.heads.head import Float32, Head, Softsign, load_head, save_head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.images.loading import read_image
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.metrics.classification import log_loss
from stages.graft.metrics.training_curve import Epoch
from stages.graft.model.classifier import (
    Classifier,
    head_from_module,
    head_module,
)
from stages.graft.model.model_folder import BACKBONE, model_weights, read_model, write_model
from stages.graft.model.scoring import score_images
from stages.graft.storage.sealed import remove_named
from stages.graft.storage.tables import write_csv
from stages.graft.training.activation_cache import CachedInputs, ComputedInputs, LabelledImages, cached
from stages.graft.training.finetune_loop import TrainingSetup, finetune
from stages.graft.training.finetune_params import FinetuneParams
from stages.graft.training.finetune_task import FinetuneTask, PipelineFiles, finetune_from_files
from tests.conftest import REPOSITORY
from tests.support.pictures import encoded, write
from tests.support.pipeline import write_split_table

CPU = torch.device("cpu")
CLASSES = ("blue", "red")
PREPROCESSING = Preprocessing(
    resize_px=32, crop_px=32, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
)
HEAD_PARAMS = load_params("train_head", TrainHeadParams, REPOSITORY / "params.yaml")
WEIGHTS = Weights(name="shufflenet_v2_x0_5", weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)


class Images:
    """Images that are easy to tell apart, as files: more blue or more red."""

    def __init__(self, folder: Path, per_class: int) -> None:
        self.folder, self.labels, rng = folder, dict[str, str](), np.random.default_rng(0)
        for number in range(2 * per_class):
            colours = rng.integers(0, 100, (16, 16, 3))
            colours[:, :, 0 if number % 2 else 2] += 100
            data = encoded(Image.fromarray(colours.astype(np.uint8)), "PNG")
            id_ = sha256(data).hexdigest()
            write(self.locate(id_), data)
            self.labels[id_] = CLASSES[number % 2]

    def locate(self, id_: str) -> Path:
        return self.folder / f"{id_}.png"

    def labelled(self, start: int, stop: int) -> LabelledImages:
        ids = list(self.labels)[start:stop]
        return LabelledImages(ids=ids, y=np.array([CLASSES.index(self.labels[id_]) for id_ in ids]))


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """Twenty images: twelve for training, eight for validation."""
    return Images(tmp_path / "images", 10)


@pytest.fixture
def sets(images: Images) -> tuple[LabelledImages, LabelledImages]:
    return images.labelled(0, 12), images.labelled(12, 20)


def toy_classifier(head: Head) -> Classifier:
    """A backbone of one convolution and one batch-norm, with statistics as if it were pretrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(4)
        norm.running_mean, norm.running_var = torch.rand(4), 0.5 + torch.rand(4)
        network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(NormalisedNetwork(network, PREPROCESSING).eval().requires_grad_(False), head_module(head))


def linear_head(rng: np.random.Generator, num_features: int = 4) -> Head:
    layer = (rng.normal(size=(2, num_features)).astype(np.float32), rng.normal(size=2).astype(np.float32))
    return Head(kind="logistic", classes=CLASSES, layers=(layer,))


def softsign_head(rng: np.random.Generator) -> Head:
    weight, bias = rng.normal(size=(2, 4)).astype(np.float32)
    return replace(linear_head(rng), kind="lda", softsign=Softsign(weight=weight, bias=bias))


def mlp_head(rng: np.random.Generator) -> Head:
    shapes = [((5, 4), (5,)), ((2, 5), (2,))]
    layers = tuple(tuple(rng.normal(size=size).astype(np.float32) for size in layer) for layer in shapes)
    return Head(kind="mlp", classes=CLASSES, layers=layers)  # type: ignore[arg-type]


def finetune_params(**changes: object) -> FinetuneParams:
    """Everything is trained, unless the call says from which block."""
    fields = {
        "strategy": "partial" if "unfreeze_from" in changes else "full", "unfreeze_from": 1, "keep": "better",
        "augmentation": "texture", "optimizer": "adamw", "learning_rate": 0.01, "layer_decay": 1.0, "weight_decay": 0.1,
        "warmup_epochs": 1, "epochs": 3, "batch_size": 5, "accumulate": 1, "clip_norm": 1.0,
        "label_smoothing": 0.0, "ema_decay": 0.0, "l2_sp": 0.0, "class_weight": "none", "views": 2, "cache_gb": 1.0,
        "precision": "fp32", "measure_forgetting": False, "source_images": None, "seed": 0,
    }  # fmt: skip
    return FinetuneParams(**fields | changes)


def train(
    classifier: Classifier,
    images: Images,
    sets: tuple[LabelledImages, LabelledImages],
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    **changes: object,
) -> list[Epoch]:
    params = finetune_params(**changes)
    inputs = ComputedInputs(
        locate=images.locate, preprocessing=PREPROCESSING, preset="texture", seed=params.seed,
        batch_size=params.batch_size, frozen=None, device=CPU, in_bf16=False,
    )  # fmt: skip
    seen: list[Epoch] = []

    def note(record: Epoch) -> None:
        seen.append(record)
        on_epoch(record)

    classifier.requires_grad_(True)
    depths = {name: 0 if name.startswith("head") else 1 for name, _ in classifier.named_parameters()}
    state_file = images.folder.parent / "state.safetensors"
    setup = TrainingSetup(
        network=classifier, depths=depths, inputs=inputs, train=sets[0], val=sets[1],
        class_weights=class_weights(sets[0].y, CLASSES, params.class_weight), params=params,
        in_bf16=params.precision == "bf16",
    )  # fmt: skip
    outcome = finetune(setup, state_file, note)
    remove_named(state_file)
    assert seen[-1] == outcome.epochs[-1]
    return outcome.epochs


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def predict(classifier: Classifier, ids: Sequence[str], images: Images) -> Float32:
    """Score images in one batch; the classifier is in evaluation mode afterwards."""
    pixels = np.stack([read_image(images.locate(id_), PREPROCESSING) for id_ in ids])
    with torch.inference_mode():
        logits: Float32 = classifier.eval()(torch.from_numpy(pixels)).numpy()
    return logits


def predict_logits(folder: Path, ids: Sequence[str], images: Images) -> Float32:
    """Score images with the folder of a fine-tuned model."""
    model, head = read_model(folder)
    weights = model_weights(model, folder, folder, offline=True)
    runtime = TorchRuntime(weights, "cpu", "fp32", 8, compiled=False)
    return score_images(head, weights, runtime, ids, images.locate)(ids)[1]


def val_loss(classifier: Classifier, images: Images, val: LabelledImages) -> float:
    return log_loss(predict(classifier, val.ids, images), val.y)


@pytest.mark.parametrize("make", [linear_head, softsign_head, mlp_head])
def test_a_head_becomes_layers_and_comes_back(rng, tmp_path, make: Callable[[np.random.Generator], Head]):
    head, x = make(rng), rng.normal(size=(6, 4)).astype(np.float32)
    save_head(head, tmp_path, {})
    for one in (head, load_head(tmp_path)):
        module = head_module(one)
        np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), head.logits(x), rtol=1e-4, atol=1e-5)
        again = head_from_module(module, one)
        assert (again.kind, again.classes) == (head.kind, head.classes)
        assert again.arrays.keys() == head.arrays.keys()
        for name, array in again.arrays.items():
            np.testing.assert_array_equal(array, head.arrays[name], strict=True)


def test_training_the_layers_leaves_the_heads_arrays_alone(rng):
    head = linear_head(rng)
    before = head.layers[0][0].copy()
    with torch.no_grad():
        head_module(head)[0].weight.zero_()
    np.testing.assert_array_equal(head.layers[0][0], before)


@pytest.mark.parametrize("make", [linear_head, softsign_head, mlp_head])
def test_epoch_0_is_the_head_on_the_frozen_features(images, sets, rng, make: Callable[[np.random.Generator], Head]):
    head = make(rng)
    classifier = toy_classifier(head)
    pictures = np.stack([read_image(images.locate(id_), PREPROCESSING) for id_ in sets[1].ids])
    logits = head.logits(run_batch(classifier.backbone, pictures, 8, CPU))
    first = train(classifier, images, sets, epochs=1)[0]
    assert first.epoch == 0
    assert math.isnan(first.train_loss)
    assert first.val_loss == pytest.approx(log_loss(logits, sets[1].y), rel=1e-5)
    assert first.val_accuracy == (logits.argmax(axis=1) == sets[1].y).mean()


def test_batch_norm_keeps_the_statistics_it_was_pretrained_with(images, sets, rng):
    classifier = toy_classifier(linear_head(rng))
    before = state(classifier)
    train(classifier, images, sets)
    after = state(classifier)
    kept = {name for name in before if torch.equal(before[name], after[name])}
    norm = "backbone.network.1."
    assert {name for name in before if name.startswith((norm + "running", norm + "num"))} <= kept
    assert {norm + "weight", "backbone.network.0.weight", "head.0.weight", "head.0.bias"}.isdisjoint(kept)


def test_training_separates_what_is_easy(images, sets, rng):
    classifier = toy_classifier(linear_head(rng))
    records = train(classifier, images, sets, epochs=5, learning_rate=0.03)
    assert [record.epoch for record in records] == list(range(6))
    assert min(record.val_loss for record in records) < 0.1 * records[0].val_loss
    assert records[-1].train_loss < records[1].train_loss
    assert records[-1].val_accuracy == 1.0


def test_every_epoch_is_trained_and_the_last_is_left_whatever_validation_says(images, sets, rng):
    classifier = toy_classifier(linear_head(rng))
    wrong = LabelledImages(ids=sets[1].ids, y=1 - sets[1].y)
    records = train(classifier, images, (sets[0], wrong), epochs=4, learning_rate=0.03)
    assert [record.epoch for record in records] == list(range(5))
    assert records[-1].val_loss > records[0].val_loss
    assert val_loss(classifier, images, wrong) == pytest.approx(records[-1].val_loss, rel=1e-6)


def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_one_alone(images, sets, rng):
    head = linear_head(rng)
    runs = []
    for seed in (0, 0, 1):
        classifier = toy_classifier(head)
        before = torch.random.get_rng_state()
        records = train(classifier, images, sets, seed=seed)
        assert torch.equal(before, torch.random.get_rng_state())
        runs.append((records[1:], [value.numpy().tobytes() for value in state(classifier).values()]))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_the_rate_rises_over_one_epoch_and_falls_to_zero(images, sets, rng):
    rates, decays = [], set()

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        rates.append({group["lr"] for group in optimizer.param_groups})
        decays.update((group["weight_decay"], p.ndim > 1) for group in optimizer.param_groups for p in group["params"])

    handle = register_optimizer_step_pre_hook(note)
    try:
        train(toy_classifier(linear_head(rng)), images, sets, epochs=3, learning_rate=0.6)
    finally:
        handle.remove()
    falling = [0.3 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    expected = [0.2, 0.4, 0.6, *falling]  # twelve images, five a step: three steps an epoch
    np.testing.assert_allclose([rate for (rate,) in rates], expected)
    assert decays == {(0.1, True), (0.0, False)}


@pytest.mark.parametrize("changes", [{"epochs": 3}, {"epochs": 1, "batch_size": 12}], ids=["in training", "at its end"])
def test_an_exploding_rate_ends_with_advice(images, sets, rng, changes: dict[str, int]):
    with pytest.raises(DataError, match=r"lower `finetune\.learning_rate`"):
        train(toy_classifier(linear_head(rng)), images, sets, learning_rate=1e30, **changes)


def test_a_damaged_image_is_named(images, sets, rng):
    path = images.locate(sets[0].ids[3])
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match=path.name):
        train(toy_classifier(linear_head(rng)), images, sets)


@pytest.fixture
def files(images: Images, tmp_path: Path) -> PipelineFiles:
    return pipeline_files(images, tmp_path)


def pipeline_files(images: Images, tmp_path: Path) -> PipelineFiles:
    """What the stages before would have written."""
    splits = ["train"] * 12 + ["val"] * 4 + ["test"] * 2 + ["unused"] * 2
    write_split_table(list(images.labels), list(images.labels.values()), splits, tmp_path / "splits.csv")
    return PipelineFiles(images=images.folder, splits=tmp_path / "splits.csv", store=tmp_path / "store")


def test_a_saved_network_predicts_what_it_did_in_memory(images, rng, tmp_path):
    head = linear_head(rng, 1024)
    classifier = Classifier(load_backbone(WEIGHTS), head_module(head))
    ids = list(images.labels)[:6]
    expected = predict(classifier, ids, images)
    save_tensors(classifier.backbone.network, tmp_path / "model" / BACKBONE)
    write_model(head_from_module(classifier.head, head), WEIGHTS.to_record(), tmp_path / "model")
    found = predict_logits(tmp_path / "model", ids, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def task(head: Head, files: PipelineFiles, **changes: object) -> FinetuneTask:
    params = finetune_params(**changes)
    return FinetuneTask(head=head, weights=WEIGHTS, files=files, params=params, head_params=HEAD_PARAMS)


@pytest.mark.parametrize("scope", [{}, {"unfreeze_from": 3}], ids=["full", "partial"])
@pytest.mark.parametrize("views", [1, 4])
def test_what_the_files_model_scores_on_validation_is_what_training_measured(
    images, files, rng, tmp_path, scope, views
):
    logged: dict[int, dict[str, float]] = {}
    weights = replace(WEIGHTS, views=views)
    to_train = task(linear_head(rng, 1024), files, epochs=2, learning_rate=1e-3, **scope)
    found = finetune_from_files(replace(to_train, weights=weights), logged.__setitem__)
    save_tensors(found.backbone.network, tmp_path / "model" / BACKBONE)
    write_model(found.head, weights.to_record(), tmp_path / "model")
    pretrained = TorchRuntime(weights, "cpu", "fp32", 8, compiled=False)
    before = score_images(to_train.head, weights, pretrained, found.val.ids, images.locate)(found.val.ids)[1]
    np.testing.assert_allclose(found.outcome.val_before, before, rtol=1e-3, atol=1e-4)
    epochs = found.outcome.epochs
    logits = predict_logits(tmp_path / "model", found.val.ids, images)
    np.testing.assert_allclose(found.val_after, logits, rtol=1e-3, atol=1e-4)
    assert list(logged) == [0, 1, 2]
    assert sorted(logged[0]) == ["val_accuracy", "val_loss"]
    assert logged[2] == {
        "train_loss": epochs[2].train_loss,
        "val_loss": epochs[2].val_loss,
        "val_accuracy": epochs[2].val_accuracy,
    }
    assert not list((tmp_path / "store" / "finetuning").iterdir())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frozen_is_frozen_and_the_cached_path_gives_the_bits_of_the_uncached_one(images, files, rng, precision):
    head, before = linear_head(rng, 1024), load_backbone(WEIGHTS).state_dict()
    results = []
    for cache_gb in (1.0, 0.0, 1.0):  # computed once; in every epoch; from the cache that is there
        to_train = task(head, files, precision=precision, unfreeze_from="stage4.2", cache_gb=cache_gb)
        found = finetune_from_files(to_train, lambda *_: None)
        results.append({name: value.numpy().tobytes() for name, value in found.backbone.state_dict().items()})
    assert results[0] == results[1] == results[2]
    changed = {name for name, value in before.items() if value.numpy().tobytes() != results[0][name]}
    assert changed
    assert all(name.startswith(("network.stage4.2.", "network.stage4.3.", "network.conv5.")) for name in changed)
    assert not any("running" in name or "num_batches" in name for name in changed)


@pytest.mark.parametrize("in_bf16", [False, True])
@pytest.mark.parametrize(("name", "start"), [("resnet18", "layer4"), ("densenet121", 20)])
def test_kept_activations_are_those_of_the_frozen_part_bit_for_bit(images, tmp_path, name, start, in_bf16):
    weights = Weights(name=name, weights="random", sha256=None, preprocessing=PREPROCESSING, path=None)
    blocks = block_names(name)
    frozen, tuned = split_backbone(load_backbone(weights), blocks, first_tuned(blocks, start))
    computed = ComputedInputs(
        locate=images.locate, preprocessing=PREPROCESSING, preset="grain", seed=0, batch_size=5, frozen=frozen,
        device=CPU, in_bf16=in_bf16,
    )  # fmt: skip
    train, val = list(images.labels)[:12], list(images.labels)[12:]
    kept = cached(computed, {None: val, 0: train, 1: train}, {}, tmp_path / "kept", 1.0)
    assert isinstance(kept, CachedInputs)
    for ids, number in [(train, 0), (train, 1), (val, None)]:
        for one, other in zip(kept.batches(ids, number), computed.batches(ids, number), strict=True):
            assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(one, other, strict=True))
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
                assert torch.equal(tuned(*one), tuned(*other))
    computed_in_fp32 = ComputedInputs(**{**vars(computed), "in_bf16": False})
    in_fp32 = torch.cat([one[0] for one in computed_in_fp32.batches(val, None)])
    assert torch.equal(torch.cat([one[0] for one in kept.batches(val, None)]), in_fp32)


class KilledError(Exception):
    """As sudden as a signal, between two epochs."""


@pytest.mark.parametrize("killed_after", [1, 3, 5])
def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(images, sets, rng, killed_after):
    head, settings = linear_head(rng), {"epochs": 5, "ema_decay": 0.9, "l2_sp": 0.1, "accumulate": 2}
    whole, resumed, epochs = toy_classifier(head), toy_classifier(head), []
    train(whole, images, sets, **settings)

    def kill(record: Epoch) -> None:
        if record.epoch == killed_after:
            raise KilledError

    with pytest.raises(KilledError):
        train(toy_classifier(head), images, sets, on_epoch=kill, **settings)
    train(resumed, images, sets, on_epoch=lambda record: epochs.append(record.epoch), **settings)
    assert epochs == list(range(killed_after, 6))
    expected = {name: value.numpy().tobytes() for name, value in state(whole).items()}
    assert {name: value.numpy().tobytes() for name, value in state(resumed).items()} == expected


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_smoothing_weights_parts_and_averages_all_train(images, sets, rng, optimizer):
    classifier = toy_classifier(linear_head(rng))
    records = train(
        classifier, images, sets, optimizer=optimizer, epochs=6, learning_rate=0.05, label_smoothing=0.1,
        class_weight="balanced", accumulate=3, ema_decay=0.5,
    )  # fmt: skip
    assert min(record.val_loss for record in records) < 0.5 * records[0].val_loss


def test_parts_of_a_step_give_its_gradients(images, sets, rng):
    head, found = linear_head(rng), []
    for accumulate in (1, 4):
        classifier = toy_classifier(head)
        train(classifier, images, sets, accumulate=accumulate, epochs=1)
        found.append(state(classifier)["head.0.weight"])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_bf16_training_ends_near_that_in_fp32(images, sets, rng):
    head = linear_head(rng)
    losses = [train(toy_classifier(head), images, sets, precision=one)[-1].val_loss for one in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_a_class_or_a_split_without_images_is_named_before_a_network_is_cut(images, files, rng):
    head = linear_head(rng, 1024)
    table = pd.read_csv(files.splits, keep_default_na=False)
    for gone, message in [(table["label"] == "red", "class 'red'"), (table["split"] == "val", "no validation image")]:
        write_csv(table.assign(split=table["split"].where(~gone, "unused")), files.splits)
        with pytest.raises(DataError, match=rf"{message}.*; check the split"):
            finetune_from_files(task(head, files, unfreeze_from="no such block"), lambda *_: None)


def test_sampled_epochs_train_on_every_class_alike(images, sets, rng):
    rows = np.flatnonzero((sets[0].y == 0) | (np.arange(12) < 2))  # six blue, one red
    few = LabelledImages(ids=[sets[0].ids[row] for row in rows], y=sets[0].y[rows])
    assert np.bincount(few.y).tolist() == [6, 1]
    seen = []
    optimizer_steps = register_optimizer_step_pre_hook(lambda *_: seen.append(1))
    try:
        records = train(
            toy_classifier(linear_head(rng)), images, (few, sets[1]), class_weight="sampled", batch_size=4, epochs=2
        )
    finally:
        optimizer_steps.remove()
    assert len(records) == 3
    assert len(seen) == 2 * 2  # four of either class, four images a step


def test_out_of_memory_ends_with_advice(images, sets, rng, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    classifier = toy_classifier(linear_head(rng))
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", refuse)
    monkeypatch.setattr(
        "stages.graft.training.finetune_loop._validated",
        lambda *_: Epoch(epoch=0, train_loss=math.nan, val_loss=1.0, val_accuracy=0.0),
    )
    with pytest.raises(DataError, match=r"out of memory with 5 images at a time; raise `finetune.accumulate`"):
        train(classifier, images, sets)


@pytest.mark.parametrize("content", [None, b"", b"x" * 1000])
def test_a_folder_that_is_not_whole_is_refused(images, rng, tmp_path, content: bytes | None):
    save_tensors(load_backbone(WEIGHTS).network, tmp_path / BACKBONE)
    write_model(linear_head(rng, 1024), WEIGHTS.to_record(), tmp_path)
    path = tmp_path / "backbone.safetensors"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=r"backbone\.safetensors is missing or damaged"):
        predict_logits(tmp_path, list(images.labels)[:1], images)
