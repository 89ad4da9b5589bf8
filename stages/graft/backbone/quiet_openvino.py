"""OpenVINO without telemetry; every other module imports it from here.

Its converter sends reports over the network if the package openvino_telemetry is installed, as it is with openvino, and
does so in a forked process that can hang.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if it were not installed
import openvino  # noqa: E402

__all__ = ["openvino"]
