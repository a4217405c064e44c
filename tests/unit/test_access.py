"""Sessions and tokens: signed for one use, valid until they expire."""

import pytest

from handlers.http.access import SECONDS, AccessPolicy, GrantKind

START = 1_700_000_000.25


class Clock:
    """Unix seconds that a test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("kind", ["session", "token"])
def test_a_grant_is_valid_until_the_second_at_which_it_expires(kind: GrantKind) -> None:
    clock = Clock()
    policy = AccessPolicy("key", clock=clock)
    value, expires = policy.grant(kind)
    assert expires == int(START) + SECONDS[kind]
    assert policy.grantee(kind, value) is not None
    clock.now = expires - 0.001
    assert policy.grantee(kind, value) is not None
    clock.now = expires
    assert policy.grantee(kind, value) is None


def test_a_session_lasts_a_week_and_a_token_five_minutes() -> None:
    policy = AccessPolicy("key", clock=Clock())
    assert policy.grant("session")[1] - int(START) == 7 * 24 * 3600
    assert policy.grant("token")[1] - int(START) == 300


def test_a_grant_opens_only_what_it_was_signed_for() -> None:
    policy = AccessPolicy("key")
    token, session = policy.grant("token")[0], policy.grant("session")[0]
    assert policy.grantee("session", token) is None
    assert policy.grantee("token", session) is None


def test_a_grant_of_another_start_or_of_the_future_is_not_valid() -> None:
    clock = Clock()
    policy = AccessPolicy("key", clock=clock)
    value, _ = policy.grant("token")
    assert AccessPolicy("key", clock=clock).grantee("token", value) is None
    clock.now = START - 10
    assert policy.grantee("token", value) is None


@pytest.mark.parametrize(
    "value", ["", ".", "..", "token", "99999999999.x", "\udcff", "token.\x00.a"]
)
def test_what_was_never_signed_is_not_valid(value: str) -> None:
    assert AccessPolicy("key").grantee("token", value) is None


def test_every_change_of_a_grant_makes_it_invalid() -> None:
    policy = AccessPolicy("key")
    value, _ = policy.grant("token")
    for at in range(len(value) - 1):  # of the last letter two bits mean nothing
        assert policy.grantee("token", value[:at] + "~" + value[at + 1 :]) is None, at
