"""Does a line of lore hold a claim? For English and other spaced scripts, word by word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations

from sagaforge.functions.citations.claims import Claim, Unit
from sagaforge.functions.citations.lexicon import ATTRIBUTES, AUXILIARIES, FUNCTION_WORDS

MIN_SUPPORTED = 2  # content words; fewer say nothing that a line could hold
MAX_UNHELD_SHARE = 0.15  # of the content words, and none of them a name, a number or an attribute
NEAR_WHOLE = 0.9  # a claim with this share of a line's words says the line, so it must deny as often
ATTACH_WORDS = 3  # how many content words may be left out between two
CONTEXT_WORDS = 3
SWAP_MARGIN = 0.5
MIN_CROSS = 0.3  # each of the two must fit the other's place, or it is one phrase that moved
ARTICLES = frozenset({"a", "an", "the"})
DETERMINERS = ARTICLES | {"her", "his", "its", "their", "my", "our", "your"}


def words_against(claim: Claim, line: Claim, title: Claim, known: frozenset[str]) -> str:
    """Why the line does not hold the claim; "" when it does. `known` are words that need no support."""
    unheld = [unit for unit in claim.content if unit.key not in line.keys and unit.key not in title.keys]
    strange = [unit for unit in unheld if unit.key not in known]
    for unit in strange:
        if unit.value is not None:
            return f"number {unit.key[1:]}"
        # An opening word may be a name as well; only an adverb ("Slowly, …") is surely none.
        if unit.is_capital and not (unit.starts_sentence and unit.key.endswith("ly")):
            return f"name {unit.key}"
        if unit.key in ATTRIBUTES:
            return f"attribute {unit.key}"
    num_held = len(claim.content) - len(unheld)
    if num_held < MIN_SUPPORTED:
        return "nothing that the line says"
    if len(strange) > MAX_UNHELD_SHARE * len(claim.content):
        return "not said: " + ", ".join(unit.key for unit in strange[:4])
    denied = _denied(claim, line)
    if denied or claim.spelt in line.spelt:  # nothing of a quotation can have changed places
        return denied
    return (
        _substituted(claim, line, title)
        or _repeated(claim, line, title)
        or _attached(claim, line)
        or _swapped(claim, line)
        or _wrong_subject(claim, line)
        or _of_another(claim, line)
    )


def share_said(claim: Claim, line: Claim) -> float:
    """The share of the line's content words that the claim has."""
    return len(claim.keys & line.keys) / max(1, len(line.keys))


def _denied(claim: Claim, line: Claim) -> str:
    for key in claim.negated & line.keys:
        if key not in line.negated:
            return f"denied {key}"
    for key in line.negated & claim.plain:
        if key not in line.plain and key not in claim.negated:
            return f"not denied {key}"
    if claim.num_negators != line.num_negators and share_said(claim, line) >= NEAR_WHOLE:
        return "denial"
    return ""


def _substituted(claim: Claim, line: Claim, title: Claim) -> str:
    """A word, be it the title's, that stands where the line has another one, beside the same neighbour."""
    missing = claim.keys - line.keys
    if not missing:
        return ""
    said = [unit.key for unit in claim.units if unit.key not in FUNCTION_WORDS]
    written = [unit for unit in line.units if unit.key not in FUNCTION_WORDS]
    left_out = Counter(unit.key for unit in written)
    left_out.subtract(said)
    for index, key in enumerate(said):
        if key not in missing:
            continue
        after = next((k for k in said[index + 1 :] if k not in missing), None)
        before = next((k for k in reversed(said[:index]) if k not in missing), None)
        for position, unit in enumerate(written):
            rivals = written[max(0, position - 1) : position] if unit.key == after else []
            rivals += written[position + 1 : position + 2] if unit.key == before else []
            for rival in rivals:
                # The title's name may stand for "the island", never for another name.
                if left_out[rival.key] > 0 and (key not in title.keys or rival.is_capital):
                    return f"{key} in place of {rival.key}"
    return ""


