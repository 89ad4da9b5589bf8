"""Parameters of the MLP head, in a module that does not import torch."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from stages.graft.core.params import Params


class MlpParams(Params):
    """The section `train_head.mlp`."""

    hidden_size: PositiveInt
    """Units of the hidden layer."""
    dropout: float = Field(ge=0, lt=1)
    """Share of the hidden units left out at each step."""
    epochs: PositiveInt
    """Passes over the training features, at most."""
    patience: PositiveInt
    """Training ends after this many epochs without a lower validation log loss."""
    batch_size: PositiveInt
    """Images per step."""
    learning_rate: PositiveFloat
    """Learning rate of AdamW."""
    weight_decay: NonNegativeFloat
    """Weight decay of AdamW."""
    seed: NonNegativeInt
    """Seeds the initial weights, the order of the images and the dropout."""
