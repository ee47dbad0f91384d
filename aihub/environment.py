"""The filter for environment variables that projects and images may give to user servers: deny by default.

A variable passes only when nothing that starts, isolates or meters a server reads it: not the hub's own, not the
loader's and the interpreters', not those that hand out accelerators, not those that redirect traffic or files.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

__all__ = ["MAX_VALUE_LENGTH", "filtered", "hands_out_devices", "problem"]

MAX_VALUE_LENGTH = 32 * 1024
"""In characters. Linux stops an execve whose single variable is longer than 128 KiB."""

_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_EXPANSION = re.compile(r"\$\([^)]*\)")

_DEVICE_PREFIXES = ("ASCEND_", "CDI_", "CUDA_INJECTION", "CUDA_MPS_", "HABANA_", "NVIDIA_", "ROCR_")
# AMD, NVIDIA, Intel, Huawei, Habana and others name the devices of a process so.
_DEVICE_SUFFIXES = ("_DEVICE_ORDINAL", "_DEVICE_SELECTOR", "_VISIBLE_CHIPS", "_VISIBLE_DEVICES", "_VISIBLE_MODULES")
_DEVICE_NAMES = frozenset({"ZE_AFFINITY_MASK"})  # has no suffix of its own
_DENIED_PREFIXES = (
    # The hub, its servers and Kubernetes.
    "AIHUB_", "IPYTHON", "JPY_", "JUPYTERHUB_", "JUPYTERLAB_", "JUPYTER_", "KUBERNETES_",
    # Loaders, shells and interpreters run code or load libraries that these name.
    "BASH_", "CONDA_", "DYLD_", "GCONV_", "GIT_", "GLIBC_", "JULIA_", "LD_", "LUA_", "MALLOC_", "MAMBA_",
    "NODE_", "PERL", "PYDEVD_", "PYENV_", "PYTEST_", "PYTHON", "RUBY", "SSH_", "SUDO_", "VIRTUAL_ENV",
    "_CONDA", "_PYTHON",
    # Devices and their runtimes.
    *_DEVICE_PREFIXES,
    # Where files are.
    "XDG_",
)  # fmt: skip
_DENIED_SUFFIXES = (
    "_PROXY",
    *_DEVICE_SUFFIXES,
)  # fmt: skip
_DENIED_NAMES = frozenset({
    # Accounts, folders and limits that the server is started with.
    "CHOWN_HOME", "CPU_GUARANTEE", "CPU_LIMIT", "GRANT_SUDO", "HOME", "HOSTNAME", "LOGNAME", "MEM_GUARANTEE",
    "MEM_LIMIT", "NB_GID", "NB_UID", "NB_UMASK", "NB_USER", "NOTEBOOK_ARGS", "NOTEBOOK_BASE_URL", "OLDPWD",
    "PATH", "PWD", "SHELL", "TEMP", "TEMPDIR", "TMP", "TMPDIR", "USER", "USERNAME", "_",
    # What shells, the C library and interpreters run or load.
    "BROWSER", "CDPATH", "CLASSPATH", "EDITOR", "ENV", "GLOBIGNORE", "IFS", "INPUTRC", "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS", "NLSPATH", "NSS_WRAPPER_GROUP", "NSS_WRAPPER_PASSWD", "PAGER", "PROMPT_COMMAND",
    "PS4", "R_ENVIRON", "R_ENVIRON_USER", "R_HOME", "R_LIBS", "R_LIBS_SITE", "R_LIBS_USER", "R_PROFILE",
    "R_PROFILE_USER", "SHELLOPTS", "VISUAL", "ZDOTDIR", "_JAVA_OPTIONS",
    # Name resolution and trust in TLS.
    "CURL_CA_BUNDLE", "HOSTALIASES", "LOCALDOMAIN", "OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES",
    "REQUESTS_CA_BUNDLE", "RESOLV_HOST_CONF", "RES_OPTIONS", "SSLKEYLOGFILE", "SSL_CERT_DIR", "SSL_CERT_FILE",
    *_DEVICE_NAMES,
})  # fmt: skip


def filtered(environment: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The part of `environment` that may be set, and the names of what may not, in order."""
    allowed = {name: value for name, value in environment.items() if problem(name, value) is None}
    return allowed, tuple(name for name in environment if name not in allowed)


def problem(name: str, value: str) -> str | None:
    """Why the variable may not be set, as the end of a sentence about it; None when it may.

    `$(VAR)` is refused because Kubernetes replaces it with another variable of the container, the server's token
    included; a line break because env files and shells read what follows as a further variable.
    """
    return _name_problem(name) or _value_problem(value)


def hands_out_devices(name: str) -> bool:
    """Whether runtimes read the variable to hand accelerators to a container: only device plugins and we may set it."""
    return name in _DEVICE_NAMES or name.startswith(_DEVICE_PREFIXES) or name.endswith(_DEVICE_SUFFIXES)


def _name_problem(name: str) -> str | None:
    if _NAME.fullmatch(name) is None:
        return "is not a name of capital letters, digits and underscores"
    if name in _DENIED_NAMES or name.startswith(_DENIED_PREFIXES) or name.endswith(_DENIED_SUFFIXES):
        return "belongs to the hub or the system and cannot be set here"
    return None


def _value_problem(value: str) -> str | None:
    if len(value) > MAX_VALUE_LENGTH:
        return f"has a value of more than {MAX_VALUE_LENGTH} characters"
    if any(unicodedata.category(character) in {"Cc", "Cs"} and character != "\t" for character in value):
        return "has a line break or another control character in its value"
    if _EXPANSION.search(value):
        return "has a value with $(…), which Kubernetes would expand"
    return None
