"""OpenVINO, kept from reporting its use: every other module takes it from here.

Its converter reports over the network wherever the package openvino_telemetry is found, which openvino itself installs,
and does so in a forked process that can hang.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if it were not installed
import openvino  # noqa: E402

__all__ = ["openvino"]
