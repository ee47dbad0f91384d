"""From `helm install` to a cell that executes, and back: what a student does."""

from __future__ import annotations

from tests.cluster.release import Release
from tests.local.people import Meet


def test_a_student_starts_computes_stops_and_finds_everything_again(release: Release, meet: Meet) -> None:
    ada = meet("ada")
    ada.start({"project": "ml101", "image": "base:1", "profile": "gpu"})
    try:
        assert ada.run("print(6 * 7)") == "42\n"
        ada.run("open('notes.txt', 'w').write('kept'); open('project/shared.txt', 'w').write('for all')")
    finally:
        ada.stop()
    assert release.servers() == []
    ada.start({"project": "ml101", "profile": "small"})
    try:
        assert ada.run("print(open('notes.txt').read(), open('project/shared.txt').read())") == "kept for all\n"
    finally:
        ada.stop()
