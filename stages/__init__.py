"""Graft's pipeline: one script per stage, named as in dvc.yaml; the library they share is stages.graft."""

import os

from stages.graft.core.interruption import watch_imports

watch_imports()  # here, since this is the first of our code that runs; a stage imports for seconds

if "GRAFT_COPIES" in os.environ:  # set by `graft repro`
    from stages.graft.core.handover import hand_over

    hand_over()
