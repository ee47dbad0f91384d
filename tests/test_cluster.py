"""A cluster as a place for servers, against an API server that fails on demand: what is made, used, deleted, believed.

Traps of KubeSpawner that these tests would notice (upstream.md): 12, three answers; 13, an answer that was lost; 17,
names that collide and claims that do not grow; 21, another one's pod of the same name.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aihub import pods
from aihub.app import Admission
from aihub.cluster import Unknown
from aihub.errors import Reason, Refusal, RefusedError
from aihub.ledger import Phase, ServerKey
from aihub.marks import claim_name
from aihub.podstate import uid_of
from tests.fake_kube import CUT, HANG, LOSE, Answer, FakeKube, fake_kube
from tests.kube_rig import ADA, CLAIMS, EVENTS, PODS, POLICY, USERS, Rig, rig_of, until

Document = dict[str, Any]
FULL = 'pods "x" is forbidden: exceeded quota: n, requested: pods=1, used: pods=20, limited: pods=20'


@pytest.fixture
async def fake() -> AsyncIterator[FakeKube]:
    async with fake_kube() as fake:
        yield fake


@pytest.fixture
async def rig(tmp_path: Path, fake: FakeKube) -> AsyncIterator[Rig]:
    async with rig_of(tmp_path, fake=fake) as rig:
        yield rig


def pod_of(rig: Rig, admission: Admission) -> Document:
    spec: Document = {"containers": [{"name": "notebook"}]}
    return pods.pod({"spec": spec}, admission, rig.site.identity, rig.site.pod_settings)


async def refusal_of(work: Any) -> Refusal:
    with pytest.raises(RefusedError) as raised:
        await work
    return raised.value.refusal


# --- a pod is made ---------------------------------------------------------------------------------------------------


async def test_a_pod_is_made_and_carries_what_it_holds(rig: Rig) -> None:
    admission = await rig.admit()
    made = await rig.site.make_pod(pod_of(rig, admission), admission.entry)
    (kept,) = rig.pods.values()
    assert uid_of(made) == uid_of(kept)
    assert pods.admission_of(kept) == admission.as_state()
    assert f"{USERS}/{kept['metadata']['name']}" == admission.entry.object_name


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
async def test_a_pod_whose_answer_was_lost_is_recognised_and_kept(rig: Rig, times: int) -> None:
    """KubeSpawner deletes it (upstream.md 13)."""
    admission = await rig.admit()
    rig.fake.fault("POST", "/pods", LOSE, times)
    made = await rig.site.make_pod(pod_of(rig, admission), admission.entry)
    assert [uid_of(each) for each in rig.pods.values()] == [uid_of(made)]
    assert rig.fake.deletions == []


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(Answer(429, headers={"Retry-After": "1"}), id="429"),
        pytest.param(Answer(500), id="500"),
        pytest.param(Answer(503), id="503"),
        pytest.param(CUT, id="cut"),
        pytest.param(HANG, id="hang"),
        pytest.param(
            Answer(
                409, 'Operation cannot be fulfilled on resourcequotas "n": the object has been modified', "Conflict"
            ),
            id="the quota was counted at the same time",
        ),
    ],
)
async def test_what_may_heal_is_tried_again(rig: Rig, how: Answer | str) -> None:
    admission = await rig.admit()
    rig.fake.fault("POST", "/pods", how)
    began = time.monotonic()
    await rig.site.make_pod(pod_of(rig, admission), admission.entry)
    assert rig.fake.count("POST", "/pods") == 2
    assert len(rig.pods) == 1
    if isinstance(how, Answer) and how.status == 429:
        assert time.monotonic() - began >= 1, "the API server said when"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(403, FULL), Reason.CLUSTER_QUOTA),
        (Answer(403, 'violates PodSecurity "restricted:latest"'), Reason.CLUSTER_DENIED),
        (Answer(404, 'namespaces "users" not found'), Reason.NAMESPACE_MISSING),
        (Answer(422, 'Pod "x" is invalid'), Reason.CLUSTER_DENIED),
    ],
    ids=["quota", "security", "namespace", "invalid"],
)
async def test_what_a_rule_forbids_is_refused_at_once(rig: Rig, answer: Answer, reason: Reason) -> None:
    admission = await rig.admit()
    rig.fake.fault("POST", "/pods", answer, times=9)
    began = time.monotonic()
    refusal = await refusal_of(rig.site.make_pod(pod_of(rig, admission), admission.entry))
    assert refusal.reason is reason
    assert rig.fake.count("POST", "/pods") == 1
    assert time.monotonic() - began < 5, "a quota of the namespace comes out within 5 s"


@pytest.mark.parametrize(
    "how", [CUT, Answer(500), Answer(429, headers={"Retry-After": "600"})], ids=["cut", "500", "429"]
)
async def test_an_api_server_that_stays_away_is_not_waited_for_without_end(rig: Rig, how: Answer | str) -> None:
    rig.site.create_seconds = 1.0
    admission = await rig.admit()
    rig.fake.fault("POST", "/pods", how, times=99)
    began = time.monotonic()
    refusal = await refusal_of(rig.site.make_pod(pod_of(rig, admission), admission.entry))
    assert refusal.reason is Reason.API_UNAVAILABLE
    assert time.monotonic() - began < 3


async def test_a_pod_of_the_name_with_another_owner_is_neither_used_nor_deleted(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    admission = await rig.admit()
    mine = pod_of(rig, admission)
    theirs = json.loads(json.dumps(mine))
    theirs["metadata"]["annotations"][pods.OWNER] = "other/hub/ada"
    rig.fake.put(PODS, {**theirs, "status": {"phase": "Failed"}})
    refusal = await refusal_of(rig.site.make_pod(mine, admission.entry))
    assert refusal.reason is Reason.NAME_COLLISION
    assert rig.fake.deletions == []
    assert len(rig.pods) == 1
    assert "another owner" in caplog.text
    assert [record.levelno for record in caplog.records if "another owner" in record.message] == [logging.ERROR]


async def earlier(rig: Rig, **status: Any) -> Document:
    """A pod of the same server, of an earlier admission."""
    admission = await rig.admit()
    made = rig.fake.put(PODS, {**pod_of(rig, admission), "status": status})
    await rig.aihub.released(admission)
    return made


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_an_ended_pod_of_the_same_server_makes_way(rig: Rig, phase: str) -> None:
    old = await earlier(rig, phase=phase)
    admission = await rig.admit()
    made = await rig.site.make_pod(pod_of(rig, admission), admission.entry)
    assert uid_of(made) != uid_of(old)
    ((_, options),) = rig.fake.deletions
    assert options["preconditions"] == {"uid": uid_of(old)}


async def test_a_pod_that_still_terminates_is_waited_for(rig: Rig) -> None:
    old = await earlier(rig, phase="Running")
    old["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    rig.fake.put(PODS, old)
    admission = await rig.admit()
    making = asyncio.ensure_future(rig.site.make_pod(pod_of(rig, admission), admission.entry))
    await asyncio.sleep(0.6)
    assert not making.done()
    rig.fake.finish()
    assert uid_of(await making) != uid_of(old)
    assert rig.fake.deletions == [], "it was told to go before"


@pytest.mark.parametrize("terminating", [True, False], ids=["stuck", "running"])
async def test_a_server_that_is_still_there_is_busy(rig: Rig, terminating: bool) -> None:
    rig.site.create_seconds = 0.6
    old = await earlier(rig, phase="Running")
    if terminating:
        old["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
        rig.fake.put(PODS, old)
    admission = await rig.admit()
    refusal = await refusal_of(rig.site.make_pod(pod_of(rig, admission), admission.entry))
    assert refusal.reason is Reason.SERVER_BUSY
    assert rig.fake.deletions == []
    assert [uid_of(each) for each in rig.pods.values()] == [uid_of(old)]


# --- claims ----------------------------------------------------------------------------------------------------------

HOME = "home/ada"


async def ensured(rig: Rig, policy: str = POLICY) -> list[str]:
    admission = await rig.admit(f"s{len(rig.aihub.ledger.entries())}x")
    plan = admission.plan
    assert plan is not None
    said: list[str] = []
    documents = pods.claims(plan, rig.site.identity, rig.site.pod_settings)
    for claim, document in zip(plan.claims, documents, strict=True):
        await rig.site.ensure_claim(document, claim, said.append)
    return said


def home_name(rig: Rig) -> str:
    return claim_name(rig.site.identity, HOME)


async def test_claims_are_made_once(rig: Rig) -> None:
    said = await ensured(rig)
    names = {home_name(rig), claim_name(rig.site.identity, "project/lab")}
    assert set(rig.claims) == names | {"mnist"}
    assert all(any(name in line for line in said) for name in names)
    uids = {uid_of(each) for each in rig.claims.values()}
    assert await ensured(rig) == []
    assert {uid_of(each) for each in rig.claims.values()} == uids
    assert rig.fake.count("PATCH", "") == 0


@pytest.mark.parametrize("how", [LOSE, CUT, HANG, Answer(500), Answer(503)], ids=str)
async def test_a_claim_is_made_whatever_becomes_of_one_answer(rig: Rig, how: Answer | str) -> None:
    rig.fake.fault("POST", "/persistentvolumeclaims", how)
    await ensured(rig)
    assert home_name(rig) in rig.claims


async def test_a_claim_of_the_name_with_another_owner_is_never_used(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    theirs = {"metadata": {"name": home_name(rig), "annotations": {pods.CLAIM: "other/hub/home/ada"}}, "spec": {}}
    rig.fake.put(CLAIMS, theirs)
    before = json.dumps(rig.claims)
    assert (await refusal_of(ensured(rig))).reason is Reason.NAME_COLLISION
    assert json.dumps(rig.claims) == before
    assert "another owner" in caplog.text
    assert rig.fake.deletions == []


async def test_a_claim_without_our_words_is_not_ours(rig: Rig) -> None:
    rig.fake.put(CLAIMS, {"metadata": {"name": home_name(rig)}, "spec": {}})
    assert (await refusal_of(ensured(rig))).reason is Reason.NAME_COLLISION


async def test_a_claim_that_is_being_deleted_is_not_used(rig: Rig) -> None:
    await ensured(rig)
    home = rig.claims[home_name(rig)]
    rig.fake.change(CLAIMS, home_name(rig), metadata={**home["metadata"], "deletionTimestamp": "2026-11-22T12:00:00Z"})
    assert (await refusal_of(ensured(rig))).reason is Reason.STORAGE_UNUSABLE


async def test_the_namespace_s_quota_of_storage_comes_out_as_ours(rig: Rig) -> None:
    message = 'persistentvolumeclaims "x" is forbidden: exceeded quota: d, requested: requests.storage=1Gi, '
    message += "used: requests.storage=9Gi, limited: requests.storage=9Gi"
    rig.fake.fault("POST", "/persistentvolumeclaims", Answer(403, message))
    refusal = await refusal_of(ensured(rig))
    assert refusal.reason is Reason.CLUSTER_QUOTA
    assert refusal.parameters["key"] == "storage"


async def test_claims_are_not_waited_for_without_end(rig: Rig) -> None:
    rig.site.create_seconds = 0.6
    rig.fake.fault("GET", "/persistentvolumeclaims/", Answer(500), times=99)
    assert (await refusal_of(ensured(rig))).reason is Reason.API_UNAVAILABLE
    assert rig.fake.count("POST", "") == 0, "whether it is there is not known, so none is made"


def size_of(rig: Rig) -> str:
    size: str = rig.claims[home_name(rig)]["spec"]["resources"]["requests"]["storage"]
    return size


async def test_a_claim_grows_with_the_policy_and_never_shrinks(tmp_path: Path, fake: FakeKube) -> None:
    for size, expected in (("1Gi", "1Gi"), ("3Gi", "3Gi"), ("2Gi", "3Gi")):
        folder = tmp_path / size
        folder.mkdir()
        async with rig_of(folder, POLICY.replace("home: {size: 1Gi}", f"home: {{size: {size}}}"), fake=fake) as rig:
            await ensured(rig)
            assert size_of(rig) == expected
            held = pods.held_claim(rig.claims[home_name(rig)])
            assert held is not None
            assert str(held.claim.size) == str(int(expected[0]) * 2**30)


async def test_a_class_that_does_not_grow_keeps_the_size_and_the_start_goes_on(tmp_path: Path, fake: FakeKube) -> None:
    async with rig_of(tmp_path, fake=fake) as rig:
        await ensured(rig)
    (tmp_path / "policy.yaml").unlink()
    no = "only dynamically provisioned pvc can be resized"
    fake.fault("PATCH", "/persistentvolumeclaims/", Answer(403, no))
    async with rig_of(tmp_path, POLICY.replace("size: 1Gi", "size: 3Gi"), fake=fake) as rig:
        (line,) = await ensured(rig)
        assert size_of(rig) == "1Gi"
        assert no in line


async def test_a_missing_dataset_is_named_by_its_claim(rig: Rig) -> None:
    plan = (await rig.admit()).plan
    assert plan is not None
    assert await rig.site.check_datasets(plan)
    rig.fake.change(CLAIMS, "mnist", status={"phase": "Pending"})
    assert not await rig.site.check_datasets(plan), "it has no volume yet"
    rig.fake.remove(CLAIMS, "mnist")
    assert await refusal_of(rig.site.check_datasets(plan)) == Refusal(Reason.DATASET_MISSING, {"claim": "mnist"})
    rig.fake.fault("GET", "/mnist", Answer(500))
    assert (await refusal_of(rig.site.check_datasets(plan))).reason is Reason.API_UNAVAILABLE


async def test_claims_of_which_nobody_knows_count(rig: Rig) -> None:
    await ensured(rig)
    admission = await rig.admit("last")
    assert set(await rig.site.existing(USERS, admission.entry.claims)) == {HOME, "project/lab"}
    rig.fake.remove(CLAIMS, home_name(rig))
    assert set(await rig.site.existing(USERS, admission.entry.claims)) == {"project/lab"}
    rig.fake.fault("GET", "/home-", Answer(500))
    assert set(await rig.site.existing(USERS, admission.entry.claims)) == {HOME, "project/lab"}


# --- what is the case ------------------------------------------------------------------------------------------------


async def a_pod(rig: Rig, server: str = "", **status: Any) -> tuple[Admission, Document]:
    admission = await rig.admit(server)
    made = await rig.site.make_pod(pod_of(rig, admission), admission.entry)
    if status:
        made = rig.fake.change(PODS, made["metadata"]["name"], status=status)
    return admission, made


async def test_a_pod_is_found_by_name_and_uid(rig: Rig) -> None:
    _, made = await a_pod(rig)
    name, uid = made["metadata"]["name"], uid_of(made)
    found = await rig.site.find(USERS, name, uid)
    assert found is not None
    assert uid_of(found) == uid
    assert await rig.site.find(USERS, name, "another") is None
    assert await rig.site.find(USERS, "not-there", uid) is None


async def test_that_nobody_knows_is_neither_there_nor_gone(rig: Rig) -> None:
    for how in (CUT, HANG, Answer(500), Answer(403)):
        # A read over a connection that was in use before is sent twice by aiohttp itself.
        rig.fake.fault("GET", "/pods/x", how, times=2 if how == CUT else 1)
        with pytest.raises(Unknown):
            await rig.site.find(USERS, "x", "u")


async def test_a_pod_that_went_is_remembered_as_it_was_last_seen(rig: Rig) -> None:
    _, made = await a_pod(rig, phase="Failed", reason="Evicted")
    name = made["metadata"]["name"]
    await until(lambda: rig.site.pod(USERS, name))
    rig.fake.remove(PODS, name)
    await until(lambda: rig.site.pod(USERS, name) is None)
    last = rig.site.departed(USERS, uid_of(made))
    assert last is not None
    assert last["status"]["reason"] == "Evicted"
    assert rig.site.departed(USERS, "another") is None
    assert rig.site.departed("elsewhere", uid_of(made)) is None


async def test_a_pod_that_went_while_the_api_server_was_away_is_remembered_too(rig: Rig) -> None:
    _, made = await a_pod(rig, phase="Running")
    name = made["metadata"]["name"]
    await until(lambda: rig.site.pod(USERS, name))
    await rig.fake.end()
    rig.fake.remove(PODS, name)
    rig.fake.forget()
    await rig.fake.begin()
    await until(lambda: rig.site.departed(USERS, uid_of(made)))


async def test_pods_of_another_hub_are_not_followed(rig: Rig) -> None:
    _, made = await a_pod(rig)
    await until(lambda: rig.site.pod(USERS, made["metadata"]["name"]))
    theirs = json.loads(json.dumps(made))
    theirs["metadata"] |= {"name": "server-theirs", "uid": "x"}
    theirs["metadata"]["labels"][pods.HUB] = "other"
    rig.fake.put(PODS, theirs)
    await asyncio.sleep(0.2)
    assert rig.site.pod(USERS, "server-theirs") is None


async def test_events_are_heard_by_the_pod_they_are_of_also_when_they_came_early(rig: Rig) -> None:
    _, made = await a_pod(rig)
    await until(lambda: rig.fake.watching == 2)
    rig.event(made, "Scheduled")
    rig.event({"metadata": {"name": "other", "uid": "other"}}, "Killing")
    await asyncio.sleep(0.3)
    heard: list[str] = []
    with rig.site.hearing(uid_of(made), lambda event: heard.append(event["reason"])):
        rig.event(made, "Pulling")
        await until(lambda: "Pulling" in heard)
    rig.event(made, "Pulled")
    await asyncio.sleep(0.2)
    assert heard == ["Scheduled", "Pulling"]


NODE = {
    "metadata": {"name": "n1", "labels": {}},
    "spec": {},
    "status": {
        "allocatable": {"cpu": "8", "memory": "16Gi"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


async def test_machines_are_known_where_the_role_allows_it(tmp_path: Path, fake: FakeKube) -> None:
    fake.put("/api/v1/nodes", NODE)
    async with rig_of(tmp_path, fake=fake, readNodes=True) as rig:
        await until(lambda: rig.site.machines()[0])
        machines, as_of = rig.site.machines()
        assert machines is not None
        assert as_of is not None
        assert (machines[0].name, int(machines[0].free["cpu"])) == ("n1", 8)
        assert rig.site.machines()[0] is machines, "not computed anew for every page"

        _, made = await a_pod(rig)
        rig.fake.change(PODS, made["metadata"]["name"], spec={**made["spec"], "nodeName": "n1"})
        await until(lambda: (rig.site.machines()[0] or ())[0].free["cpu"] == 7)


async def test_machines_that_no_user_server_may_run_on_do_not_count(tmp_path: Path, fake: FakeKube) -> None:
    labels, taints = {"pool": "users"}, [{"key": "users", "effect": "NoSchedule"}]
    fake.put("/api/v1/nodes", NODE)
    fake.put("/api/v1/nodes", {**NODE, "metadata": {"name": "n2", "labels": labels}, "spec": {"taints": taints}})
    common = {"nodeSelector": labels, "extraPodSpec": {"tolerations": [{"key": "users", "operator": "Exists"}]}}
    async with rig_of(tmp_path, fake=fake, readNodes=True, singleuser=common) as rig:
        await until(lambda: rig.site.machines()[0])
        machines, _ = rig.site.machines()
        assert [(each.name, each.taints) for each in machines or ()] == [("n2", ())]


async def test_machines_are_unknown_where_it_does_not(rig: Rig, tmp_path: Path) -> None:
    assert rig.site.machines() == (None, None)
    assert rig.fake.count("GET", "/nodes") == 0
    assert rig.site.room() is None


async def test_machines_are_unknown_before_they_were_read(tmp_path: Path, fake: FakeKube) -> None:
    fake.fault("GET", "/nodes", Answer(403), times=99)
    async with rig_of(tmp_path, fake=fake, readNodes=True) as rig:
        await until(lambda: fake.count("GET", "/nodes"))
        assert rig.site.machines() == (None, None)


# --- after a restart -------------------------------------------------------------------------------------------------


async def test_a_new_hub_sees_servers_and_claims_by_one_list(tmp_path: Path, fake: FakeKube) -> None:
    async with rig_of(tmp_path, fake=fake) as rig:
        await ensured(rig)
        for entry in rig.aihub.ledger.entries():
            await rig.aihub.admissions.release(entry.id)
        admission, made = await a_pod(rig, "one", phase="Running")
        await rig.aihub.running(admission, uid_of(made))
    async with rig_of(tmp_path, fake=fake, opened=False) as rig:
        seen = await rig.site.look((), (admission.entry.id,))
        (entry,) = seen.entries
        assert (entry.id, entry.phase, entry.uid) == (admission.entry.id, Phase.RUNNING, uid_of(made))
        assert entry.charge == admission.entry.charge
        assert {held.claim.id for held in seen.claims} == {HOME, "project/lab"}
        assert fake.deletions == []
        assert admission.entry.id in rig.site.standing


async def test_pods_that_hold_nothing_are_not_counted(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    admission, made = await a_pod(rig, phase="Running")
    broken = json.loads(json.dumps(made))
    for number, change in enumerate(
        (
            {pods.OWNER: "other/hub/ada"},
            {pods.ADMISSION: "{"},
            {pods.ADMISSION: '{"entry": {"id": 1}}'},
            {pods.ADMISSION: '{"entry": []}'},
        )
    ):
        broken["metadata"] |= {"name": f"server-{number}", "uid": f"x{number}"}
        broken["metadata"]["annotations"] = {**made["metadata"]["annotations"], **change}
        rig.fake.put(PODS, broken)
    over = json.loads(json.dumps(made))
    over["metadata"] |= {"name": "server-over", "uid": "over"}
    rig.fake.put(PODS, {**over, "status": {"phase": "Failed"}})

    seen = await rig.site.look((), (admission.entry.id,))
    assert [entry.uid for entry in seen.entries] == [uid_of(made)]
    assert rig.fake.deletions == [], "what is not ours is left alone"
    assert caplog.text.count("left alone") == 4


async def test_a_start_that_the_last_hub_did_not_finish_is_taken_back(tmp_path: Path, fake: FakeKube) -> None:
    async with rig_of(tmp_path, fake=fake) as rig:
        admission, made = await a_pod(rig, phase="Pending")
    fake.lingers = True
    async with rig_of(tmp_path, fake=fake, opened=False) as rig:
        await rig.aihub.open(())
        ((_, options),) = fake.deletions
        assert options["preconditions"] == {"uid": uid_of(made)}
        (entry,) = rig.aihub.ledger.entries()
        assert (entry.id, entry.phase) == (admission.entry.id, Phase.RELEASING), "it counts until it is gone"
        await rig.aihub.sweep()
        assert rig.aihub.ledger.entries()
        fake.finish()
        await rig.aihub.sweep()
        assert rig.aihub.ledger.entries() == ()


async def test_taking_back_is_tried_again(tmp_path: Path, fake: FakeKube) -> None:
    async with rig_of(tmp_path, fake=fake) as rig:
        await a_pod(rig, phase="Pending")
    fake.fault("DELETE", "/pods/", Answer(500))
    async with rig_of(tmp_path, fake=fake) as rig:
        assert len(rig.pods) == 1
        await rig.aihub.sweep()
        assert rig.pods == {}
        await rig.aihub.sweep()
        assert rig.aihub.ledger.entries() == ()


async def test_a_server_that_no_spawner_stands_for_counts_until_it_ends_and_is_left_alone(
    tmp_path: Path, fake: FakeKube, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig_of(tmp_path, fake=fake) as rig:
        admission, made = await a_pod(rig, phase="Running")
        await rig.aihub.running(admission, uid_of(made))
    async with rig_of(tmp_path, fake=fake) as rig:
        assert "does not know the server" in caplog.text
        await rig.aihub.sweep()
        assert fake.deletions == []
        assert [entry.id for entry in rig.aihub.ledger.entries()] == [admission.entry.id]
        fake.change(PODS, made["metadata"]["name"], status={"phase": "Failed"})
        await rig.aihub.sweep()
        await rig.aihub.sweep()
        assert rig.aihub.ledger.entries() == ()


async def test_nothing_is_admitted_before_everything_was_seen(tmp_path: Path, fake: FakeKube) -> None:
    async with rig_of(tmp_path, fake=fake, opened=False) as rig:
        fake.fault("GET", f"{PODS}?label", Answer(500), times=99)
        opening = asyncio.ensure_future(rig.aihub.open(()))
        await asyncio.sleep(0.3)
        assert not rig.aihub.ledger.ready
        assert (await refusal_of(rig.admit())).reason is Reason.QUOTA_UNKNOWN
        fake.heal()
        await asyncio.wait_for(opening, 10)
        assert rig.aihub.ledger.ready


async def test_namespaces_of_projects_and_of_rows_are_looked_at_too(tmp_path: Path, fake: FakeKube) -> None:
    policy = POLICY.replace("  lab:\n", "  lab:\n    namespace: lab-users\n") + "cluster: {namespaces: perProject}\n"
    policy = policy.replace("home: {size: 1Gi}", "home: {size: 1Gi, scope: project}")
    fake.put("/api/v1/namespaces/lab-users/persistentvolumeclaims", {"metadata": {"name": "mnist"}, "spec": {}})
    async with rig_of(tmp_path, policy, fake=fake) as rig:
        admission = await rig.admit()
        assert admission.entry.object_name.startswith("lab-users/")
        await rig.site.look((replace(admission.entry, object_name="gone-users/x"),), ())
        for namespace in ("users", "lab-users", "gone-users"):
            assert fake.count("GET", f"/namespaces/{namespace}/pods"), namespace
        assert fake.count("GET", "/namespaces/lab-users/pods?watch=true")


async def test_a_namespace_that_no_project_names_any_more_keeps_nobody_waiting(tmp_path: Path, fake: FakeKube) -> None:
    fake.fault("GET", "/namespaces/left-users/", Answer(403), times=99)
    async with rig_of(tmp_path, fake=fake) as rig:
        admission = await rig.admit()
        row = replace(admission.entry, object_name="left-users/x")
        seen = await asyncio.wait_for(rig.site.look((row,), ()), 10)
        assert (seen.entries, seen.claims) == ((), ())


# --- gone ------------------------------------------------------------------------------------------------------------


async def test_a_reservation_without_a_pod_is_gone_and_its_claims_are_told(rig: Rig) -> None:
    await ensured(rig)
    admission = await rig.admit("last")
    assert set(await rig.site.gone(admission.entry) or ()) == {HOME, "project/lab"}
    rig.fake.fault("GET", "/pods/server-", Answer(500))
    assert await rig.site.gone(admission.entry) is None
    rig.fake.fault("GET", "/persistentvolumeclaims/", CUT, times=2)
    assert await rig.site.gone(admission.entry) is None


async def test_a_pod_that_a_spawner_stands_for_is_its_own_to_delete(rig: Rig) -> None:
    admission, _ = await a_pod(rig)
    rig.site.standing.add(admission.entry.id)
    assert await rig.site.gone(admission.entry) is None
    assert rig.fake.deletions == []


async def test_a_pod_that_came_late_and_nobody_stands_for_is_deleted(rig: Rig) -> None:
    admission, made = await a_pod(rig)
    assert await rig.site.gone(admission.entry) is None
    assert [options["preconditions"]["uid"] for _, options in rig.fake.deletions] == [uid_of(made)]
    assert await rig.site.gone(admission.entry) is not None


async def test_a_later_pod_of_the_server_does_not_keep_an_earlier_reservation(rig: Rig) -> None:
    first = await rig.admit()
    await rig.aihub.released(first)
    await a_pod(rig)
    assert await rig.site.gone(first.entry) is not None
    assert rig.fake.deletions == []


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_a_pod_is_ended_by_its_uid(rig: Rig) -> None:
    _, made = await a_pod(rig)
    assert await rig.site.end(USERS, made["metadata"]["name"], uid_of(made), 5)
    assert rig.pods == {}


async def test_another_pod_of_the_name_is_not_ended(rig: Rig) -> None:
    _, made = await a_pod(rig)
    assert await rig.site.end(USERS, made["metadata"]["name"], "another", 5)
    assert len(rig.pods) == 1


async def test_a_pod_that_does_not_go_is_not_said_to_be_gone(rig: Rig) -> None:
    _, made = await a_pod(rig)
    rig.fake.lingers = True
    began = time.monotonic()
    assert not await rig.site.end(USERS, made["metadata"]["name"], uid_of(made), 0.5)
    assert time.monotonic() - began < 5
    assert len(rig.fake.deletions) == 1, "asked once"


@pytest.mark.parametrize(
    ("state", "gone"),
    [({"waiting": {"reason": "ContainerCreating"}}, True), ({"running": {}}, False)],
    ids=["its image is being fetched", "its server runs"],
)
async def test_only_where_nothing_ever_ran_the_end_is_not_waited_for(rig: Rig, state: Document, gone: bool) -> None:
    _, made = await a_pod(rig)
    name = made["metadata"]["name"]
    rig.fake.change(PODS, name, status={"containerStatuses": [{"name": "notebook", "state": state}]})
    rig.fake.lingers, rig.site.never_ran_seconds = True, 0.2
    assert await rig.site.end(USERS, name, uid_of(made), 3) is gone
    assert len(rig.fake.deletions) == (2 if gone else 1)


async def test_the_end_of_a_pod_is_noticed_when_it_comes(rig: Rig) -> None:
    _, made = await a_pod(rig)
    await until(lambda: rig.site.pod(USERS, made["metadata"]["name"]))
    rig.fake.lingers = True
    ending = asyncio.ensure_future(rig.site.end(USERS, made["metadata"]["name"], uid_of(made), 10))
    await until(lambda: rig.fake.deletions)
    await asyncio.sleep(0.1)
    rig.fake.finish()
    began = time.monotonic()
    assert await ending
    assert time.monotonic() - began < 0.9, "by the watch"


@pytest.mark.parametrize("how", [LOSE, CUT, Answer(500), Answer(429)], ids=str)
async def test_a_delete_is_sent_again_until_it_is_answered(rig: Rig, how: Answer | str) -> None:
    _, made = await a_pod(rig)
    rig.fake.fault("DELETE", "/pods/", how)
    assert await rig.site.end(USERS, made["metadata"]["name"], uid_of(made), 10)
    assert rig.pods == {}


async def test_while_the_api_server_is_away_nothing_is_said_to_be_gone(rig: Rig) -> None:
    _, made = await a_pod(rig)
    await rig.fake.end()
    assert not await rig.site.end(USERS, made["metadata"]["name"], uid_of(made), 0.5)
    await rig.fake.begin()
    assert await rig.site.end(USERS, made["metadata"]["name"], uid_of(made), 10)


async def test_a_pod_whose_uid_was_never_learnt_is_ended_by_its_admission(rig: Rig) -> None:
    admission, _ = await a_pod(rig)
    other = replace(admission.entry, id="another")
    assert await rig.site.end_admission(other, 5)
    assert len(rig.pods) == 1
    rig.fake.fault("GET", "/pods/server-", Answer(500))
    assert not await rig.site.end_admission(admission.entry, 5)
    assert await rig.site.end_admission(admission.entry, 5)
    assert rig.pods == {}
    assert await rig.site.end_admission(admission.entry, 5)


# --- the policy file -------------------------------------------------------------------------------------------------


async def test_what_no_image_has_cannot_run_here(tmp_path: Path, fake: FakeKube) -> None:
    policy = POLICY.replace('"1": {image', '"2": {requirements: []}, "1": {image')
    async with rig_of(tmp_path, policy, fake=fake) as rig:
        assert rig.site.unresolved(rig.aihub.policy) == {"plain:2": False}


async def test_a_named_server_has_a_pod_of_its_own(rig: Rig) -> None:
    names = {(await rig.admit(server)).entry.object_name for server in ("", "a", "b")}
    assert len(names) == 3
    assert rig.aihub.ledger.find(ServerKey(ADA.name, "a")) is not None


async def test_events_are_only_read(rig: Rig) -> None:
    await until(lambda: rig.fake.watching == 2)
    assert {method for method, path in rig.fake.requests if EVENTS in path} == {"GET"}
