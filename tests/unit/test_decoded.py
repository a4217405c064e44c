"""A decoded request with parameters that its API family decides."""

from pipeline.request.decode import decoded_from


def test_fields_that_a_family_sets_count_as_named_by_the_request() -> None:
    decoded = decoded_from({"prompt": "a cat", "image_number": 4, "unknown": 1})
    changed = decoded.with_fields(image_number=1, output_format="webp")
    assert (changed.params.image_number, changed.params.output_format) == (1, "webp")
    assert changed.params.prompt == "a cat"
    assert changed.present == {"prompt", "image_number", "output_format"}
    assert (changed.delivery, changed.ignored) == (decoded.delivery, ("unknown",))
