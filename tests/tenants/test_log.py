"""What the log must not hold."""

from __future__ import annotations

import json

import pytest
import structlog
from django.test import Client

from config.logging import hide_secrets
from tests.log_scan import find_forbidden, scanned_log
from tests.world import World


def test_scan_sees_a_canary() -> None:
    assert find_forbidden("fine\nCANARY-ACME-X\nfine") == ["CANARY-ACME-X"]


def test_scan_fails_a_test_that_logs_one() -> None:
    with pytest.raises(AssertionError), scanned_log("what was said"):
        structlog.get_logger("tests").warning("heard", text="what was said")


@pytest.mark.parametrize(
    "path",
    ["/invitations/s3cret/", "/accounts/password/reset/key/1-s3cret/", "/invitations/s3cret"],
)
def test_secret_addresses_are_cut(path: str) -> None:
    event = {"event": f"Gone: {path}", "request": f"GET {path}"}
    assert "s3cret" not in json.dumps(hide_secrets(None, "", event))


def test_invitation_leaves_no_token_in_the_log(world: World) -> None:
    token = world.acme.invitation_token
    with scanned_log(token) as lines:
        world.globex.client("gina").get(f"/invitations/{token}/")
        Client().get(f"/invitations/{token}/")
    assert any("GET /invitations/" in line for line in lines)


def test_request_is_logged_with_the_ids_of_who_asks(world: World) -> None:
    with scanned_log() as lines:
        world.acme.client("alice").get("/profile/")
    line = next(json.loads(line) for line in lines if "request_finished" in line)
    assert (line["tenant_id"], line["membership_id"]) == (
        str(world.acme.tenant.pk),
        str(world.acme.alice.pk),
    )
    assert line["request_id"]
