"""How well a fitted head does on the images it was fitted to and chosen with; test images are not for here."""

from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Head
from stages.graft.metrics.classification import accuracy, log_loss


def score_head(head: Head, train: FeatureSet, val: FeatureSet) -> dict[str, float]:
    """Score a head as the train_head stage reports it: val_accuracy, val_log_loss, …, rounded to 6 digits."""
    scores: dict[str, float] = {}
    for name, images in (("val", val), ("train", train)):
        logits = head.logits(images.x)
        scores[f"{name}_accuracy"] = round(accuracy(logits.argmax(axis=1), images.y), 6)
        scores[f"{name}_log_loss"] = round(log_loss(logits, images.y), 6)
    return scores | {"num_train": len(train.y), "num_val": len(val.y), "num_features": train.x.shape[1]}