def _attached(claim: Claim, line: Claim) -> str:
    """A word that takes the next one with it ("forty barrels", "wears the valve") must take it in the line too."""
    if claim.is_passive != line.is_passive:
        return ""
    written = [unit for unit in line.units if unit.key not in DETERMINERS]
    for unit, heads in _taking(claim):
        if unit.key not in line.keys or not heads & line.keys:
            continue
        places = [i for i, other in enumerate(written[:-1]) if other.key == unit.key]
        # Where the line goes on with a little word ("wears, of all things, …"), what follows may have been left out.
        if not places or any(not written[i + 1].is_content for i in places):
            continue
        if not any(other.key in heads for i in places for other in written[i + 1 : i + 1 + ATTACH_WORDS]):
            return f"{unit.key} of {' '.join(sorted(heads))}"
    return ""


def _taking(claim: Claim) -> Iterator[tuple[Unit, set[str]]]:
    """Each number, attribute or verb with the word that it takes, or the two ("wears a pressure valve")."""
    units = claim.units
    for index, unit in enumerate(units[:-1]):
        is_date = unit.value is not None and index > 0 and units[index - 1].key == "year"
        is_verb = units[index + 1].key in DETERMINERS and not unit.is_capital
        if not unit.is_content or is_date or not (is_verb or _qualifies(unit)):
            continue
        first = index + 2 if units[index + 1].key in DETERMINERS else index + 1
        heads = {head.key for head in units[first : first + (2 if is_verb else 1)] if head.clause == unit.clause}
        if heads and units[first].is_content:
            yield unit, heads


def _qualifies(unit: Unit) -> bool:
    return unit.value is not None or unit.key in ATTRIBUTES


def _repeated(claim: Claim, line: Claim, title: Claim) -> str:
    """A word said more often than it is written stands in for another one."""
    surplus = Counter(unit.key for unit in claim.content if unit.key in line.keys)
    surplus.subtract(unit.key for unit in (*line.content, *title.content))
    return next((f"{key} once more" for key, num in surplus.items() if num > 0), "")


def _swapped(claim: Claim, line: Claim) -> str:
    """Two names, numbers or attributes that stand in each other's place: "A betrayed B" for "B betrayed A"."""
    if claim.is_passive != line.is_passive:
        return ""
    said = [unit.key for unit in claim.units if unit.key not in ARTICLES]
    written = [unit.key for unit in line.units if unit.key not in ARTICLES]
    said_contexts: dict[tuple[str, ...], list[Context]] = {}
    written_contexts: dict[tuple[str, ...], list[Context]] = {}
    for entity in _entities(claim):
        if entity not in said_contexts and (found := _contexts(written, entity)):
            said_contexts[entity] = _contexts(said, entity)
            written_contexts[entity] = found
    for one, two in combinations(said_contexts, 2):
        if _are_joined(one, two, said) and _are_joined(one, two, written):
            continue
        ignored = {*one, *two}
        own = _likeness(said_contexts[one], written_contexts[one], ignored)
        own += _likeness(said_contexts[two], written_contexts[two], ignored)
        cross = (
            _likeness(said_contexts[one], written_contexts[two], ignored),
            _likeness(said_contexts[two], written_contexts[one], ignored),
        )
        if min(cross) >= MIN_CROSS and sum(cross) > own + SWAP_MARGIN:
            return f"{' '.join(one)} and {' '.join(two)} swapped"
    return ""


def _wrong_subject(claim: Claim, line: Claim) -> str:
    """ "Aldous hid Ottoline" against "Ottoline hid him": the name before a verb, unless the voice differs too."""
    is_turned = claim.is_passive and not line.is_passive
    if line.is_passive and not claim.is_passive:
        return ""
    written = _subjects(line)
    for verb, subjects in _subjects(claim).items():
        others = written.get(verb)
        if not others or not subjects[0] <= line.keys:
            continue
        is_same = any(subject & other for subject in subjects for other in others)
        if is_same == is_turned:
            return f"{' '.join(sorted(subjects[0]))} is not who did it: {verb}"
    return ""


