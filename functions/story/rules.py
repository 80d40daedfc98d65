"""The rules of the game: what a proposed change may do to the state. Pure functions, no I/O.

The model proposes, these rules commit or refuse, each refusal with a reason for the player. No function here changes
the state that it is given.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sagaforge.errors import InvalidInput
from sagaforge.schemas import (
    MAX_INVENTORY_SLOTS,
    Change,
    Choice,
    Condition,
    GameState,
    Item,
    Place,
    RefusedChange,
    Relationship,
)
from sagaforge.text.terms import fold

MAX_AFFINITY_STEP = 10  # per character and turn, in either direction
MAX_ITEMS_AT_ONCE = 20
MAX_QUANTITY = 999
MAX_FLAGS = 64
MAX_FLAG_VALUE = 1_000_000
STATS = ("health", "energy", "level")
RELATION_PARTS = ("affinity", "trust")
MIN_MENTION_CHARS = 2  # "a" occurs in every text


@dataclass(frozen=True)
class WorldFacts:
    """What exists in the world: the rules refuse anything else.

    `characters` maps id → name. `items` are names the world is known to hold; an item also counts as known when its
    name stands in `text`, the lore and the scene that this turn rests on.
    """

    characters: Mapping[str, str] = field(default_factory=dict)
    locations: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    text: str = ""

    def character_id(self, name: str) -> str | None:
        """The id of the character with this id, name, or unmistakable part of a name."""
        wanted = same_name(name)
        for key, full_name in self.characters.items():
            if wanted in (same_name(key), same_name(full_name)):
                return key
        parts = [key for key, full_name in self.characters.items() if wanted in fold(full_name).split()]
        return parts[0] if len(parts) == 1 else None


def same_name(name: str) -> str:
    """The form in which two names are compared: without case, script, accents, spacing or a leading article."""
    folded = " ".join(fold(name).replace("_", " ").split())
    return folded.removeprefix("the ").strip(" .。")


# --- changes --------------------------------------------------------------------------------------------------------


def apply_changes(
    state: GameState, changes: Iterable[Change], *, known: WorldFacts
) -> tuple[GameState, list[RefusedChange]]:
    """Commit the changes that the rules allow, in order; return the new state and the refusals with their reasons.

    The step limits hold for one call, so a turn makes one. What goes over a limit is refused for the part that does.
    """
    turn = _Turn(state, known)
    refused: list[RefusedChange] = []
    for change in changes:
        reason = getattr(turn, f"_change_{change.kind}")(change)
        if reason:
            refused.append(RefusedChange(change=change, reason=reason))
    return turn.state, refused


class _Turn:
    """One turn's changes under way. Each `_change_*` commits and returns "", or returns why it refuses."""

    def __init__(self, state: GameState, known: WorldFacts) -> None:
        # Only the containers are copied: what they hold is replaced, never changed, and the timeline stays shared.
        self.state = state.model_copy(
            update={
                "relationships": dict(state.relationships),
                "inventory": list(state.inventory),
                "world_flags": dict(state.world_flags),
                "locations": dict(state.locations),
            }
        )
        self.known = known
        self.moved: Counter[tuple[str, str]] = Counter()
        self.has_levelled = False

    def _change_item(self, change: Change) -> str:
        inventory = self.state.inventory
        wanted = same_name(change.name)
        slot = next((i for i, item in enumerate(inventory) if same_name(item.name) == wanted), None)
        carried = inventory[slot].quantity if slot is not None else 0
        delta = 1 if change.value is None else change.value
        if change.op == "remove":
            delta = -delta
        elif change.op == "set":
            delta -= carried
        if change.op in ("add", "remove") and change.value is not None and change.value < 1:
            return f"{change.op} needs a quantity of at least 1"
        if delta == 0:
            return "nothing would change"
        if carried + delta < 0:
            return f"{carried} of it carried, {-delta} to give away" if carried else "it is not carried"
        if delta > 0 and not carried and not self._is_known_item(wanted):
            return "nothing of this name is here"
        if delta > MAX_ITEMS_AT_ONCE or carried + delta > MAX_QUANTITY:
            return f"at most {MAX_ITEMS_AT_ONCE} at once and {MAX_QUANTITY} of one thing can be carried"
        if slot is None:
            if len(inventory) >= MAX_INVENTORY_SLOTS:
                return f"all {MAX_INVENTORY_SLOTS} slots are full"
            inventory.append(Item(name=" ".join(change.name.split()), quantity=delta))
        elif carried + delta == 0:
            del inventory[slot]
        else:
            inventory[slot] = inventory[slot].model_copy(update={"quantity": carried + delta})
        return ""

    def _is_known_item(self, wanted: str) -> bool:
        here = self.state.locations.get(self.state.location or "")
        named = [*self.known.items, *(here.items_present if here else [])]
        if wanted in (same_name(name) for name in named):
            return True
        return len(wanted) >= MIN_MENTION_CHARS and _is_mentioned(wanted, fold(self.known.text))

    def _change_relationship(self, change: Change) -> str:
        name, _, part = change.name.partition(".")
        part = part or "affinity"
        key = self.known.character_id(name)
        if key is None:
            return "nobody of this name is known"
        if part not in RELATION_PARTS:
            return f"a relationship has {' and '.join(RELATION_PARTS)} only"
        if change.value is None:
            return "a relationship changes by a number"
        relation = self.state.relationships.get(key, Relationship())
        now = int(getattr(relation, part))
        wish = {"set": change.value - now, "remove": -change.value}.get(change.op, change.value)
        used = self.moved[key, part]
        step = max(-MAX_AFFINITY_STEP - used, min(MAX_AFFINITY_STEP - used, wish))
        step = max(0, min(100, now + step)) - now
        if step:
            self.moved[key, part] += step
            self.state.relationships[key] = relation.model_copy(update={part: now + step})
        if step == wish:
            return "" if wish else "nothing would change"
        return f"{part} stays within 0 and 100 and moves at most {MAX_AFFINITY_STEP} a turn; it moved by {step}"

    def _change_stat(self, change: Change) -> str:
        name = same_name(change.name)
        if name not in STATS:
            return f"the stats are {', '.join(STATS)}"
        if change.value is None:
            return "a stat changes by a number"
        now = int(getattr(self.state.player, name))
        target = {"set": change.value, "remove": now - change.value}.get(change.op, now + change.value)
        if target == now:
            return "nothing would change"
        if name == "level":
            if target != now + 1 or self.has_levelled:
                return "the level rises by one, once a turn"
            self.has_levelled = True
        elif now == (bounded := max(0, min(100, target))):
            return f"{name} stays within 0 and 100"
        else:
            target = bounded
        self.state.player = self.state.player.model_copy(update={name: target})
        return ""

    def _change_location(self, change: Change) -> str:
        if change.op == "remove":
            return "a place can't be taken away"
        wanted = same_name(change.name)
        names = dict.fromkeys([*self.state.locations, *self.known.locations])
        name = next((name for name in names if same_name(name) == wanted), None)
        if name is None:
            return "no place of this name is known"
        place = self.state.locations.get(name, Place())
        is_move = change.op != "add"  # "add" puts a place on the player's map
        if is_move and not place.accessible:
            return "this place can't be reached"
        if place.discovered and (not is_move or name == self.state.location):
            return "nothing would change"
        self.state.locations[name] = place.model_copy(update={"discovered": True})
        if is_move:
            self.state.location = name
        return ""

    def _change_flag(self, change: Change) -> str:
        name = flag_name(change.name)
        flags = self.state.world_flags
        now = flags.get(name)
        if change.op == "remove":
            return "" if flags.pop(name, None) is not None else "there is no such flag"
        if now is None and len(flags) >= MAX_FLAGS:
            return f"a session keeps at most {MAX_FLAGS} flags"
        if abs(change.value or 0) > MAX_FLAG_VALUE:
            return f"a flag's number stays within {MAX_FLAG_VALUE}"
        if change.op == "change" or (change.op == "add" and change.value is not None):
            if isinstance(now, bool | str):
                return "this flag is no number"
            if change.value is None:
                return "a flag changes by a number"
            value: bool | int = max(-MAX_FLAG_VALUE, min(MAX_FLAG_VALUE, (now or 0) + change.value))
        elif isinstance(now, str) or (type(now) is int and change.value is None):
            return "a flag keeps its type"
        elif type(now) is int or (now is None and change.value not in (None, 0, 1)):
            value = change.value or 0
        elif change.value in (None, 0, 1):
            value = change.value != 0
        else:
            return "this flag is true or false"
        if type(now) is type(value) and now == value:
            return "nothing would change"
        flags[name] = value
        return ""


