import numpy as np

from stages.graft.heads.head import Head
from stages.graft.heads.scores import score_head
from tests.support.features import feature_set


def test_by_hand():
    layer = (np.array([[0], [np.log(3)]], dtype=np.float32), np.zeros(2, dtype=np.float32))
    head = Head(kind="logistic", classes=("a", "b"), layers=(layer,))
    train, val = feature_set([1, 1], [0, 1], ("a", "b")), feature_set([1, 1, 1, -1], [1, 1, 1, 1], ("a", "b"))
    assert score_head(head, train, val) == {  # p(b) is 3/4 at 1 and 1/4 at -1
        "val_accuracy": 0.75,
        "val_log_loss": round((3 * np.log(4 / 3) + np.log(4)) / 4, 6),
        "train_accuracy": 0.5,
        "train_log_loss": round((np.log(4) + np.log(4 / 3)) / 2, 6),
        "num_train": 2,
        "num_val": 4,
        "num_features": 1,
    }
