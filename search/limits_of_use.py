"""What must be said of a model because of the data that it was trained on."""

from collections.abc import Mapping

__all__ = ["limits_of_use"]

_LIMITS: Mapping[str, tuple[str, ...]] = {
    "generated": (
        "It was trained on the built-in generated clips (drawn faces, synthesised voices): it has never seen a recorded person "
        "and is no detector of real-world fakes.",
        "It expects one face that fills most of the frame, and clips of about a second; of longer ones it sees the first second.",
    ),
    "generated-pictures": (
        "It was trained on the built-in generated pictures (drawn faces): it has never seen a photograph and is no detector of "
        "real-world fakes.",
        "It expects one face that fills most of the picture.",
    ),
}
"""By the data's name in the store (`paretolens.data.sources.source_label`)."""


def limits_of_use(data: str) -> tuple[str, ...]:
    """Sentences for model cards and reports; none for data of one's own, whose limits its owner must know."""
    return _LIMITS.get(data, ())
