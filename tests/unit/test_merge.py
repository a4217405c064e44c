"""Pages of a stored list with a few held items, against the list of both."""

from hypothesis import given
from hypothesis import strategies as st

from storage.merge import merged_page

ages = st.lists(st.integers(0, 30), unique=True, max_size=30)


@given(ages, st.sets(st.integers(0, 29)), st.integers(0, 35), st.none() | st.integers(0, 12))
async def test_a_page_is_what_a_list_of_both_would_have_there(
    everything: list[int], chosen: set[int], offset: int, limit: int | None
) -> None:
    held = [age for at, age in enumerate(everything) if at in chosen]
    stored = sorted(set(everything) - set(held), reverse=True)

    async def fetch(skipped: int, count: int | None) -> list[int]:
        return stored[skipped : None if count is None else skipped + count]

    page = await merged_page(held, fetch, offset, limit, age=lambda x: (x,), name=lambda x: x)
    expected = sorted(everything, reverse=True)
    assert page == expected[offset : None if limit is None else offset + limit]


async def test_an_item_that_is_stored_meanwhile_stands_on_the_page_once() -> None:
    async def fetch(skipped: int, count: int | None) -> list[int]:
        return [5, 4, 3][skipped:]

    page = await merged_page([4], fetch, 0, None, age=lambda x: (x,), name=lambda x: x)
    assert page == [5, 4, 3]
