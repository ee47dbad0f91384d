"""ImageStream documents: the contract of both generations, and what one odd item costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aihub.catalog import ImageStream, ImageTag, Software, TagState
from aihub.errors import CatalogError
from aihub.imagestreams import CatalogWarning, Read, read_documents
from aihub.text import Text

DATA = Path(__file__).parent / "data" / "imagestreams"
DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def document(**changes: Any) -> dict[str, Any]:
    """A stream "demo" with the tag "1", with top-level keys replaced."""
    return {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": "demo"},
        "spec": {"tags": [tag("1")]},
        **changes,
    }


def tag(name: Any, source: str = "quay.io/example/demo:1", kind: str = "DockerImage", **rest: Any) -> dict[str, Any]:
    return {"name": name, "from": {"kind": kind, "name": source}, **rest}


def read(*objects: Any) -> Read:
    return read_documents(yaml.safe_dump_all(objects), "file.yaml")


def one(*objects: Any) -> tuple[ImageStream, list[str]]:
    """The only stream that was read, and the warnings as "stream:tag: field: message"."""
    found = read(*objects)
    assert len(found.streams) == 1
    return found.streams[0], [str(warning).removeprefix("file.yaml: ") for warning in found.warnings]


def annotated(key: str, value: Any) -> tuple[ImageStream, list[str]]:
    return one(document(metadata={"name": "demo", "annotations": {key: value}}))


def tag_annotated(annotations: Mapping[str, Any]) -> tuple[ImageTag, list[str]]:
    stream, warnings = one(document(spec={"tags": [tag("1", annotations=annotations)]}))
    return stream.tags[0], warnings


def test_a_document_is_read_whole() -> None:
    found = read_documents((DATA / "course.yaml").read_text(), "course.yaml")
    current = ImageTag(
        name="2026.2",
        source="quay.io/example/statistics:2026.2",
        image="quay.io/example/statistics:2026.2",
        recommended=True,
        default=True,
        scheduled=True,
        reference_policy="Local",
        software=(Software("Python", "3.12"), Software("R", "4.10")),
        dependencies=(Software("pandas", "2.3"),),
        requirements=("pandas==2.3.0", "statsmodels>=0.14"),
    )
    pinned = f"registry.example.org:5000/statistics@{DIGEST}"
    old = ImageTag(
        name="3.10",
        source=pinned,
        image=pinned,
        recommended=True,
        outdated=True,
        insecure=True,
        requirements=("numpy==2.1", "scipy"),
    )
    latest = ImageTag(
        name="latest",
        kind="ImageStreamTag",
        source="statistics:2026.2",
        image=current.image,
        requirements=current.requirements,
    )
    stream = ImageStream(
        name="statistics",
        display_name=Text("Statistics with Python"),
        description=Text("pandas and statsmodels for the statistics course"),
        offered=True,
        order=20,
        origin="shipped",
        source_url="https://example.org/course-images/statistics",
        accelerators=("nvidia.com/gpu", "amd.com/gpu"),
        tags=(current, old, latest),
    )
    assert found == Read((stream,), ())


def test_a_list_in_json_is_read_with_its_status() -> None:
    found = read_documents((DATA / "imported.json").read_text(), "imported.json")
    assert [stream.name for stream in found.streams] == ["vision"]
    assert found.warnings == ()
    stream = found.streams[0]
    assert (stream.display_name, stream.offered, stream.origin, stream.source_url) == (
        Text("Vision 📷"),
        False,
        "byon",
        "",
    )
    assert {tag.name: tag.image for tag in stream.tags} == {
        "1": "quay.io/example/vision@sha256:" + "2" * 64,
        "pinned": "quay.io/example/vision@sha256:" + "1" * 64,
        "built": "registry.example.org/lab/vision@sha256:" + "3" * 64,
    }


def test_one_odd_item_costs_that_item() -> None:
    found = read_documents((DATA / "odd.yaml").read_text(), "odd.yaml")
    assert [(stream.name, [tag.name for tag in stream.tags]) for stream in found.streams] == [
        ("language", ["good", "software", "placeholder"]),
        ("empty", []),
    ]
    language = found.streams[0]
    assert (language.display_name, language.order, language.source_url, language.accelerators) == (
        Text("Language"),
        100,
        "",
        (),
    )
    assert [tag.image for tag in language.tags] == ["quay.io/example/language:1", "quay.io/example/language:2", None]
    assert [(warning.stream, warning.tag, warning.field) for warning in found.warnings] == [
        (None, None, None),
        ("language", None, "opendatahub.io/notebook-image-order"),
        ("language", None, "opendatahub.io/notebook-image-url"),
        ("language", None, "opendatahub.io/recommended-accelerators"),
        ("language", "software", "opendatahub.io/workbench-image-recommended"),
        ("language", "software", "opendatahub.io/notebook-software"),
        ("language", "placeholder", "from.name"),
        ("language", "good", "name"),
        ("language", None, "spec.tags[4].name"),
        ("empty", None, "spec.tags"),
        (None, None, "metadata.name"),
    ]
    assert {warning.file for warning in found.warnings} == {"odd.yaml"}


def test_a_stream_that_says_nothing_gets_the_defaults() -> None:
    stream, warnings = one(document())
    assert stream == ImageStream(
        name="demo",
        display_name=Text("demo"),
        offered=False,
        order=100,
        origin="shipped",
        tags=(ImageTag("1", source="quay.io/example/demo:1", image="quay.io/example/demo:1"),),
    )
    assert warnings == []


@pytest.mark.parametrize(
    "wrap",
    [
        lambda single: [single],
        lambda single: [{"apiVersion": "v1", "kind": "List", "items": [single]}],
        lambda single: [{"apiVersion": "image.openshift.io/v1", "kind": "ImageStreamList", "items": [single]}],
        lambda single: [{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}}, single],
        lambda single: [{"kind": "List", "items": [{"kind": "BuildConfig"}]}, {"kind": "List", "items": [single]}],
        lambda single: [None, single, None],
        lambda single: [{**single, "apiVersion": "v1"}],
    ],
    ids=["single", "List", "ImageStreamList", "other kinds", "two lists", "empty documents", "OpenShift 3"],
)
def test_every_wrapping_is_read(wrap: Any) -> None:
    objects = wrap(document())
    assert one(*objects) == one(document())
    if len(objects) == 1:
        assert read_documents(json.dumps(objects[0]), "file.yaml") == read(document())


@pytest.mark.parametrize("text", ["", "# nothing here\n", "---\n---\n", "kind: ConfigMap\n", "kind: List\nitems: []\n"])
def test_a_file_without_streams_says_so(text: str) -> None:
    assert read_documents(text, "file.yaml") == Read(
        (), (CatalogWarning("file.yaml", None, None, None, "holds no ImageStream"),)
    )


@pytest.mark.parametrize("text", ["hello", "[1, 2]", "a: [", "- x\n---\ny\n", "{", '"text"', "\0"], ids=repr)
def test_a_file_without_any_object_is_an_error(text: str) -> None:
    with pytest.raises(CatalogError):
        read_documents(text, "file.yaml")


@pytest.mark.parametrize(
    ("objects", "warning"),
    [
        (["text", document()], "the document at line 1 is not an object"),
        ([{"kind": "List", "items": ["text", document()]}], "items[0]: is not an object"),
        ([{"kind": "List", "items": "text"}, document()], "items: is not a list: it was left out"),
        (
            [document(apiVersion="example.org/v1"), document()],
            "demo: apiVersion: 'example.org/v1' is not image.openshift.io/v1: the stream was left out",
        ),
        (
            [document(apiVersion=None), document()],
            "demo: apiVersion: nothing is not image.openshift.io/v1: the stream was left out",
        ),
        ([document(metadata="x"), document()], "metadata: is not an object: it was left out"),
        (
            [document(metadata={"name": "a:b"}), document()],
            "metadata.name: 'a:b' is not a name for an image stream: the stream was left out",
        ),
        (
            [document(metadata={"name": "a b"}), document()],
            "metadata.name: 'a b' is not a name for an image stream: the stream was left out",
        ),
        (
            [document(metadata={"name": ["x"]}), document()],
            "metadata.name: ['x'] is not a name for an image stream: the stream was left out",
        ),
        (
            [document(metadata={"name": "x" * 254}), document()],
            f"metadata.name: {repr('x' * 254)[:80]} is not a name for an image stream: the stream was left out",
        ),
        ([document(spec={"tags": [tag("1"), "text"]})], "demo: spec.tags[1]: is not an object: the tag was left out"),
        (
            [document(spec={"tags": [tag("1"), tag("a/b")]})],
            "demo: spec.tags[1].name: 'a/b' is not a name for a tag: the tag was left out",
        ),
        (
            [document(spec={"tags": [tag("1"), tag(".x")]})],
            "demo: spec.tags[1].name: '.x' is not a name for a tag: the tag was left out",
        ),
        (
            [document(spec={"tags": [tag("1"), tag("x" * 129)]})],
            f"demo: spec.tags[1].name: {repr('x' * 129)[:80]} is not a name for a tag: the tag was left out",
        ),
        ([document(status="text")], "demo: status: is not an object: it was left out"),
        ([document(status={"tags": [{"items": []}]})], "demo: status.tags[0]: has no name of a tag"),
        (
            [document(status={"tags": [{"tag": "1", "items": [{"dockerImageReference": ":py3"}]}]})],
            "demo:1: status.tags.items: ':py3' is not an image reference",
        ),
    ],
)
def test_a_wrong_shape_costs_its_own_item(objects: list[Any], warning: str) -> None:
    stream, warnings = one(*objects)
    assert warning in warnings
    assert [tag.image for tag in stream.tags] == ["quay.io/example/demo:1"]


def test_names_that_a_template_left_are_kept_with_a_warning() -> None:
    stream, warnings = one(document(metadata={"name": "$(version)-cuda"}))
    assert stream.name == "$(version)-cuda"
    assert warnings == [
        "$(version)-cuda: metadata.name: is not a name that Kubernetes accepts: a template was not filled in?"
    ]


def test_streams_with_one_name_are_all_read_with_a_warning() -> None:
    found = read(document(), document(), document(metadata={"name": "other"}))
    assert [stream.name for stream in found.streams] == ["demo", "demo", "other"]
    assert [str(warning) for warning in found.warnings] == [
        "file.yaml: demo: metadata.name: is the name of 2 streams of this file: the first one is used"
    ]


@pytest.mark.parametrize(
    ("labels", "offered", "warnings"),
    [
        ({"opendatahub.io/notebook-image": "true"}, True, 0),
        ({"opendatahub.io/notebook-image": "false"}, False, 0),
        ({}, False, 0),
        ({"opendatahub.io/notebook-image": "True"}, False, 1),
        ({"opendatahub.io/notebook-image": ["true"]}, False, 1),
        ({"opendatahub.io/runtime-image": "true"}, False, 0),
    ],
)
def test_a_stream_is_offered_where_its_label_is_true(labels: dict[str, Any], offered: bool, warnings: int) -> None:
    stream, found = one(document(metadata={"name": "demo", "labels": labels}))
    assert (stream.offered, len(found)) == (offered, warnings)


@pytest.mark.parametrize(
    ("labels", "annotations", "origin"),
    [
        ({}, {}, "shipped"),
        ({"app.kubernetes.io/created-by": "byon"}, {}, "byon"),
        ({"app.kubernetes.io/created-by": "helm"}, {}, "shipped"),
        ({"app.kubernetes.io/created-by": "byon"}, {"opendatahub.io/notebook-image-origin": "Lab"}, "Lab"),
    ],
)
def test_the_origin_is_what_is_said_else_byon_else_shipped(labels: Any, annotations: Any, origin: str) -> None:
    stream, warnings = one(document(metadata={"name": "demo", "labels": labels, "annotations": annotations}))
    assert (stream.origin, warnings) == (origin, [])


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        ({"opendatahub.io/notebook-image-name": "A", "openshift.io/display-name": "B"}, "A"),
        ({"opendatahub.io/notebook-image-name": "", "openshift.io/display-name": "B"}, "B"),
        ({"openshift.io/display-name": "B"}, "B"),
        ({}, "demo"),
    ],
)
def test_the_display_name_falls_back(annotations: dict[str, str], name: str) -> None:
    stream, warnings = one(document(metadata={"name": "demo", "annotations": annotations}))
    assert (stream.display_name.plain, warnings) == (name, [])


@pytest.mark.parametrize(
    ("text", "order", "warnings"),
    [
        ("20", 20, 0),
        ("-1", -1, 0),
        (" 7 ", 7, 0),
        ("", 100, 0),
        (None, 100, 0),
        ("first", 100, 1),
        ("1.5", 100, 1),
        ("1_0", 100, 1),
        ("１", 100, 1),
        ("9999999999", 100, 1),
        ([], 100, 1),
        (8, 8, 0),
    ],
    ids=repr,
)
def test_the_order_is_a_whole_number_or_100(text: Any, order: int, warnings: int) -> None:
    stream, found = annotated("opendatahub.io/notebook-image-order", text)
    assert (stream.order, len(found)) == (order, warnings)


@pytest.mark.parametrize(
    ("url", "kept", "warnings"),
    [
        ("https://example.org/x", True, 0),
        ("http://example.org/x", True, 0),
        ("HTTPS://EXAMPLE.ORG", True, 0),
        ("javascript:alert(1)", False, 1),
        ("quay.io/x", False, 1),
        ("", False, 0),
    ],
)
def test_only_a_web_address_is_a_link(url: str, kept: bool, warnings: int) -> None:
    stream, found = annotated("opendatahub.io/notebook-image-url", url)
    assert (stream.source_url, len(found)) == (url if kept else "", warnings)


@pytest.mark.parametrize(
    ("text", "names", "warnings"),
    [
        ('["nvidia.com/gpu"]', ("nvidia.com/gpu",), 0),
        ("[]", (), 0),
        ("", (), 0),
        ('["nvidia.com/gpu", {}, ""]', ("nvidia.com/gpu",), 2),
        ('"nvidia.com/gpu"', (), 1),
        ("nvidia.com/gpu", (), 1),
        ("[" * 100_000, (), 1),
    ],
    ids=["one", "none", "empty", "odd entries", "text", "no JSON", "bomb"],
)
def test_accelerators_are_a_json_list(text: str, names: tuple[str, ...], warnings: int) -> None:
    stream, found = annotated("opendatahub.io/recommended-accelerators", text)
    assert (stream.accelerators, len(found)) == (names, warnings)


@pytest.mark.parametrize("value", ["true", "True", "TRUE", " true ", "yes", "on", "1", "t", "y", True], ids=repr)
@pytest.mark.parametrize(
    ("key", "attribute"),
    [
        ("opendatahub.io/workbench-image-recommended", "recommended"),
        ("opendatahub.io/notebook-image-recommended", "recommended"),
        ("opendatahub.io/default-image", "default"),
        ("opendatahub.io/image-tag-outdated", "outdated"),
    ],
)
def test_every_spelling_of_true_is_true(value: Any, key: str, attribute: str) -> None:
    found, warnings = tag_annotated({key: value})
    assert (getattr(found, attribute), warnings) == (True, [])


@pytest.mark.parametrize("value", ["false", "False", "no", "off", "0", "", None, False], ids=repr)
@pytest.mark.parametrize("key", ["opendatahub.io/workbench-image-recommended", "opendatahub.io/image-tag-outdated"])
def test_every_spelling_of_false_is_false(value: Any, key: str) -> None:
    found, warnings = tag_annotated({key: value})
    assert (found.recommended, found.outdated, warnings) == (False, False, [])


@pytest.mark.parametrize("value", ["perhaps", "truee", "2", ["true"], {"a": "b"}], ids=repr)
def test_what_is_neither_true_nor_false_is_false_with_a_warning(value: Any) -> None:
    found, warnings = tag_annotated({"opendatahub.io/image-tag-outdated": value})
    assert (found.outdated, len(warnings)) == (False, 1)


def test_the_younger_annotation_wins() -> None:
    found, _ = tag_annotated(
        {"opendatahub.io/notebook-image-recommended": "true", "opendatahub.io/workbench-image-recommended": "false"}
    )
    assert found.recommended is False


def test_a_hidden_stream_has_hidden_tags() -> None:
    stream, warnings = annotated("opendatahub.io/notebook-image-hidden", "true")
    assert ([tag.state for tag in stream.tags], warnings) == ([TagState.HIDDEN], [])


@pytest.mark.parametrize(
    ("text", "software", "warnings"),
    [
        ('[{"name": "Python", "version": "v3.12"}]', (Software("Python", "v3.12"),), 0),
        ('[{"name": "Python", "version": 3.10}]', (Software("Python", "3.10"),), 0),
        ('[{"name": "Python"}]', (Software("Python", ""),), 0),
        ('[{"version": "1"}, "x", {"name": "R", "version": []}, {"name": "", "version": "1"}]', (), 4),
        (
            '[{"name": "A", "version": "1"}, 5, {"name": "B", "version": "2"}]',
            (Software("A", "1"), Software("B", "2")),
            1,
        ),
        ("[{", (), 1),
        ("{}", (), 1),
        ("", (), 0),
        ('[{"name": "\\ud800", "version": "1"}]', (Software("?", "1"),), 0),
    ],
)
@pytest.mark.parametrize("key", ["opendatahub.io/notebook-software", "opendatahub.io/notebook-python-dependencies"])
def test_software_is_a_list_of_names_and_versions(
    key: str, text: str, software: tuple[Software, ...], warnings: int
) -> None:
    found, messages = tag_annotated({key: text})
    assert (found.software + found.dependencies, len(messages)) == (software, warnings)


@pytest.mark.parametrize(
    ("text", "requirements", "warnings"),
    [
        (None, None, 0),
        ("", (), 0),
        ("# nothing\n\n", (), 0),
        ("numpy", ("numpy",), 0),
        ("numpy==2.1 # why\n  pandas>=2,<3\r\n", ("numpy==2.1", "pandas>=2,<3"), 0),
        ('["numpy", " pandas "]', ("numpy", "pandas"), 0),
        ("x @ https://example.org/x.whl#sha256=1", ("x @ https://example.org/x.whl#sha256=1",), 0),
        ("-r other.txt\nnumpy\n--index-url https://evil", ("numpy",), 2),
        ("./folder\nnumpy", ("numpy",), 1),
        ('["numpy", {}, null]', ("numpy",), 2),
        ('["numpy"', (), 1),
    ],
)
def test_requirements_are_lines_or_a_json_list(
    text: str | None, requirements: tuple[str, ...] | None, warnings: int
) -> None:
    found, messages = tag_annotated({"aihub.io/requirements": text})
    assert (found.requirements, len(messages)) == (requirements, warnings)


@pytest.mark.parametrize(
    ("policy", "kept", "warnings"),
    [
        ({"type": "Source"}, "Source", 0),
        ({"type": "Local"}, "Local", 0),
        ({}, "Source", 0),
        (None, "Source", 0),
        ({"type": "local"}, "Source", 1),
    ],
)
def test_the_reference_policy_is_source_or_local(policy: Any, kept: str, warnings: int) -> None:
    stream, found = one(document(spec={"tags": [tag("1", referencePolicy=policy)]}))
    assert (stream.tags[0].reference_policy, len(found)) == (kept, warnings)


def item(created: str, digest: str) -> dict[str, str]:
    return {"created": created, "dockerImageReference": f"quay.io/example/demo@{digest}", "image": digest}


@pytest.mark.parametrize(
    ("source", "items", "image"),
    [
        ("quay.io/example/demo:1", None, "quay.io/example/demo:1"),
        ("quay.io/example/demo:1", [], "quay.io/example/demo:1"),
        ("quay.io/example/demo:1", [item("2026-01-01T00:00:00Z", DIGEST)], f"quay.io/example/demo@{DIGEST}"),
        (
            "quay.io/example/demo:1",
            [item("2026-01-01T00:00:00Z", DIGEST), item("2026-02-01T00:00:00Z", OTHER)],
            f"quay.io/example/demo@{OTHER}",
        ),
        (
            "quay.io/example/demo:1",
            [item("2026-02-01T00:00:00Z", DIGEST), item("2026-01-01T00:00:00Z", OTHER)],
            f"quay.io/example/demo@{DIGEST}",
        ),
        ("quay.io/example/demo:1", [item("", DIGEST), item("", OTHER)], f"quay.io/example/demo@{DIGEST}"),
        (f"quay.io/example/demo@{OTHER}", [item("2026-01-01T00:00:00Z", DIGEST)], f"quay.io/example/demo@{OTHER}"),
        ("NOT_A_REFERENCE", [item("2026-01-01T00:00:00Z", DIGEST)], f"quay.io/example/demo@{DIGEST}"),
    ],
)
def test_the_image_is_the_newest_import_else_what_is_asked_for(source: str, items: Any, image: str) -> None:
    stream, warnings = one(document(spec={"tags": [tag("1", source)]}, status={"tags": [{"tag": "1", "items": items}]}))
    assert (stream.tags[0].image, stream.tags[0].source, warnings) == (image, source, [])


@pytest.mark.parametrize(
    ("spec", "image", "warning"),
    [
        ([tag("1"), tag("2", "1", "ImageStreamTag")], "quay.io/example/demo:1", None),
        ([tag("1"), tag("2", "demo:1", "ImageStreamTag")], "quay.io/example/demo:1", None),
        ([tag("1"), tag("3", "1", "ImageStreamTag"), tag("2", "3", "ImageStreamTag")], "quay.io/example/demo:1", None),
        ([tag("2", "2", "ImageStreamTag")], None, "demo:2: from.name: '2' leads back to the tag itself"),
        ([tag("2", "9", "ImageStreamTag")], None, "demo:2: from.name: '9' is not a tag of this stream"),
        (
            [tag("1"), tag("2", "other:1", "ImageStreamTag")],
            None,
            "demo:2: from.name: 'other:1' is not a tag of this stream",
        ),
        ([tag("2", f"demo@{DIGEST}", "ImageStreamImage")], f"quay.io/example/demo@{DIGEST}", None),
        (
            [tag("2", f"demo@{OTHER}", "ImageStreamImage")],
            None,
            f"demo:2: from.name: {repr('demo@' + OTHER)[:80]} is not in the stream's status",
        ),
        (
            [tag("2", f"other@{DIGEST}", "ImageStreamImage")],
            None,
            f"demo:2: from.name: {repr('other@' + DIGEST)[:80]} is not an image of this stream",
        ),
        (
            [tag("2", "demo@latest", "ImageStreamImage")],
            None,
            "demo:2: from.name: 'demo@latest' is not an image of this stream",
        ),
        (
            [tag("2", "x", "Tarball")],
            None,
            "demo:2: from.kind: 'Tarball' is not DockerImage, ImageStreamTag or ImageStreamImage",
        ),
        (
            [{"name": "2"}],
            None,
            "demo:2: from: is missing, and nothing was imported: nothing can be started from the tag",
        ),
        (
            [tag("2", "demo_PLACEHOLDER")],
            None,
            "demo:2: from.name: 'demo_PLACEHOLDER' is not an image reference: nothing can be started from the tag",
        ),
    ],
)
def test_tags_that_point_elsewhere_are_followed(spec: list[Any], image: str | None, warning: str | None) -> None:
    status = {"tags": [{"tag": "old", "items": [item("2026-01-01T00:00:00Z", DIGEST)]}]}
    stream, warnings = one(document(spec={"tags": spec}, status=status))
    found = stream.tag("2")
    assert found is not None
    assert (found.image, warnings) == (image, [warning] if warning else [])


def test_an_image_of_the_stream_is_found_in_its_inner_repository() -> None:
    spec = {"tags": [tag("1", f"demo@{OTHER}", "ImageStreamImage")]}
    stream, warnings = one(document(spec=spec, status={"dockerImageRepository": "registry.local:5000/lab/demo"}))
    assert (stream.tags[0].image, warnings) == (f"registry.local:5000/lab/demo@{OTHER}", [])


def test_a_loop_of_aliases_ends() -> None:
    spec = {"tags": [tag("a", "b", "ImageStreamTag"), tag("b", "c", "ImageStreamTag"), tag("c", "b", "ImageStreamTag")]}
    stream, warnings = one(document(spec=spec))
    assert ([tag.image for tag in stream.tags], len(warnings)) == ([None, None, None], 3)


def test_an_alias_has_its_own_requirements_before_those_it_points_to() -> None:
    annotations = {"aihub.io/requirements": "numpy"}
    spec = {
        "tags": [
            tag("1", annotations=annotations),
            tag("2", "1", "ImageStreamTag"),
            tag("3", "1", "ImageStreamTag", annotations={"aihub.io/requirements": ""}),
        ]
    }
    stream, _ = one(document(spec=spec))
    assert [tag.requirements for tag in stream.tags] == [("numpy",), ("numpy",), ()]


@pytest.mark.parametrize("api_version", ["image.openshift.io/v1", "example.org/v1"])
def test_hostile_text_in_a_warning_is_short_and_inert(api_version: str) -> None:
    hostile = "\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}\0" + "x" * 10_000
    one_document = document(metadata={"name": hostile}, apiVersion=api_version)
    found = read_documents(json.dumps(one_document), "file.yaml")
    assert len(found.warnings) == 1
    assert str(found.warnings[0]).isprintable()
    assert len(str(found.warnings[0])) < 200


def test_a_key_that_is_there_twice_is_warned_of() -> None:
    found = read_documents(yaml.safe_dump(document()) + "kind: ImageStream\n", "file.yaml")
    assert [stream.name for stream in found.streams] == ["demo"]
    assert [str(warning) for warning in found.warnings] == [
        "file.yaml: in the document at line 1 the key 'kind' is there twice: the last one counts"
    ]


text_values = st.none() | st.booleans() | st.integers() | st.text(max_size=12)
anything = st.recursive(
    text_values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
KEYS = [
    "opendatahub.io/notebook-image-order",
    "opendatahub.io/notebook-software",
    "opendatahub.io/recommended-accelerators",
    "aihub.io/requirements",
    "opendatahub.io/image-tag-outdated",
    "opendatahub.io/notebook-image-url",
]
metadata = st.fixed_dictionaries(
    {"name": st.just("demo") | anything},
    optional={"labels": anything, "annotations": st.dictionaries(st.sampled_from(KEYS), anything) | anything},
)
tags = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["1", "2"]) | anything,
        "from": st.fixed_dictionaries(
            {},
            optional={
                "kind": st.sampled_from(["DockerImage", "ImageStreamTag"]) | anything,
                "name": st.sampled_from(["1", "2"]) | anything,
            },
        )
        | anything,
        "annotations": st.dictionaries(st.sampled_from(KEYS), anything) | anything,
        "importPolicy": anything,
        "referencePolicy": anything,
    },
)
status_tags = st.fixed_dictionaries(
    {}, optional={"tag": st.sampled_from(["1", "9"]) | anything, "items": st.lists(anything, max_size=2) | anything}
)
documents = st.fixed_dictionaries(
    {"kind": st.just("ImageStream"), "apiVersion": st.just("image.openshift.io/v1")},
    optional={
        "metadata": metadata | anything,
        "spec": st.fixed_dictionaries({"tags": st.lists(tags | anything, max_size=4) | anything}) | anything,
        "status": st.fixed_dictionaries({"tags": st.lists(status_tags | anything, max_size=3)}) | anything,
    },
)


@given(documents)
def test_a_malformed_document_never_costs_its_neighbour(malformed: dict[str, Any]) -> None:
    neighbour = document(metadata={"name": "neighbour"})
    items = {"kind": "List", "items": [malformed, neighbour]}
    found = read_documents(json.dumps(items), "file.yaml")
    alone = read(neighbour)
    assert found.streams[-1] == alone.streams[0]
    for stream in found.streams:
        assert len({tag.name for tag in stream.tags}) == len(stream.tags)
    for warning in found.warnings:
        assert str(warning)