def flag_name(name: str) -> str:
    """Flags are compared as identifiers: "Met Alice" is met_alice."""
    return "_".join(fold(name).replace("_", " ").split())


def _is_mentioned(name: str, text: str) -> bool:
    start = text.find(name)
    while start >= 0:
        before, after = text[start - 1 : start], text[start + len(name) : start + len(name) + 1]
        # "oil" is not mentioned by "toil"; Chinese has no word boundary to look for.
        if not (name[0].isascii() and before.isascii() and before.isalnum()) and not (
            name[-1].isascii() and after.isascii() and after.isalnum() and after != "s"
        ):
            return True
        start = text.find(name, start + 1)
    return False


# --- choices --------------------------------------------------------------------------------------------------------

COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


def choice_is_open(conditions: Iterable[Condition], state: GameState, *, known: WorldFacts | None = None) -> bool:
    """True when every condition holds. One that makes no sense for its kind does not hold: it must not open a door.

    With `known`, a relationship may be named by the character's name as well as by the id.
    """
    return all(_holds(condition, state, known or WorldFacts()) for condition in conditions)


def apply_choice(state: GameState, choice: Choice, *, known: WorldFacts) -> tuple[GameState, list[RefusedChange]]:
    """Commit the consequences of a choice. Raises `InvalidInput` when its conditions do not hold."""
    if not choice_is_open(choice.conditions, state, known=known):
        raise InvalidInput(f"choice {choice.id!r} is not open in this state")
    return apply_changes(state, choice.consequences, known=known)