def _of_another(claim: Claim, line: Claim) -> str:
    """What a line says of several in one breath ("A burns green, and B burns white") told of the wrong one: the mistake
    of a copy that jumps from a verb to the same verb further on."""
    if claim.is_passive != line.is_passive:
        return ""
    written = list(_said_of(line))
    for index, verb, name in _said_of(claim):
        same_verb = [(place, other) for place, key, other in written if key == verb]
        if len(same_verb) < 2:
            continue
        for unit in claim.units[index + 1 :]:
            if unit.clause != claim.units[index].clause:
                break
            places = [place for place, other in enumerate(line.units) if unit.is_content and other.key == unit.key]
            owners = [[other for at, other in same_verb if at < place][-1:] for place in places]
            told_of = [owner[0] for owner in owners if owner]
            if told_of and not any(owner <= name or name <= owner for owner in told_of):
                return f"{unit.key} is said of {' '.join(sorted(told_of[0]))}"
    return ""


def _subjects(claim: Claim) -> dict[str, list[set[str]]]:
    """For each word that a name stands straight before, that name's words."""
    found: dict[str, list[set[str]]] = {}
    for _, verb, name in _said_of(claim):
        found.setdefault(verb, []).append(name)
    return found


def _said_of(claim: Claim) -> Iterator[tuple[int, str, set[str]]]:
    """Each word that a name stands straight before, auxiliaries apart: its place, and that name's words."""
    name: set[str] = set()
    clause = 0
    for index, unit in enumerate(claim.units):
        if unit.is_content and unit.is_capital:
            name = name | {unit.key} if unit.clause == clause else {unit.key}
            clause = unit.clause
        elif unit.is_content:
            if name and unit.clause == clause and unit.value is None:
                yield index, unit.key, name
            name = set()
        elif unit.key not in AUXILIARIES:
            name = set()


def _are_joined(one: tuple[str, ...], two: tuple[str, ...], keys: list[str]) -> bool:
    """ "A and B" says what "B and A" says."""
    text = f" {' '.join(keys)} "
    return any(f" {' '.join(a)} and {' '.join(b)} " in text for a, b in ((one, two), (two, one)))


def _entities(claim: Claim) -> list[tuple[str, ...]]:
    """Names (words with a capital that stand together), numbers and attributes."""
    entities: list[tuple[str, ...]] = []
    last_capital = -2
    units = [unit for unit in claim.units if unit.key not in ARTICLES]
    for index, unit in enumerate(units):
        if unit.is_capital and unit.is_content and last_capital == index - 1 and units[index - 1].clause == unit.clause:
            entities[-1] += (unit.key,)
            last_capital = index
        elif unit.is_content and (unit.is_capital or _qualifies(unit)):
            entities.append((unit.key,))
            last_capital = index if unit.is_capital else -2
    return entities


Context = dict[tuple[int, str], float]


def _contexts(keys: list[str], entity: tuple[str, ...]) -> list[Context]:
    """For each place of `entity`: the words around it, with their side, and a weight that falls with the distance."""
    found: list[Context] = []
    for start in range(len(keys) - len(entity) + 1):
        if keys[start] != entity[0] or tuple(keys[start : start + len(entity)]) != entity:
            continue
        context: Context = {}
        for distance in range(1, CONTEXT_WORDS + 1):
            for side, place in ((-1, start - distance), (1, start + len(entity) - 1 + distance)):
                if 0 <= place < len(keys):
                    context.setdefault((side, keys[place]), 1.0 / distance)
        found.append(context)
    return found


def _likeness(some: Iterable[Context], others: list[Context], ignored: set[str]) -> float:
    return max(
        (
            sum(min(weight, b[place]) for place, weight in a.items() if place in b and place[1] not in ignored)
            for a in some
            for b in others
        ),
        default=0.0,
    )
