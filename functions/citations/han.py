"""Does a line of lore hold a claim? For Chinese, by runs of characters, since nothing marks where a word ends.

The claim is covered with the longest runs that the line has too. What stays uncovered was not said; runs that come in
another order within a clause have changed places.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from sagaforge.functions.citations.claims import BREAK, NUMBER_PLANE, NUMBER_SLOTS, WORD_PLANE, Claim, han_negations
from sagaforge.functions.citations.lexicon import (
    HAN_ADJUNCT,
    HAN_ATTRIBUTES,
    HAN_FUNCTION,
    HAN_NARRATOR,
    HAN_NEGATORS,
    HAN_PASSIVE,
    HAN_TIME,
)

MIN_COVERED = 3  # content characters; fewer say nothing that a line could hold
MAX_UNHELD = 1  # characters, and not an attribute's, a number's or a name's; nearly every word has two
MAX_UNHELD_SHARE = 0.12
MIN_SHARED_PAIRS = 0.4
SWAP_MARGIN = 2  # sides, of the four that two runs have


@dataclass(frozen=True, slots=True)
class _Tile:
    """A run of the claim: `source` says where it is from (line, title, known, function, none)."""

    start: int
    text: str
    source: str


def han_against(claim: Claim, line: Claim, title: Claim, known: tuple[str, ...]) -> str:
    """Why the line does not hold the claim; "" when it does. `known` are folded names that need no support."""
    if not claim.han_numbers <= line.han_numbers | title.han_numbers:
        return "number"
    # Covering is the slow part, and most lines of a prompt are about something else.
    if not _is_about(claim, line, title):
        return "nothing that the line says"
    if claim.han in line.han and _num_content(claim.han) >= MIN_COVERED:  # a quotation
        return _denied(claim.han, line.han)
    tiles = _cover(claim.han, line.han, title.han, known)
    return (
        _unheld(tiles, line.han)
        or _denied(claim.han, line.han)
        or _counted(claim.han, line.han)
        or _moved(tiles, claim, line)
    )


def share_said_han(claim: Claim, line: Claim) -> float:
    """The share of the line's character pairs that the claim has."""
    return len(line.han_pairs & claim.han_pairs) / max(1, len(line.han_pairs))


def _is_about(claim: Claim, line: Claim, title: Claim) -> bool:
    num_shared = len(claim.han_pairs & line.han_pairs) + len(claim.han_pairs & title.han_pairs)
    return num_shared >= MIN_SHARED_PAIRS * len(claim.han_pairs)


def _cover(han: str, line: str, title: str, known: tuple[str, ...]) -> list[_Tile]:
    tiles: list[_Tile] = []
    position = 0
    while position < len(han):
        if han[position] == BREAK:
            tiles.append(_Tile(position, BREAK, "break"))
            position += 1
            continue
        length = _run(han, position, line)
        title_length = _run(han, position, title)
        frame = next((word for word in HAN_NARRATOR if han.startswith(word, position)), "")
        name = next((name for name in known if name and han.startswith(name, position)), "")
        char = han[position]
        if len(name) > max(length, title_length):
            tile = _Tile(position, name, "known")
        elif title_length > length and (title_length >= 2 or char >= chr(WORD_PLANE)):
            tile = _Tile(position, han[position : position + title_length], "title")
        elif length >= 2 or (length and char >= chr(NUMBER_PLANE) and char not in HAN_FUNCTION):
            tile = _Tile(position, han[position : position + length], "line")
        elif frame:
            tile = _Tile(position, frame, "function")
        elif char in HAN_FUNCTION:
            tile = _Tile(position, char, "function")
        else:
            tile = _Tile(position, char, "weak" if length else "none")
        tiles.append(tile)
        position += len(tile.text)
    return tiles


def _run(han: str, position: int, line: str) -> int:
    length = 0
    while position + length < len(han) and han[position : position + length + 1] in line:
        length += 1
    return len(han[position : position + length].rstrip(BREAK))


def _unheld(tiles: list[_Tile], line: str) -> str:
    covered = sum(_num_content(tile.text) for tile in tiles if tile.source == "line")
    if covered < MIN_COVERED:
        return "nothing that the line says"
    unheld = [tile for tile in tiles if tile.source in ("none", "weak")]
    total = covered + len(unheld)
    for tile in unheld:
        if tile.text in HAN_ATTRIBUTES or tile.text in HAN_NEGATORS or tile.text >= chr(WORD_PLANE):
            return f"not said: {tile.text}"
    if len(unheld) > MAX_UNHELD or len(unheld) > MAX_UNHELD_SHARE * total:
        return "not said: " + "".join(tile.text for tile in unheld[:8])
    for index, tile in enumerate(tiles):
        if tile.source not in ("none", "known", "title"):
            continue
        before = _neighbour(tiles, index, -1)
        after = _neighbour(tiles, index, 1)
        if _has_rival(line, before, after):
            return f"{tile.text} in place of what the line says"
    return ""