def _holds(condition: Condition, state: GameState, known: WorldFacts) -> bool:
    if condition.kind == "location":
        return _place_holds(condition, state)
    if condition.op == "discovered":
        return False
    amount = _amount(condition, state, known)
    if amount is None:
        return False
    if condition.op in ("has", "not_has"):
        has = amount >= (1 if condition.value is None else condition.value) and amount > 0
        return has == (condition.op == "has")
    # Without a number, "== asked" asks whether the flag is up, or the thing there.
    return COMPARISONS[condition.op](amount, 1 if condition.value is None else condition.value)


def _place_holds(condition: Condition, state: GameState) -> bool:
    wanted = same_name(condition.name)
    discovered = any(place.discovered for name, place in state.locations.items() if same_name(name) == wanted)
    is_here = state.location is not None and same_name(state.location) == wanted
    answers = {"discovered": discovered, "has": discovered, "not_has": not discovered, "==": is_here, "!=": not is_here}
    return answers.get(condition.op, False)


def _amount(condition: Condition, state: GameState, known: WorldFacts) -> int | None:
    """The number that a condition compares; None where the state can't hold such a thing."""
    if condition.kind == "item":
        wanted = same_name(condition.name)
        return sum(item.quantity for item in state.inventory if same_name(item.name) == wanted)
    if condition.kind == "flag":
        value = state.world_flags.get(flag_name(condition.name), 0)
        return int(bool(value)) if isinstance(value, str) else int(value)
    if condition.kind == "stat":
        name = same_name(condition.name)
        return int(getattr(state.player, name)) if name in STATS else None
    name, _, part = condition.name.partition(".")
    wanted = same_name(known.character_id(name) or name)
    relation = next((r for key, r in state.relationships.items() if same_name(key) == wanted), None)
    if relation is None and condition.op in ("has", "not_has"):
        return 0
    part = part or "affinity"
    return int(getattr(relation or Relationship(), part)) if part in RELATION_PARTS else None
