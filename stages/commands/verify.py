"""graft verify: hash everything again that results rest on; name what is damaged and the commands that repair it.

Reads   dvc.lock and all it names, DVC's cache, the store, the weights
Writes  nothing, except that `refill_cache` puts good files of the workspace back into DVC's cache
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.graft.backbone.torchvision_networks import checkpoints_folder
from stages.graft.backbone.weights import BackboneParams
from stages.graft.core.params import load_params
from stages.graft.maintenance.rebuild import differences, rebuild
from stages.graft.maintenance.store_checks import damaged_files, damaged_objects, left_aside, to_remove, weights_problem
from stages.graft.maintenance.verification import (
    Damage,
    Repository,
    check_dvc,
    check_leftovers,
    check_lock_entries,
    check_objects,
    quote_path,
    refill,
)
from stages.graft.storage.cache_folder import feature_store_location, store_folder

ROOT = Path()


def refill_cache(out: str) -> None:
    """Put good files of an output back into DVC's cache."""
    num_objects = refill(Repository(ROOT), Path(out).as_posix())
    print(f"graft verify: {num_objects} objects of DVC's cache put back from {out}")


def verify_everything(rerun: bool) -> None:
    """Check every file and print the damage; end with exit code 1 when there is any."""
    damages = list(dict.fromkeys(find_damage()))
    for damage in damages:
        print(f"{damage.message}\n" + "".join(f"    {command}\n" for command in damage.commands))
    if damages:
        sys.exit(f"graft verify: {len(damages)} damaged; the commands under each bring it back, then verify again")
    print("graft verify: every byte is as dvc.lock and the store say")
    if rerun:
        compare_rebuild()


def compare_rebuild() -> None:
    """Build everything again and compare."""
    with TemporaryDirectory(prefix="graft-verify-", ignore_cleanup_errors=True) as scratch:
        lines = list(differences(ROOT, rebuild(ROOT, Path(scratch), store_folder())))
    for line in lines:
        print(line)
    if lines:
        sys.exit(f"graft verify: {len(lines)} outputs come out otherwise; another processor or library can be why")
    print("graft verify: built from nothing, the same bytes")


def find_damage() -> Iterator[Damage]:
    """Check everything, the outputs first, in the order of the stages."""
    repository = Repository(ROOT)
    damages = list(check_dvc(ROOT))
    yield from damages
    if damages:
        return  # the other checks read dvc.lock
    yield from check_leftovers(repository)
    yield from check_lock_entries(repository)
    yield from check_objects(repository)
    again = "the next run that needs it makes or fetches it again"
    for path, what in damaged_files(store_folder(), checkpoints_folder()):
        yield Damage(message=f"{what}\n{again}:", commands=(f"rm -rf {quote_path(to_remove(path))}",))
    for path in left_aside(store_folder()):
        yield Damage(
            message=f"{path} was found damaged and set aside; nothing reads it:", commands=(f"rm {quote_path(path)}",)
        )
    features = feature_store_location()
    for address, what in damaged_objects(features) if isinstance(features, str) else ():
        yield Damage(message=f"{what}\n{again}:", commands=(f"aws s3 rm {quote_path(address)}",))
    backbone = load_params("backbone", BackboneParams)
    if problem := weights_problem(backbone.weights, backbone.sha256):
        yield Damage(message=f"{problem}; fetch it again from where it came", commands=())
