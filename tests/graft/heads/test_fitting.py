from stages.graft.heads.fitting import format_choice

SCORED = {"val_accuracy": 0.95, "num_val": 20}


def test_a_head_is_named_with_its_score_on_images_that_the_fit_left_out():
    auto = {"kind": "auto", "chosen": "lda_and_logistic", "num_held_out": 120, "lda_and_logistic_accuracy": 0.963}
    assert format_choice(auto | SCORED) == [
        "LDA and logistic regression together, 96.3% right in cross-validation of 120 images"
    ]
    assert format_choice(auto | SCORED | {"num_held_out": 20}) == [
        "LDA and logistic regression together, 95.0% right on 20 validation images"
    ]


def test_epochs_are_told_and_an_unfinished_fit_is_warned_of():
    mlp = {"kind": "mlp", "epoch": 12, "num_epochs": 32}
    assert format_choice(mlp | SCORED) == ["an MLP, 95.0% right on 20 validation images, epoch 12 of 32"]
    _, warning = format_choice({"kind": "logistic", "converged": False} | SCORED)
    assert "`train_head.l2_grid`" in warning
