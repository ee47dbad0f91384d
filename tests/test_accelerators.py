"""Accelerators of one machine: what the driver's folder says, and what a server gets to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from aihub.accelerators import detect, visible

UUID = "GPU-5c8e1f6a-0c1d-4a52-9d2e-3f1b7a9c0e11"


def driver(folder: Path, *informations: str) -> Path:
    for index, information in enumerate(informations):
        gpu = folder / f"0000:0{index}:00.0"
        gpu.mkdir(parents=True)
        (gpu / "information").write_text(information)
    return folder


def test_a_machine_without_a_driver_has_none(tmp_path: Path) -> None:
    assert detect(tmp_path / "missing") == {}


def test_a_driver_without_devices_has_none(tmp_path: Path) -> None:
    assert detect(tmp_path) == {}


@pytest.mark.parametrize(
    ("informations", "devices"),
    [
        pytest.param([f"Model: \t\t Test\nGPU UUID: \t {UUID}\n"], (UUID,), id="by UUID"),
        pytest.param(["GPU UUID: \t GPU-????????-????-????-????-????????????\n"], ("0",), id="masked UUID"),
        pytest.param(["Model: Test\n", "Model: Test\n"], ("0", "1"), id="no UUID, in order of addresses"),
        pytest.param(["", f"GPU UUID: {UUID}\n"], ("0", UUID), id="each by itself"),
    ],
)
def test_devices_are_named_as_cuda_names_them(
    tmp_path: Path, informations: list[str], devices: tuple[str, ...]
) -> None:
    assert detect(driver(tmp_path, *informations)) == {"nvidia.com/gpu": devices}


@pytest.mark.parametrize(
    ("resource", "devices", "cuda", "nvidia", "rocr"),
    [
        pytest.param(None, (), "", "void", "", id="without an accelerator nothing is seen"),
        pytest.param("nvidia.com/gpu", ("0", "2"), "0,2", "0,2", "", id="two GPUs"),
        pytest.param("nvidia.com/mig-1g.10gb", ("MIG-1",), "MIG-1", "MIG-1", "", id="a slice"),
        pytest.param("amd.com/gpu", ("1",), "", "void", "1", id="another vendor's"),
        pytest.param("nvidia.com/gpu", (), "", "void", "", id="none handed out"),
    ],
)
def test_a_server_sees_its_own_devices_only(
    resource: str | None, devices: tuple[str, ...], cuda: str, nvidia: str, rocr: str
) -> None:
    assert visible(resource, devices) == {
        "CUDA_VISIBLE_DEVICES": cuda,
        "NVIDIA_VISIBLE_DEVICES": nvidia,
        "ROCR_VISIBLE_DEVICES": rocr,
        "HIP_VISIBLE_DEVICES": rocr,
    }
