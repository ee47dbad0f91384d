"""What user servers are told by Jupyter's configuration, read back by the class that it is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jupyter_core.application import JupyterApp
from jupyterhub.services.auth import HubOAuth

from aihub.serverconfig import ANSWER_AGE, CONFIG_FILE, CONFIG_PATH, config_document, config_path, server_arguments


def cached_for(app: JupyterApp) -> Any:
    return HubOAuth(config=app.config, api_token="x").cache_max_age


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> JupyterApp:
    """A Jupyter program in a home that says otherwise, with our folder where the variable says."""
    own, home = tmp_path / "own", tmp_path / "home"
    for folder, text in ((own, config_document()), (home, json.dumps({"HubAuth": {"cache_max_age": 300}}))):
        folder.mkdir()
        (folder / CONFIG_FILE).write_text(text)
    monkeypatch.setenv(CONFIG_PATH, f"{own}:{home}")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "nothing"))
    return JupyterApp()


def test_jupyterhub_s_own_age_is_another() -> None:
    assert HubOAuth(api_token="x").cache_max_age == 300


def test_the_file_counts_over_what_stands_in_later_folders(app: JupyterApp) -> None:
    app.load_config_file()
    assert cached_for(app) == ANSWER_AGE == 30


def test_the_argument_counts_over_files(app: JupyterApp) -> None:
    app.load_config_file()
    app.parse_command_line([*server_arguments()])
    assert cached_for(app) == ANSWER_AGE


@pytest.mark.parametrize(
    ("others", "path"),
    [
        (None, "/etc/aihub/jupyter"),
        ("", "/etc/aihub/jupyter"),
        ("/opt/site:/opt/more", "/etc/aihub/jupyter:/opt/site:/opt/more"),
    ],
    ids=["nothing else", "an empty variable", "folders of admins"],
)
def test_folders_of_admins_come_after_ours(others: str | None, path: str) -> None:
    assert config_path(others) == path
