"""Classification networks by name: build one, and load weights into it."""

from torch import Tensor, nn

from stages.graft.backbone.providers import provider_of
from stages.graft.core.errors import WeightsError


def build_network(architecture: str, num_classes: int) -> nn.Module:
    """Build a classification network of any provider, with fresh weights from torch's generator.

    Raises:
        ParamsError: no network has that name; the message lists the nearest ones.
    """
    return provider_of(architecture).build(architecture, num_classes)


def load_weights(network: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Load weights by name into a network, in any precision; `origin` of the weights is for the error message.

    Batch counters may be missing, auxiliary outputs are ignored.

    Raises:
        WeightsError: names or shapes do not fit; the first misfit is named.
    """
    expected = network.state_dict()
    given = {name: value for name, value in weights.items() if not name.lower().startswith("aux")}
    missing = [name for name in expected if name not in given and not name.endswith("num_batches_tracked")]
    extra = [name for name in given if name not in expected]
    misshapen = [name for name in expected if name in given and expected[name].shape != given[name].shape]
    if misfits := [*missing, *extra, *misshapen]:
        counts = f"{len(missing)} missing, {len(extra)} unknown, {len(misshapen)} of another shape"
        raise WeightsError(f"{origin} does not fit {type(network).__name__}: {counts} (first: {misfits[0]})")
    network.load_state_dict(expected | {name: given[name].to(expected[name].dtype) for name in given})


def build_fitting(architecture: str, weights: dict[str, Tensor]) -> nn.Module:
    """Build a network with as many classes as a checkpoint's output layer scores.

    Raises:
        WeightsError: the checkpoint holds no such output layer.
    """
    network = build_network(architecture, 1000)
    name = f"{provider_of(architecture).output_layer(network)}.weight"
    if name not in weights or not weights[name].ndim:
        raise WeightsError(f"the weights hold no output layer `{name}`; they are not of {architecture}")
    num_classes = len(weights[name])
    return network if num_classes == 1000 else build_network(architecture, num_classes)
