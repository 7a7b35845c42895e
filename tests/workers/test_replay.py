"""Recorded histories replay on today's code, and a change that would break them is caught."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.broken import HastyReset, ImpatientCheckout, ImpatientVerification, SilentOrder, TrustingRefund
from tests.fixtures.record import CASES, HISTORIES
from workers import replay
from workers.replay import replay_files

RECORDED = sorted(HISTORIES.rglob("*.json"))


@pytest.fixture(scope="module")
def outcomes():
    return replay_files(HISTORIES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_branch_is_recorded_and_replays(outcomes, name):
    path = HISTORIES / f"{name}.json"
    assert path in outcomes, "run: python -m tests.fixtures.record " + name
    assert outcomes[path] is None, f"{name}: {outcomes[path]}"


def test_nothing_is_recorded_that_nobody_can_record_again():
    assert {str(path.relative_to(HISTORIES).with_suffix("")) for path in RECORDED} == set(CASES)


def test_every_workflow_has_histories():
    from runtime.settings import Settings
    from workers.registry import build

    served = {flow for work in build(Settings(), None).values() for flow in work.workflows}
    assert served == set(replay.WORKFLOWS)
    assert {path.parent.name for path in RECORDED} == {flow.__name__ for flow in served}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_history_holds_personal_data(path):
    text = path.read_text()
    found = [text, *_payloads(json.loads(text))]
    for private in ("@example.com", "Howard Street", "Ada Buyer", "San Francisco", "4155550123"):
        assert not any(private in each for each in found), private


def _payloads(value):
    import base64

    if isinstance(value, dict):
        if isinstance(value.get("data"), str) and "metadata" in value:
            yield base64.b64decode(value["data"]).decode(errors="replace")
        for part in value.values():
            yield from _payloads(part)
    elif isinstance(value, list):
        for part in value:
            yield from _payloads(part)


class TestItBites:
    @pytest.mark.parametrize(
        ("broken", "folder"),
        [
            (ImpatientCheckout, "Checkout"),
            (SilentOrder, "Order"),
            (TrustingRefund, "Refund"),
            (ImpatientVerification, "EmailVerification"),
            (HastyReset, "PasswordReset"),
        ],
    )
    def test_a_changed_story_does_not_replay(self, broken, folder):
        outcomes = replay_files(HISTORIES / folder, [broken])
        assert outcomes
        assert all(why and "ondeterminism" in why for why in outcomes.values()), outcomes

    def test_the_command_names_the_file_and_exits_1(self, tmp_path):
        """A history in which the order of the steps is another."""
        confirmed = json.loads((HISTORIES / "Checkout" / "confirmed.json").read_text())
        text = json.dumps(confirmed)
        folder = tmp_path / "Checkout"
        folder.mkdir()
        (folder / "good.json").write_text(text)
        (folder / "bad.json").write_text(text.replace(_local_activity(confirmed), _other_activity(confirmed)))
        done = _holdfast("replay", tmp_path)
        assert done.returncode == 1
        assert "bad.json" in done.stderr
        assert "good.json" not in done.stderr

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"events": [{"eventId": "x"}]}'])
    def test_what_is_no_history_is_named(self, tmp_path, content):
        (tmp_path / "odd.json").write_text(content)
        ((path, why),) = replay_files(tmp_path).items()
        assert path.name == "odd.json"
        assert why

    def test_an_empty_folder_proves_nothing(self, tmp_path):
        with pytest.raises(SystemExit, match="no histories"):
            replay.replay(tmp_path)

    def test_the_command_is_content_with_ours(self):
        done = _holdfast("replay", HISTORIES)
        assert done.returncode == 0, done.stderr
        assert f"{len(RECORDED)} histories replay" in done.stdout


def _local_activity(history):
    """Its first marker's activity type, as it stands in the payload."""
    return _markers(history)[0]


def _other_activity(history):
    return _markers(history)[-1]


def _markers(history):
    found = []
    for event in history["events"]:
        details = event.get("markerRecordedEventAttributes", {}).get("details", {})
        if "data" in details:
            found.append(details["data"]["payloads"][0]["data"])
    return found


def _holdfast(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ},
        cwd=Path(__file__).parents[2],
        check=False,
    )
