"""A running task on the event loop: what it tells of its worker's events."""

from bus.events import EventData, TaskProgress
from pipeline.scheduling.progress import RunningTask
from pipeline.scheduling.worker_events import Progress
from tests.unit.scheduling import Images, make_task


def test_progress_never_falls_and_never_exceeds_100() -> None:
    told: list[EventData] = []
    task = RunningTask(
        make_task("a"),
        "cpu",
        lambda data, _task_id: told.append(data),
        Images().save,
        lambda _skip: None,
    )
    for percent in (2, 50, 13, 101, 60):
        task.apply(Progress(percent=percent, message=f"{percent} %"))
    events = [data for data in told if isinstance(data, TaskProgress)]
    assert [event.progress for event in events] == [2, 50, 50, 100, 100]
    assert [event.message for event in events] == ["2 %", "50 %", "13 %", "101 %", "60 %"]
    assert (task.snapshot.progress, task.snapshot.message) == (100, "60 %")
