"""Parameters of fine-tuning, in a module that does not import torch."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from stages.graft.core.params import Params
from stages.graft.heads.class_weights import Balance
from stages.graft.metrics.paired_comparison import Keep


class FinetuneParams(Params):
    """The section `finetune`."""

    strategy: Literal["none", "partial", "full"]
    """none: the backbone stays frozen; partial: its last blocks and the head are trained; full: all of it is."""
    unfreeze_from: str | PositiveInt
    """partial: name of the first trained block, or number of trained blocks at the end."""
    keep: Keep
    """better: fine-tuned weights are kept only if they are better on validation; always: they are always kept."""
    augmentation: Literal["none", "grain", "texture", "natural"]
    """Preset of random views of the training images."""
    optimizer: Literal["adamw", "sgd"]
    """The optimizer."""
    learning_rate: PositiveFloat
    """Peak learning rate of the head."""
    layer_decay: float = Field(gt=0, le=1)
    """Factor of the learning rate from each block to the one before it."""
    weight_decay: NonNegativeFloat
    """Weight decay of parameters with two or more dimensions."""
    warmup_epochs: NonNegativeInt
    """Epochs in which the learning rate rises."""
    epochs: PositiveInt
    """Passes over the training images."""
    batch_size: PositiveInt
    """Images per step."""
    accumulate: PositiveInt
    """Parts of a step, computed one after the other to save memory."""
    clip_norm: PositiveFloat
    """Largest norm of a step's gradients; longer ones are shortened."""
    label_smoothing: float = Field(ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    ema_decay: float = Field(ge=0, lt=1)
    """Decay of the moving average of the weights, which is validated and kept; 0: no average."""
    l2_sp: NonNegativeFloat
    """Strength of the pull towards the pretrained weights."""
    class_weight: Balance
    """How classes of different sizes are treated."""
    views: PositiveInt
    """partial: views of each training image."""
    cache_gb: NonNegativeFloat
    """partial: disk space for the output of the frozen part, in GB."""
    precision: Literal["auto", "fp32", "bf16"]
    """Precision of the forward and backward pass; weights, validation and test are fp32."""
    measure_forgetting: bool
    """Whether to measure on the validation images what the network forgets."""
    source_images: str | None
    """Labelled images of the set the network was pretrained on, to measure what it forgets on them too; null: none."""
    seed: int = Field(ge=0, lt=2**32)
    """Seeds the order of the images and the views."""

    @property
    def boundary(self) -> str | int | None:
        """The first trained block, as `unfreeze_from` gives it; None: all blocks are trained."""
        return self.unfreeze_from if self.strategy == "partial" else None

    @property
    def num_views(self) -> int | None:
        """Views of each training image that the epochs use in turn; None: every epoch has new views."""
        if self.boundary is None:
            return None
        return 1 if self.augmentation == "none" else self.views
