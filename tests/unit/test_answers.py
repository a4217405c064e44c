"""Kept answers: of the present state only, and not without end."""

from storage.answers import Answers


def test_an_answer_holds_until_the_database_changes() -> None:
    answers: Answers[int] = Answers()
    answers.keep(1, "a", 7, 1)
    assert answers.find(1, "a") == 7
    assert answers.find(2, "a") is None
    answers.keep(2, "b", 8, 1)
    assert answers.find(1, "a") is None
    assert answers.find(2, "a") is None
    assert answers.find(2, "b") == 8


def test_without_a_version_nothing_is_kept_or_found() -> None:
    answers: Answers[int] = Answers()
    answers.keep(1, "a", 7, 1)
    answers.keep(None, "b", 8, 1)
    assert answers.find(None, "a") is None
    assert answers.find(1, "b") is None


def test_the_oldest_gives_way() -> None:
    answers: Answers[int] = Answers(limit=2)
    for i, query in enumerate("abc"):
        answers.keep(1, query, i, 1)
    assert [answers.find(1, query) for query in "abc"] == [None, 1, 2]


def test_large_answers_are_kept_in_bounded_memory() -> None:
    answers: Answers[int] = Answers(limit_bytes=10)
    answers.keep(1, "a", 1, 6)
    answers.keep(1, "a", 2, 6)  # in place of the first
    assert answers.find(1, "a") == 2
    answers.keep(1, "b", 3, 6)
    assert (answers.find(1, "a"), answers.find(1, "b")) == (None, 3)
    answers.keep(1, "c", 4, 11)
    assert answers.find(1, "c") is None
    answers.keep(1, "d", 5, 10)
    assert answers.find(1, "d") == 5
