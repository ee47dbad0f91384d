"""Accelerators of one machine: found, and shown to a server device by device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["NVIDIA_GPU", "detect", "visible"]

NVIDIA_GPU = "nvidia.com/gpu"
NVIDIA_DRIVER = Path("/proc/driver/nvidia/gpus")


def detect(driver: Path = NVIDIA_DRIVER) -> Mapping[str, tuple[str, ...]]:
    """The devices of this machine by resource, as `CUDA_VISIBLE_DEVICES` names them; empty without a driver.

    A GPU is named by the UUID that its driver tells, else by its place in the order of bus addresses.
    """
    if not driver.is_dir():
        return {}
    devices = tuple(_device(index, folder) for index, folder in enumerate(sorted(driver.iterdir())))
    return {NVIDIA_GPU: devices} if devices else {}


def _device(index: int, folder: Path) -> str:
    lines = (folder / "information").read_text(errors="replace").splitlines()
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    uuid = values.get("GPU UUID", "").strip()
    # The driver masks the UUID with question marks until the device was used once.
    return uuid if uuid and "?" not in uuid else str(index)


def visible(resource: str | None, devices: tuple[str, ...]) -> Mapping[str, str]:
    """The variables with which a server sees its own devices and no other; without an accelerator it sees none."""
    own = ",".join(devices)
    nvidia = own if resource and resource.startswith("nvidia.com/") else ""
    amd = own if resource and resource.startswith("amd.com/") else ""
    return {
        "CUDA_VISIBLE_DEVICES": nvidia,
        "NVIDIA_VISIBLE_DEVICES": nvidia or "void",
        "ROCR_VISIBLE_DEVICES": amd,
        "HIP_VISIBLE_DEVICES": amd,
    }
