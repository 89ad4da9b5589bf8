"""Beside the pipeline, verify: hash everything again that results rest on; name what is damaged, and the way back.

Reads   dvc.lock and all it names, DVC's cache, the store, the weights
Writes  nothing; --refill puts good files of the workspace back into DVC's cache, --rerun builds everything once more,
        in a temporary folder and with an empty store
Run     graft verify [--rerun | --refill OUT]
"""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.graft.backbone.torchvision_weights import checkpoints_folder
from stages.graft.backbone.weights import BackboneParams
from stages.graft.core.params import load_params
from stages.graft.maintenance.rebuild import differences, rebuild
from stages.graft.maintenance.store_checks import damaged_files, damaged_objects, left_aside, to_remove, weights_problem
from stages.graft.maintenance.verification import (
    Damage,
    Repository,
    check_dvc,
    check_left_behind,
    check_lock_entries,
    check_objects,
    quoted,
    refill,
)
from stages.graft.storage.cache_folder import feature_store_location, store_folder

ROOT = Path()


def main(arguments: Sequence[str]) -> None:
    """Check, list the damage, rebuild if asked; exit code 1 when something is not as it should be."""
    options = described().parse_args(arguments)
    if options.refill:
        num = refill(Repository(ROOT), Path(options.refill).as_posix())
        print(f"graft verify: {num} objects of DVC's cache put back from {options.refill}")
        return
    found = list(dict.fromkeys(damage()))
    for one in found:
        print(f"{one.what}\n" + "".join(f"    {command}\n" for command in one.repair))
    if found:
        sys.exit(f"graft verify: {len(found)} damaged; the commands under each bring it back, then verify again")
    print("graft verify: every byte is as dvc.lock and the store say")
    if options.rerun:
        rerun()


def rerun() -> None:
    """Build everything once more and compare."""
    with TemporaryDirectory(prefix="graft-verify-", ignore_cleanup_errors=True) as scratch:
        others = list(differences(ROOT, rebuild(ROOT, Path(scratch), store_folder())))
    for line in others:
        print(line)
    if others:
        sys.exit(f"graft verify: {len(others)} outputs come out otherwise; another processor or library can be why")
    print("graft verify: built from nothing, the same bytes")


def damage() -> Iterator[Damage]:
    """Look everywhere, the outputs first, in the order of the stages."""
    repository = Repository(ROOT)
    found = list(check_dvc(ROOT))
    yield from found
    if found:
        return  # without it, nobody knows what else there should be
    yield from check_left_behind(repository)
    yield from check_lock_entries(repository)
    yield from check_objects(repository)
    again = "the next run that needs it makes or fetches it again"
    for path, what in damaged_files(store_folder(), checkpoints_folder()):
        yield Damage(what=f"{what}\n{again}:", repair=(f"rm -rf {quoted(to_remove(path))}",))
    for path in left_aside(store_folder()):
        yield Damage(what=f"{path} was found damaged and set aside; nothing reads it:", repair=(f"rm {quoted(path)}",))
    features = feature_store_location()
    for address, what in damaged_objects(features) if isinstance(features, str) else ():
        yield Damage(what=f"{what}\n{again}:", repair=(f"aws s3 rm {shlex.quote(address)}",))
    backbone = load_params("backbone", BackboneParams)
    if problem := weights_problem(backbone.weights, backbone.sha256):
        yield Damage(what=f"{problem}; fetch it again from where it came", repair=())


def described() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        "graft verify", description="Hash again what dvc.lock claims, DVC's cache, the store and the weights."
    )
    parser.add_argument(
        "--rerun", action="store_true", help="also build everything from nothing, elsewhere, and compare the bytes"
    )
    parser.add_argument(
        "--refill", metavar="OUT", help="put good files of an output back into DVC's cache, where it lacks them"
    )
    return parser
