"""kill -9 at random moments, SIGTERM in every phase."""

import random
import signal
import threading
import time

import pytest

from tests.faults.conftest import Account
from tests.faults.house import House, Receiver, runs
from tools.server_process import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(3600)]

TASKS = 12
LONGEST_S = 1.2
PER_FOLDER = 25  # kills, before the folder is accounted for and a new one begun


def keep_asking(house: House, server: ServerProcess, webhook: str, chance: random.Random) -> None:
    """Submit tasks and delete some until the server is gone; only what was answered counts."""
    try:
        for _ in range(TASKS):
            house.submit(server, image_number=chance.randint(1, 3), webhook_url=webhook)
    except (OSError, ValueError):  # it was killed before it answered
        return


@pytest.mark.parametrize("seed", [1])
def test_kill_9_at_random_moments_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
    receiver: Receiver,
    account: Account,
    seed: int,
) -> None:
    kills: int = pytestconfig.getoption("--kills")
    chance = random.Random(seed)
    lost: list[str] = []
    for first in range(0, kills, PER_FOLDER):
        house = House(tmp_path_factory.mktemp("house"))
        for _ in range(min(PER_FOLDER, kills - first)):
            with house.serving() as server:
                asking = threading.Thread(
                    target=keep_asking, args=(house, server, receiver.url, chance)
                )
                asking.start()
                time.sleep(chance.uniform(0.0, LONGEST_S))
                server.stop(signal.SIGKILL)
                asking.join()
        with house.serving() as server:
            house.drained(server)
            house.delivered(receiver)
            assert server.stop(signal.SIGTERM) == 0
        lost += house.losses(deaths=True)
    account("`kill -9` at a random moment", kills, lost)


PHASES = {
    "while nothing runs": [],
    "while a task runs": ["steps 5"],
    "while a task runs that takes longer than the grace": ["steps 1500"],
    "while tasks wait": ["steps 20"] * 5,
    "while pictures are saved": ["bytes 3000000"] * 3,
}


def test_sigterm_in_every_phase_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, account: Account
) -> None:
    lost: list[str] = []
    for prompts in PHASES.values():
        house = House(tmp_path_factory.mktemp("house"))
        with house.serving() as server:
            ids = [house.submit(server, prompt) for prompt in prompts]
            if ids:
                runs(server)
            assert server.stop(signal.SIGTERM) == 0
        with house.serving() as server:
            if "steps 1500" in prompts:
                server.post(f"/v1/engine/control?action=stop&task_id={ids[0]}", {})
            house.drained(server)
            assert server.stop(signal.SIGTERM) == 0
        lost += house.losses()
    account("SIGTERM in every phase", len(PHASES), lost)
