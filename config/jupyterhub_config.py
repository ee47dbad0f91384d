"""What makes a cluster's JupyterHub with a configuration of its own AIHub's: the end of that configuration.

`aihub hub --config` runs it, after any other; docs/kubernetes/zero-to-jupyterhub.md has the whole way.
"""

import os
from pathlib import Path

from aihub.chart import Settings
from aihub.hub import setup_cluster

c = get_config()  # noqa: F821  # JupyterHub's

setup_cluster(
    c,
    Settings.read(Path(os.environ["AIHUB_SETTINGS"])),
    (Path(os.environ["AIHUB_CONFIG"]),),
    state=Path("/srv/jupyterhub"),
)
