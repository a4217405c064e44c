"""Everything the embedded model can be told: colours, shapes, objects, places, skies, styles."""

from collections.abc import Mapping
from typing import Final, NamedTuple

Colour = tuple[int, int, int]

COLOURS: Final[Mapping[str, Colour]] = {
    "red": (220, 38, 38),
    "orange": (245, 133, 20),
    "yellow": (250, 214, 40),
    "green": (38, 160, 70),
    "blue": (40, 90, 220),
    "purple": (130, 50, 180),
    "pink": (245, 130, 180),
    "brown": (125, 75, 40),
    "black": (24, 24, 28),
    "white": (246, 246, 244),
    "gray": (140, 142, 146),
    "cyan": (50, 205, 220),
}

# A name that stands twice is said twice as often.
COLOUR_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "gray": ("gray", "grey"),
    "purple": ("purple", "purple", "violet"),
    "cyan": ("cyan", "cyan", "turquoise"),
}
COLOUR_ALIASES: Final[Mapping[str, str]] = {
    "grey": "gray",
    "violet": "purple",
    "turquoise": "cyan",
}


class Scope(NamedTuple):
    """What a model is trained to draw; landscapes and styles are always all of them."""

    shapes: tuple[str, ...]
    objects: tuple[str, ...]


SMALL: Final = Scope(
    shapes=("circle", "square", "triangle", "star", "heart", "diamond", "cross", "ring"),
    objects=("cat", "fish", "flower", "tree", "house", "car", "boat", "balloon"),
)
FULL: Final = Scope(
    shapes=(
        "circle",
        "square",
        "triangle",
        "star",
        "heart",
        "diamond",
        "hexagon",
        "cross",
        "ring",
        "crescent",
    ),
    objects=(
        "cat",
        "fish",
        "flower",
        "tree",
        "house",
        "car",
        "boat",
        "mushroom",
        "bird",
        "balloon",
        "butterfly",
        "rocket",
        "robot",
        "cup",
    ),
)
SCOPES: Final[Mapping[str, Scope]] = {"small": SMALL, "full": FULL}

PLURALS: Final[Mapping[str, str]] = {
    "fish": "fish",
    "cross": "crosses",
    "butterfly": "butterflies",
}

PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "sea": ("the sea", "the ocean", "a calm sea"),
    "mountain": ("a mountain", "mountains", "a mountain landscape"),
    "snowy mountain": ("a snowy mountain", "snowy mountains", "snow capped mountains"),
    "field": ("a green field", "a meadow", "a grass field"),
    "hills": ("green hills", "rolling hills", "hills"),
    "desert": ("a desert", "sand dunes", "a sandy desert"),
    "forest": ("a forest", "a pine forest", "trees in a forest"),
    "city": ("a city skyline", "a city", "tall buildings in a city"),
    "beach": ("a beach", "a sandy beach", "a tropical beach"),
    "lake": ("a lake", "a lake with mountains", "a calm lake"),
    "snow": ("a snowy field", "a winter landscape", "a snowy landscape"),
}
PLACE_PREPOSITIONS: Final[Mapping[str, str]] = {  # elsewhere: near
    "field": "in",
    "forest": "in",
    "city": "over",
    "desert": "in",
    "beach": "on",
    "sea": "on",
    "lake": "on",
    "hills": "on",
    "snow": "in",
}

SKIES: Final[Mapping[str, tuple[str, ...]]] = {
    "day": ("under a blue sky", "on a sunny day", "under a clear sky", "with a bright sun"),
    "cloudy": ("under a cloudy sky", "with white clouds", "with clouds"),
    "sunset": ("at sunset", "at sunset", "under an orange sky", "at dusk"),
    "sunrise": ("at sunrise", "at dawn", "in the morning"),
    "starry": (
        "under a starry night sky",
        "at night with stars",
        "under the stars",
        "at night",
    ),
    "moon": ("under a full moon", "at night with a moon", "in the moonlight"),
    "rainbow": ("with a rainbow", "under a rainbow"),
    "storm": ("in the rain", "in a storm", "under a dark stormy sky"),
}

# None stands for a place without a landmark, as often as it is listed.
LANDMARKS_OF: Final[Mapping[str, tuple[str | None, ...]]] = {
    "sea": ("boat", "lighthouse", "island", None, None),
    "mountain": ("house", "tree", None, None),
    "snowy mountain": ("house", "tree", None, None),
    "field": ("house", "tree", "flowers", "windmill", None),
    "hills": ("house", "castle", "tree", "windmill", None),
    "desert": ("cactus", "pyramid", None),
    "forest": ("house", None, None),
    "city": ("hot air balloon", None, None),
    "beach": ("palm tree", "boat", "umbrella", None),
    "lake": ("boat", "house", None),
    "snow": ("house", "snowman", "tree", None),
}
LANDMARKS: Final[Mapping[str, tuple[str, ...]]] = {
    "boat": ("a boat", "a sailboat"),
    "lighthouse": ("a lighthouse",),
    "island": ("an island",),
    "house": ("a house", "a small house", "a cottage"),
    "tree": ("a tree", "a big tree"),
    "flowers": ("flowers",),
    "windmill": ("a windmill",),
    "castle": ("a castle",),
    "cactus": ("a cactus",),
    "pyramid": ("a pyramid", "pyramids"),
    "hot air balloon": ("a hot air balloon",),
    "palm tree": ("a palm tree",),
    "umbrella": ("an umbrella",),
    "snowman": ("a snowman",),
}

STYLES: Final[Mapping[str, tuple[str, ...]]] = {
    "watercolor": (
        "watercolor",
        "watercolour painting",
        "in watercolor style",
        "a watercolor painting",
    ),
    "line art": ("line art", "line drawing", "black and white line art", "ink drawing"),
    "pastel": ("pastel", "pastel colors", "soft pastel", "in pastel colors"),
    "pixel art": ("pixel art", "pixel art style", "8 bit pixel art"),
    "flat": ("flat design", "vector art", "flat illustration"),
}

BACKGROUND_PHRASES: Final = (
    "on a {} background",
    "on a {} background",
    "on a {} background",
    "with a {} background",
    "on {}",
    ", {} background",
    "in front of a {} background",
)
OPENINGS: Final = ("",) * 6 + (
    "a picture of ",
    "an illustration of ",
    "a drawing of ",
    "an image of ",
)
QUALITY_WORDS: Final = (
    "masterpiece",
    "best quality",
    "high quality",
    "detailed",
    "beautiful",
    "simple",
    "colorful",
    "4k",
    "8k",
    "highly detailed",
)
# Words people use in prompts though no caption holds them: they should cost one token each.
PROMPT_WORDS: Final = (
    "the of in on at with and by from to an a is are this that over near",
    "photo photograph picture painting image scene view style artwork digital portrait landscape",
    "cute little happy nice pretty small large big two three four",
    "person man woman girl boy people face dog horse animal",
    "sky cloud sun moon star night day dark light bright water river road grass",
    "winter summer spring autumn background realistic sharp focus lighting cinematic",
    "ultra quality worst low bad blurry ugly",
)
