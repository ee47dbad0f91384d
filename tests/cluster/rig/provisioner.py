"""Makes a folder and a volume for every claim of the rig's storage classes, lets claims grow, removes what is released.

The provisioner that Kubernetes brings makes folders that only root can write. These belong to uid 1000. Sizes are not
enforced. Called as `python -m tests.cluster.rig.provisioner FOLDER`.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config
import kubernetes.watch
from kubernetes.utils.quantity import parse_quantity

from tests.cluster.rig.layout import Layout
from tests.cluster.rig.manifests import PROVISIONER

OWNER = 1000
MADE_BY = "pv.kubernetes.io/provisioned-by"
WAITS_FOR = "volume.kubernetes.io/storage-provisioner"


class Provisioner:
    """Answers what it sees of claims and volumes."""

    def __init__(self, core: Any, folder: Path) -> None:
        self.core = core
        self.folder = folder

    def claim(self, claim: Any) -> None:
        """Give the claim its volume, or a larger one."""
        if (claim.metadata.annotations or {}).get(WAITS_FOR) != PROVISIONER or claim.metadata.deletion_timestamp:
            return
        wanted = claim.spec.resources.requests["storage"]
        if claim.status.phase == "Pending":
            self._provide(claim, wanted)
        elif claim.status.phase == "Bound" and _amount(wanted) > _amount(claim.status.capacity["storage"]):
            capacity = {"capacity": {"storage": wanted}}
            self.core.patch_persistent_volume(claim.spec.volume_name, {"spec": capacity})
            self.core.patch_namespaced_persistent_volume_claim_status(
                claim.metadata.name, claim.metadata.namespace, {"status": {**capacity, "conditions": []}}
            )

    def volume(self, volume: Any) -> None:
        """Remove a volume of ours that nobody claims any more, with its folder."""
        if (volume.metadata.annotations or {}).get(MADE_BY) != PROVISIONER or volume.metadata.deletion_timestamp:
            return
        if volume.status.phase == "Released" and volume.spec.persistent_volume_reclaim_policy == "Delete":
            shutil.rmtree(volume.spec.host_path.path, ignore_errors=True)
            self.core.delete_persistent_volume(volume.metadata.name)

    def _provide(self, claim: Any, size: str) -> None:
        name = f"pvc-{claim.metadata.uid}"
        folder = self.folder / f"{claim.metadata.namespace}-{claim.metadata.name}-{claim.metadata.uid[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, OWNER, OWNER)
        folder.chmod(0o2770)
        body = {
            "metadata": {"name": name, "annotations": {MADE_BY: PROVISIONER}},
            "spec": {
                "capacity": {"storage": size},
                "accessModes": claim.spec.access_modes,
                "storageClassName": claim.spec.storage_class_name,
                "persistentVolumeReclaimPolicy": "Delete",
                "hostPath": {"path": str(folder)},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": claim.metadata.namespace,
                    "name": claim.metadata.name,
                    "uid": claim.metadata.uid,
                },
            },
        }
        try:
            self.core.create_persistent_volume(body)
        except kubernetes.client.ApiException as error:
            if error.status != 409:  # seen twice before it was bound
                raise


def _amount(quantity: str) -> Decimal:
    amount: Decimal = parse_quantity(quantity)
    return amount


def follow(what: Callable[..., Any], handle: Callable[[Any], None]) -> None:
    """Call `handle` for every object now and whenever one changes; begin anew every half minute and after errors."""
    while True:
        try:
            for event in kubernetes.watch.Watch().stream(what, timeout_seconds=30):
                if event["type"] in {"ADDED", "MODIFIED"}:
                    handle(event["object"])
        except Exception:  # noqa: BLE001  # whatever it was is in the log, and the next round sees everything again
            traceback.print_exc()
            threading.Event().wait(0.5)


def main(root: Path) -> None:
    layout = Layout(root)
    kubernetes.config.load_kube_config(str(layout.kubeconfig))
    core = kubernetes.client.CoreV1Api()
    provisioner = Provisioner(core, layout.volumes)
    threading.Thread(target=follow, args=(core.list_persistent_volume, provisioner.volume), daemon=True).start()
    follow(core.list_persistent_volume_claim_for_all_namespaces, provisioner.claim)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
