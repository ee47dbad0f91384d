"""The catalog and what counts as an image reference."""

from __future__ import annotations

import time

import pytest

from aihub.catalog import Catalog, ImageStream, ImageTag, is_image_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4
PYTORCH = ImageStream("pytorch", order=10, tags=(ImageTag("2.9"), ImageTag("2.8")))
SCIPY = ImageStream("scipy", order=10, tags=(ImageTag("2026"),))
BASE = ImageStream("base", order=20, tags=(ImageTag("1"),))
CATALOG = Catalog.of([SCIPY, BASE, PYTORCH])


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("pytorch:2.9", (PYTORCH, PYTORCH.tags[0])),
        ("pytorch:2.8", (PYTORCH, PYTORCH.tags[1])),
        ("pytorch:2.7", None),
        ("pytorch:", None),
        ("pytorch", None),
        ("tensorflow:2.9", None),
        ("pytorch:2.9:x", None),
        (":2.9", None),
        ("", None),
        ("PyTorch:2.9", None),
    ],
)
def test_a_reference_names_a_stream_and_a_tag(reference: str, found: tuple[ImageStream, ImageTag] | None) -> None:
    assert CATALOG.find(reference) == found


def test_references_are_in_the_order_of_streams_and_as_written_within() -> None:
    assert list(CATALOG.references()) == ["pytorch:2.9", "pytorch:2.8", "scipy:2026", "base:1"]
    assert list(Catalog().references()) == []


def test_of_two_streams_with_one_name_the_first_is_used() -> None:
    other = ImageStream("pytorch", order=1)
    assert Catalog.of([PYTORCH, other]).streams == {"pytorch": PYTORCH}
    assert Catalog.of([other, PYTORCH]).streams == {"pytorch": other}


@pytest.mark.parametrize(
    ("declared", "accelerator", "fits"),
    [
        ((), "nvidia.com/gpu", True),
        (("nvidia.com/gpu",), "nvidia.com/gpu", True),
        (("nvidia.com/gpu",), "nvidia.com/mig-1g.10gb", True),
        (("nvidia.com/gpu",), "amd.com/gpu", False),
        (("amd.com/gpu", "nvidia.com/gpu"), "nvidia.com/gpu", True),
        (("nvidia.com/gpu",), "nvidia.company/gpu", False),
    ],
)
def test_an_image_is_made_for_the_accelerators_of_a_vendor(
    declared: tuple[str, ...], accelerator: str, fits: bool
) -> None:
    assert ImageStream("x", accelerators=declared).made_for(accelerator) is fits


@pytest.mark.parametrize(
    "text",
    [
        "python",
        "python:3.12",
        "quay.io/example/pytorch:2.9",
        "ghcr.io/org/team/sub/image:1",
        "localhost:5000/image",
        "registry.example.org:5000/a/b:Tag_1.x-y",
        f"quay.io/example/pytorch@{DIGEST}",
        f"quay.io/example/pytorch:2.9@{DIGEST}",
        "[2001:db8::1]:5000/image:1",
        "a/b__c/d.e-f--g",
        "x:" + "t" * 128,
    ],
)
def test_what_can_be_pulled_is_a_reference(text: str) -> None:
    assert is_image_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":py3.8",
        "Image:1",
        "quay.io/Example/pytorch",
        "quay.io/example/pytorch:",
        "quay.io/example/pytorch@sha256:abc",
        f"quay.io/example/pytorch@{DIGEST.upper()}",
        "quay.io/example/pytorch@md5:" + "0" * 64,
        "docker://quay.io/x",
        "https://quay.io/x",
        "/x",
        "x/",
        "a//b",
        "-x",
        "a b",
        "x:1\n",
        "x:-1",
        "x:" + "t" * 129,
        "a/" * 300 + "a",
        "image_PLACEHOLDER",
        "$(IMAGE)",
        "x@" + DIGEST + "\0",
    ],
    ids=repr,
)
def test_what_cannot_be_pulled_is_no_reference(text: str) -> None:
    assert not is_image_reference(text)


@pytest.mark.parametrize("text", ["a-" * 255, "a." * 255 + "A", "-" * 511, "a" * 511 + "!", "a_" * 200 + "/" + "__"])
def test_no_text_takes_long_to_judge(text: str) -> None:
    started = time.perf_counter()
    is_image_reference(text)
    assert time.perf_counter() - started < 0.2
