"""Which environment variables pass the filter."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.environment import MAX_VALUE_LENGTH, filtered, hands_out_devices, problem


@pytest.mark.parametrize(
    "name",
    [
        "COURSE",
        "DATA_URL",
        "OMP_NUM_THREADS",
        "HF_HOME",
        "TZ",
        "LANG",
        "LC_ALL",
        "MLFLOW_TRACKING_URI",
        "A1",
        "_A",
        "PIP_INDEX_URL",
        "CUDA_LAUNCH_BLOCKING",
        "TF_CPP_MIN_LOG_LEVEL",
        "USERS",
        "PATHS",
        "MY_PATH",
        "HOMEWORK",
        "PROXY_FREE",
        "ENVIRONMENT",
        "R_MAX",
    ],
)
def test_ordinary_variables_pass(name: str) -> None:
    assert problem(name, "value") is None


@pytest.mark.parametrize(
    "name",
    [
        "JUPYTERHUB_API_TOKEN",
        "JUPYTERHUB_",
        "JUPYTER_PATH",
        "JPY_API_TOKEN",
        "AIHUB_ANYTHING",
        "IPYTHONDIR",
        "KUBERNETES_SERVICE_HOST",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "DYLD_INSERT_LIBRARIES",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHON",
        "PATH",
        "HOME",
        "USER",
        "SHELL",
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "CUDA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
        "GPU_DEVICE_ORDINAL",
        "ONEAPI_DEVICE_SELECTOR",
        "ZE_AFFINITY_MASK",
        "ASCEND_RT_VISIBLE_DEVICES",
        "HABANA_VISIBLE_MODULES",
        "TPU_VISIBLE_CHIPS",
        "CUDA_MPS_PIPE_DIRECTORY",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "CONDA_PREFIX",
        "XDG_RUNTIME_DIR",
        "TMPDIR",
        "TMP",
        "TEMP",
        "BASH_ENV",
        "ENV",
        "IFS",
        "NODE_OPTIONS",
        "PERL5LIB",
        "PERL5OPT",
        "RUBYOPT",
        "GIT_SSH_COMMAND",
        "GIT_ASKPASS",
        "SSH_ASKPASS",
        "JAVA_TOOL_OPTIONS",
        "R_PROFILE_USER",
        "PROMPT_COMMAND",
        "SSL_CERT_FILE",
        "HOSTALIASES",
        "NB_USER",
        "GRANT_SUDO",
        "MEM_LIMIT",
        "CPU_LIMIT",
        "_",
        "ZDOTDIR",
    ],
)
def test_what_the_server_stands_on_is_refused(name: str) -> None:
    assert problem(name, "value") == "belongs to the hub or the system and cannot be set here"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "Course",
        "ld_preload",
        "http_proxy",
        "1A",
        "A-B",
        "A.B",
        "A B",
        " A",
        "A ",
        "A\n",
        "A=B",
        "A\0",
        "É",
        "Ａ",
        "A\N{ZERO WIDTH SPACE}",
    ],
    ids=repr,
)
def test_a_name_in_any_other_form_is_refused(name: str) -> None:
    assert problem(name, "value") == "is not a name of capital letters, digits and underscores"


@pytest.mark.parametrize(
    "value", ["", "plain", "with space", "Ünïcode 中文", "a\tb", "$HOME", "$$", "(x)", "$ (X)", "{}", "a=b"]
)
def test_ordinary_values_pass(value: str) -> None:
    assert problem("COURSE", value) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a\nB=c", "line break"),
        ("a\rb", "line break"),
        ("a\0b", "line break or another control"),
        ("\x1b[31m", "control character"),
        ("\x85", "control character"),
        ("\ud800", "control character"),
        ("$(JUPYTERHUB_API_TOKEN)", r"\$\(…\)"),
        ("x$(A)y", r"\$\(…\)"),
        ("$$(A)", r"\$\(…\)"),
        ("$()", r"\$\(…\)"),
        ("x" * (MAX_VALUE_LENGTH + 1), "more than"),
    ],
)
def test_values_that_become_something_else_are_refused(value: str, why: str) -> None:
    found = problem("COURSE", value)
    assert found is not None
    assert re.search(why, found)


def test_the_longest_value_passes() -> None:
    assert problem("COURSE", "x" * MAX_VALUE_LENGTH) is None


def test_filtered_parts_an_environment_in_order() -> None:
    environment = {"PATH": "/evil", "COURSE": "ml101", "lower": "x", "TERM_DATA": "$(X)", "B": "2"}
    assert filtered(environment) == ({"COURSE": "ml101", "B": "2"}, ("PATH", "lower", "TERM_DATA"))


names = st.text(max_size=12) | st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)


@given(st.dictionaries(names, st.text(max_size=30), max_size=8))
def test_every_variable_is_allowed_or_named_never_both(environment: dict[str, str]) -> None:
    allowed, refused = filtered(environment)
    assert [*allowed, *refused] == [*allowed, *(name for name in environment if name not in allowed)]
    assert {**environment, **allowed} == environment
    assert all(re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) for name in allowed)
    assert not any(forbidden in value for value in allowed.values() for forbidden in ("\0", "\n", "\r"))


@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("NVIDIA_VISIBLE_DEVICES", True),
        ("CUDA_VISIBLE_DEVICES", True),
        ("GPU_DEVICE_ORDINAL", True),
        ("ZE_AFFINITY_MASK", True),
        ("HABANA_LOGS", True),
        ("CUDA_HOME", False),
        ("HTTPS_PROXY", False),
    ],
)
def test_variables_that_hand_out_devices_are_known(name: str, does: bool) -> None:
    assert hands_out_devices(name) is does
    assert problem(name, "x") is not None or not does