def _neighbour(tiles: list[_Tile], index: int, step: int) -> str:
    """The run of the line beside a tile, past function words; "" at the end of a clause."""
    index += step
    while 0 <= index < len(tiles) and tiles[index].source in ("function", "none", "weak"):
        index += step
    if not 0 <= index < len(tiles) or tiles[index].source != "line":
        return ""
    return tiles[index].text


def _has_rival(line: str, before: str, after: str) -> bool:
    """True when the line has something of its own between the two neighbours, or beside the only one."""
    start = line.find(before) + len(before) if before else -1
    end = line.find(after, max(0, start)) if after else -1
    if before and after:
        return end > start and _num_content(line[start:end]) > 0
    if after:
        return end > 0 and _num_content(line[:end].rpartition(BREAK)[2]) > 0
    return bool(before) and _num_content(line[start:].partition(BREAK)[0]) > 0


def _num_content(text: str) -> int:
    return sum(char not in HAN_FUNCTION and char != BREAK for char in text)


def _denied(claim: str, line: str) -> str:
    for one, two, word in ((claim, line, "denied"), (line, claim, "not denied")):
        negated_in_two = {scope[:2] for _, scope in han_negations(two)}
        positions = {position for position, _ in han_negations(two)}
        for _, scope in han_negations(one):
            if scope in negated_in_two:
                continue
            place = two.find(scope)
            if place >= 0 and place not in positions:
                return f"{word} {scope}"
    return ""


def _counted(claim: str, line: str) -> str:
    """A number must stand before the same character as in the line, and no more often."""
    for position, char in enumerate(claim[:-1]):
        if not _is_number(char):
            continue
        following = claim[position + 1]
        is_surplus = char in line and claim.count(char) > line.count(char)
        if is_surplus or (following != BREAK and char in line and char + following not in line):
            return f"number of {following}"
    return ""


def _moved(tiles: list[_Tile], claim: Claim, line: Claim) -> str:
    """Runs in another order than the line's, within one clause. Phrases of place and time may move."""
    if bool(HAN_PASSIVE & set(claim.han)) != bool(HAN_PASSIVE & set(line.han)):
        return ""
    reached = 0
    for tile in tiles:
        if tile.source == "break":
            reached = 0
        elif tile.source == "line" and not _is_adjunct(tile.text):
            place = line.han.find(tile.text, reached)
            if place < 0:
                return f"{tile.text} has changed places"
            reached = place + len(tile.text)
    return _swapped(tiles, claim.han, line.han)


def _swapped(tiles: list[_Tile], claim: str, line: str) -> str:
    """Two runs that stand in each other's place, be it in two clauses."""
    runs = list(dict.fromkeys(tile.text for tile in tiles if tile.source == "line" and len(tile.text) >= 2))
    said = {run: _sides(claim, run) for run in runs}
    written = {run: _sides(line, run) for run in runs}
    free = {run for run in runs if _is_adjunct(run) or (_is_clause(said[run]) and _is_clause(written[run]))}
    for one, two in combinations(runs, 2):
        if one in free or two in free:
            continue
        own = _shared(said[one], written[one]) + _shared(said[two], written[two])
        cross = _shared(said[one], written[two]), _shared(said[two], written[one])
        if min(cross) > 0 and sum(cross) >= own + SWAP_MARGIN:
            return f"{one} and {two} swapped"
    return ""


def _sides(han: str, run: str) -> tuple[set[str], set[str]]:
    """The two characters before each place of a run, and the two behind it."""
    before, behind = set(), set()
    padded = BREAK * 2 + han + BREAK * 2
    place = padded.find(run)
    while place >= 0:
        before.add(padded[place - 2 : place])
        behind.add(padded[place + len(run) : place + len(run) + 2])
        place = padded.find(run, place + 1)
    return before, behind


def _is_clause(sides: tuple[set[str], set[str]]) -> bool:
    return all(text[-1] == BREAK for text in sides[0]) and all(text[0] == BREAK for text in sides[1])


def _shared(some: tuple[set[str], set[str]], others: tuple[set[str], set[str]]) -> int:
    return sum(not a.isdisjoint(b) for a, b in zip(some, others, strict=True))


def _is_adjunct(text: str) -> bool:
    """A phrase of place or time, which moves freely: 在…, 從…, 2089年…."""
    is_number = _is_number(text[0])
    return text[0] in HAN_ADJUNCT or (is_number and len(text) > 1 and text[1] in HAN_TIME)


def _is_number(char: str) -> bool:
    return NUMBER_PLANE <= ord(char) < NUMBER_PLANE + NUMBER_SLOTS
