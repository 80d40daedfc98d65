"""The words that name an attribute's value in a caption; the first of each list is the plainest."""

from __future__ import annotations

Words = dict[str, tuple[str, ...]]

PLACE: Words = {
    "castle": ("a castle", "an old castle", "a fortress on a hill", "a fairytale castle", "a castle with towers"),
    "forest": ("a forest", "the woods", "a deep forest", "a quiet wood", "an enchanted forest"),
    "harbour": ("a harbour", "the docks", "a harbor with ships", "a port", "a pier with sailing ships"),
    "village": ("a village", "a village street", "a small town", "a street of timbered houses", "an old town street"),
    "mountain": ("the mountains", "snowy mountains", "a mountain lake", "high peaks", "a mountain valley"),
    "desert": ("a desert", "sand dunes", "the desert with pyramids", "a sandy desert", "pyramids in the desert"),
    "city": ("a city", "a big city", "a city of towers", "downtown", "city streets", "skyscrapers"),
    "lighthouse": ("a lighthouse", "a lighthouse on a cliff", "cliffs with a lighthouse", "a lighthouse by the sea"),
    "ruins": ("ancient ruins", "a ruined temple", "old columns", "temple ruins", "the ruins of a temple"),
    "library": ("a library", "an old library", "a room full of books", "a grand library", "shelves of books"),
    "tavern": ("a tavern", "an inn", "a cosy tavern", "a tavern with a fireplace", "an old inn with a hearth"),
    "cave": ("a cave", "a crystal cave", "a cavern", "a dark cave with crystals", "a glowing cavern"),
}
TIME: Words = {
    "dawn": ("dawn", "sunrise", "early morning", "daybreak"),
    "day": ("noon", "midday"),
    "sunset": ("sunset", "dusk", "evening", "golden hour"),
    "night": ("night", "midnight"),
}
TIME_TAGS: Words = {
    "dawn": ("dawn light", "sunrise", "early morning", "pink dawn sky"),
    "day": ("daylight", "sunny day", "blue sky", "midday"),
    "sunset": ("sunset", "dusk", "golden hour", "evening light", "orange sunset sky"),
    "night": ("night", "moonlight", "night time", "dark night", "midnight"),
}
WEATHER: Words = {
    "clear": ("clear weather", "clear sky"),
    "rain": ("rain", "heavy rain", "rainy weather", "pouring rain"),
    "snow": ("snow", "falling snow", "snowfall", "snowy weather"),
    "fog": ("fog", "mist", "foggy weather", "thick fog", "misty air"),
}
HAIR: Words = {
    "black": ("black", "jet black", "raven"),
    "brown": ("brown", "chestnut", "brunette"),
    "blonde": ("blonde", "golden", "blond", "yellow"),
    "red": ("red", "ginger", "fiery red", "copper"),
    "silver": ("silver", "white", "grey", "platinum"),
    "blue": ("blue", "azure", "bright blue"),
    "pink": ("pink", "rose", "bright pink"),
}
HAIR_STYLE: Words = {
    "short": ("short hair", "cropped hair"),
    "bob": ("bob cut", "hair in a bob"),
    "long": ("long hair", "flowing hair", "long straight hair"),
    "bun": ("hair in a bun", "hair bun"),
    "ponytail": ("ponytail", "hair in a ponytail"),
    "twintails": ("twin tails", "pigtails", "hair in two tails"),
}
EYES: Words = {
    "brown": ("brown", "dark brown", "hazel"),
    "blue": ("blue", "sky blue"),
    "green": ("green", "emerald"),
    "violet": ("violet", "purple"),
    "amber": ("amber", "golden", "yellow"),
}
CLOTHES: Words = {
    "red": ("red", "crimson", "scarlet"),
    "blue": ("blue", "navy", "royal blue"),
    "green": ("green", "emerald", "forest green"),
    "purple": ("purple", "violet"),
    "yellow": ("yellow", "golden", "gold"),
    "white": ("white", "pale", "ivory"),
    "black": ("black", "dark"),
    "brown": ("brown", "leather brown", "tan"),
}
GARMENT: Words = {
    "robe": ("robe", "wizard's robe", "robes", "long robe"),
    "coat": ("coat", "long coat", "jacket"),
    "dress": ("dress", "gown"),
    "armour": ("armour", "armor", "plate armour", "suit of armour"),
    "tunic": ("tunic", "shirt", "tunic with a belt"),
}
BUILD: Words = {"slim": ("slim", "slender", "thin"), "sturdy": ("sturdy", "stocky", "strong")}
SKIN: Words = {
    "pale": ("pale skin", "fair skin", "light skin"),
    "tan": ("tan skin", "tanned skin"),
    "brown": ("brown skin",),
    "dark": ("dark skin", "deep brown skin"),
}
PERSON: Words = {"woman": ("woman", "girl", "young woman", "lady"), "man": ("man", "boy", "young man", "guy")}
# Who wears a garment may be called by what they are.
ROLES: Words = {
    "robe": ("wizard", "mage", "sorcerer"),
    "coat": ("detective", "traveller", "captain"),
    "dress": ("princess", "lady"),
    "armour": ("knight", "warrior", "guard"),
    "tunic": ("adventurer", "ranger", "hero"),
}
ITEM: Words = {
    "lantern": ("holding a lantern", "with a lantern", "carrying a lamp"),
    "sword": ("holding a sword", "with a sword", "with a blade in hand"),
    "book": ("holding a book", "with an open book", "reading a book"),
    "staff": ("holding a staff", "with a magic staff", "with a glowing staff"),
    "cat": ("with a cat", "with an orange cat", "and a cat beside"),
}
# The last words of a prompt; those of the presets are among them.
STYLE: Words = {
    "cel": (
        "anime style",
        "cel shading",
        "anime",
        "flat colors, clean lines",
        "anime key visual",
        "cel shaded, bold outlines",
    ),
    "watercolour": (
        "watercolor",
        "watercolour",
        "storybook illustration",
        "fantasy art",
        "watercolor painting, paper texture",
        "fantasy illustration, soft brush",
    ),
    "soft": (
        "realistic",
        "soft light, detailed",
        "realistic lighting",
        "cinematic, soft shading",
        "photorealistic",
        "digital painting, soft shading",
    ),
    "neon": (
        "cyberpunk",
        "neon lights",
        "neon glow, dark",
        "cyberpunk style, neon",
        "synthwave",
        "glowing edges, magenta and cyan",
    ),
    "ink": ("ink sketch", "pen and ink", "ink drawing on paper", "sketch, ink lines", "hand drawn ink, light wash"),
}
SHOT: Words = {
    "portrait": ("portrait", "close-up portrait", "head and shoulders", "face of", "close up"),
    "half": ("half body", "upper body", "waist up"),
    "left": ("full body, on the left", "standing on the left", "full figure on the left side"),
    "centre": ("full body", "full figure", "standing in the middle", "standing in the center"),
    "right": ("full body, on the right", "standing on the right", "full figure on the right side"),
    "pair": ("two people", "two characters", "side by side", "standing together"),
    "empty": ("no people", "landscape", "scenery", "nobody", "background art"),
}
QUALITY = ("beautiful", "masterpiece", "high quality", "detailed", "best quality")


def all_tables() -> dict[str, Words]:
    """Every table by the attribute that its words name."""
    return {
        "place": PLACE,
        "time": TIME,
        "weather": WEATHER,
        "hair": HAIR,
        "hair_style": HAIR_STYLE,
        "eyes": EYES,
        "clothes": CLOTHES,
        "garment": GARMENT,
        "build": BUILD,
        "skin": SKIN,
        "person": PERSON,
        "item": ITEM,
        "style": STYLE,
        "composition": SHOT,
    }
