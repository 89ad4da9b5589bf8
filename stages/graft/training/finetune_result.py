"""What fine-tuning changed: whether its weights are kept, and what the network forgot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.graft.backbone.tensor_files import save_tensors
from stages.graft.backbone.weights import Weights
from stages.graft.heads.head import Head, save_head
from stages.graft.metrics.paired_comparison import (
    Keep,
    PairedComparison,
    compare_paired,
    comparison_record,
    format_comparison,
    worth_keeping,
)
from stages.graft.metrics.training_curve import Epoch, best_epoch
from stages.graft.model.model_folder import BACKBONE, FROZEN_HEAD, write_model
from stages.graft.training.finetune_task import Finetuned
from stages.graft.training.forgetting import Forgetting, forgetting_record, format_forgetting, measure_forgetting
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
    forgetting: Forgetting
    """Distance from the pretrained network."""

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
        kept = {"kept": "fine-tuned" if self.kept else "head-only", "epoch": best_epoch(self.epochs).epoch}
        return kept | comparison_record(self.comparison, "val") | forgetting_record(self.forgetting)

    def lines(self) -> tuple[str, str]:
        """Say what was gained, and what was forgotten."""
        return format_comparison(self.comparison, "validation"), format_forgetting(self.forgetting)


def assess(finetuned: Finetuned, weights: Weights, keep: Keep, source: SourceImages | None) -> FinetuneResult:
    """Compare a fine-tuned network with the pretrained one, also on images that this was pretrained on, if given."""
    comparison = compare_paired(finetuned.val.y, finetuned.outcome.val_before, finetuned.val_after)
    forgetting = measure_forgetting(
        weights, finetuned.backbone.state_dict(), finetuned.val.ids, finetuned.locate, finetuned.device, source
    )
    kept = worth_keeping(comparison, keep)
    return FinetuneResult(finetuned=finetuned, comparison=comparison, kept=kept, forgetting=forgetting)
