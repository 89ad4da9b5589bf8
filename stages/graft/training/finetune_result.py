"""What fine-tuning changed: whether its weights are kept, and what the network forgot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.graft.backbone.tensor_files import save_tensors
from stages.graft.backbone.weights import Weights
from stages.graft.heads.head import Head, save_head
from stages.graft.metrics.paired_comparison import (
    Keep,
    PairedComparison,
    compare_paired,
    comparison_record,
    format_outcome,
    worth_keeping,
)
from stages.graft.metrics.training_curve import Epoch
from stages.graft.model.model_folder import BACKBONE, FROZEN_HEAD, write_model
from stages.graft.training.finetune_params import FinetuneParams
from stages.graft.training.finetune_task import Finetuned
from stages.graft.training.forgetting import (
    NUM_DIGITS,
    Forgetting,
    forgetting_record,
    format_forgetting,
    measure_forgetting,
    weight_changes,
    whole_distance,
)
from stages.graft.training.source_accuracy import SourceImages


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """A fine-tuned network beside the pretrained one."""

    finetuned: Finetuned
    """The trained network."""
    comparison: PairedComparison
    """The head alone and the fine-tuned network on the validation images."""
    kept: bool
    """Whether the fine-tuned weights are kept."""
    changes: pd.DataFrame
    """Change of each block's weights, as `block_distances` measures it."""
    forgetting: Forgetting | None
    """What the network forgot; None where that was not measured."""

    @property
    def epochs(self) -> Sequence[Epoch]:
        """Results of every epoch."""
        return self.finetuned.outcome.epochs

    def write_model(self, frozen_head: Head, backbone: Mapping[str, Any], folder: Path) -> None:
        """Write the fine-tuned model, and the head for the pretrained network, which evaluate compares it with."""
        save_tensors(self.finetuned.backbone.network, folder / BACKBONE)
        save_head(frozen_head, folder, backbone, FROZEN_HEAD)
        write_model(self.finetuned.head, backbone, folder)

    def record(self) -> dict[str, Any]:
        """Flatten the result for a report."""
        kept = {"kept": "fine-tuned" if self.kept else "head-only"}
        moved = {"weight_distance": round(whole_distance(self.changes), NUM_DIGITS)}
        forgotten = forgetting_record(self.forgetting) if self.forgetting else {}
        return kept | comparison_record(self.comparison, "val") | moved | forgotten

    def lines(self, keep: Keep) -> list[str]:
        """Say whether the weights are kept and why, and what was forgotten if that was measured."""
        line = format_outcome(self.comparison, keep)
        return [line, format_forgetting(self.forgetting)] if self.forgetting else [line]


def assess(
    finetuned: Finetuned, weights: Weights, params: FinetuneParams, source: SourceImages | None
) -> FinetuneResult:
    """Compare a fine-tuned network with the pretrained one, and measure what it forgot if the parameters ask for it.

    `source` are labelled images that the network was pretrained on, if there are any.
    """
    comparison = compare_paired(finetuned.val.y, finetuned.outcome.val_before, finetuned.val_after)
    trained, val = finetuned.backbone.state_dict(), finetuned.val
    forgetting = (
        measure_forgetting(weights, trained, val.ids, finetuned.locate, finetuned.device, source)
        if params.measure_forgetting or source
        else None
    )
    return FinetuneResult(
        finetuned=finetuned,
        comparison=comparison,
        kept=worth_keeping(comparison, params.keep),
        changes=weight_changes(weights, trained),
        forgetting=forgetting,
    )
