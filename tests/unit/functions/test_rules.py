"""What a turn may do to the state, choice by choice and change by change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagaforge.errors import InvalidInput
from sagaforge.functions.story.game_state import MAX_TIMELINE_EVENTS, SceneFacts, initial_state, record_events
from sagaforge.functions.story.rules import WorldFacts, apply_changes, apply_choice, choice_is_open
from sagaforge.schemas import (
    MAX_INVENTORY_SLOTS,
    Change,
    Choice,
    Condition,
    GameState,
    Item,
    Place,
    Relationship,
)

SCENES = [
    SceneFacts("pier", "Arrival", "The Arbour", ("pim", "lin")),
    SceneFacts("hall", "Winding Hall", "Winding Hall", ("hester",)),
    SceneFacts("temple", "廟", "龍山寺地下", ("lin",)),
]
CHARACTERS = {"pim": "Pim Sackett", "hester": "Hester Twill", "lin": "林默"}
KNOWN = WorldFacts(
    characters=CHARACTERS,
    locations=("Gannet Head",),
    items=("brass key",),
    text="The Bishop fills forty barrels. 林默把銅鑰匙放在櫃檯上。 Two glims hang in the oil.",
)


def start(**update: Any) -> GameState:
    state = initial_state(
        session_id="s1", world_id="w", world_version=1, scenes=SCENES, characters=CHARACTERS, character_id="pim"
    )
    return state.model_copy(update=update)


def change(op: str, kind: str, name: str, value: int | None = None) -> Change:
    return Change.model_validate({"op": op, "kind": kind, "name": name, "value": value})


def apply(state: GameState, *changes: Change) -> tuple[GameState, list[str]]:
    before = state.model_dump_json()
    after, refused = apply_changes(state, changes, known=KNOWN)
    assert state.model_dump_json() == before, "the given state was changed"
    GameState.model_validate(after.model_dump())
    return after, [each.reason for each in refused]


def carried(state: GameState) -> dict[str, int]:
    return {item.name: item.quantity for item in state.inventory}


def test_the_first_state_stands_where_the_character_is() -> None:
    state = start()
    assert (state.scene_id, state.location, state.turn_count) == ("pier", "The Arbour", 0)
    assert state.locations["The Arbour"] == Place(discovered=True, characters_present=["pim", "lin"])
    assert not state.locations["Winding Hall"].discovered
    assert list(state.relationships) == ["pim"]


def test_the_first_state_of_a_world_without_scenes_or_with_a_wrong_one() -> None:
    common: dict[str, Any] = {"session_id": "s", "world_id": "w", "world_version": 1, "characters": CHARACTERS}
    assert initial_state(**common, scenes=[], player_name="Mara").player.name == "Mara"
    assert initial_state(**common, scenes=SCENES, scene_id="temple").location == "龍山寺地下"
    assert initial_state(**common, scenes=SCENES, character_id="hester").scene_id == "hall"
    with pytest.raises(InvalidInput, match="no scene"):
        initial_state(**common, scenes=SCENES, scene_id="moon")
    with pytest.raises(InvalidInput, match="no character"):
        initial_state(**common, scenes=SCENES, character_id="moon")


def test_items_are_found_under_any_spelling_of_their_name() -> None:
    state, refused = apply(start(), change("add", "item", "Brass Key"), change("add", "item", "the brass  key", 2))
    assert (carried(state), refused) == ({"Brass Key": 3}, [])
    state, refused = apply(state, change("add", "item", "铜钥匙"), change("remove", "item", "銅鑰匙"))
    assert (carried(state), refused) == ({"Brass Key": 3}, [])
    state, _ = apply(state, change("remove", "item", "BRASS KEY", 3))
    assert carried(state) == {}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (change("remove", "item", "brass key"), "not carried"),
        (change("remove", "item", "rope", 3), "2 of it carried"),
        (change("add", "item", "Excalibur"), "nothing of this name"),
        (change("add", "item", "arrel"), "nothing of this name"),
        (change("add", "item", "brass key", 0), "at least 1"),
        (change("remove", "item", "rope", -5), "at least 1"),
        (change("add", "item", "brass key", 1000), "at once"),
        (change("set", "item", "rope", -1), "2 of it carried"),
        (change("set", "item", "rope", 2), "nothing would change"),
        (change("change", "relationship", "Nobody", 5), "nobody"),
        (change("change", "relationship", "pim"), "by a number"),
        (change("change", "relationship", "pim.love", 5), "only"),
        (change("change", "stat", "luck", 5), "the stats are"),
        (change("change", "stat", "level", 2), "by one"),
        (change("change", "stat", "level", -1), "by one"),
        (change("set", "stat", "health"), "by a number"),
        (change("change", "stat", "health", 5), "0 and 100"),
        (change("set", "location", "Atlantis"), "no place"),
        (change("set", "location", "Winding Hall"), "can't be reached"),
        (change("remove", "location", "The Arbour"), "taken away"),
        (change("set", "location", "the arbour"), "nothing would change"),
        (change("remove", "flag", "never set"), "no such flag"),
        (change("change", "flag", "met pim", 2), "no number"),
        (change("set", "flag", "met_pim", 7), "true or false"),
        (change("set", "flag", "coins", 10**9), "within"),
        (change("set", "flag", "coins"), "keeps its type"),
        (change("set", "flag", "motto", 1), "keeps its type"),
    ],
)
def test_what_the_rules_refuse_is_refused_with_its_reason(wrong: Change, reason: str) -> None:
    state = start(
        inventory=[Item(name="rope", quantity=2)],
        world_flags={"met_pim": True, "coins": 3, "motto": "calm"},
    )
    state.locations["Winding Hall"] = Place(accessible=False)
    after, refused = apply(state, wrong)
    assert len(refused) == 1
    assert reason in refused[0]
    assert after == state


def test_a_full_bag_takes_more_of_what_it_holds_but_nothing_new() -> None:
    state = start(inventory=[Item(name=f"thing {n}") for n in range(MAX_INVENTORY_SLOTS)])
    state, refused = apply(state, change("add", "item", "thing 3"), change("add", "item", "brass key"))
    assert carried(state)["thing 3"] == 2
    assert refused == [f"all {MAX_INVENTORY_SLOTS} slots are full"]


def test_a_relationship_moves_ten_a_turn_at_most_and_the_rest_is_refused() -> None:
    changes = [change("change", "relationship", "Pim Sackett", 7), change("add", "relationship", "pim", 7)]
    state, refused = apply(start(), *changes)
    assert state.relationships["pim"].affinity == 60
    assert refused == ["affinity stays within 0 and 100 and moves at most 10 a turn; it moved by 3"]
    state, refused = apply(state, change("remove", "relationship", "林默.trust", 4))
    assert (state.relationships["lin"].trust, refused) == (46, [])
    state, refused = apply(
        start(relationships={"pim": Relationship(affinity=96)}), change("set", "relationship", "Pim", 100)
    )
    assert (state.relationships["pim"].affinity, refused) == (100, [])


def test_stats_are_bounded_and_a_level_comes_once() -> None:
    state, refused = apply(
        start(),
        change("change", "stat", "health", -130),
        change("set", "stat", "Energy", 40),
        change("add", "stat", "level", 1),
        change("add", "stat", "level", 1),
    )
    assert (state.player.health, state.player.energy, state.player.level) == (0, 40, 2)
    assert refused == ["the level rises by one, once a turn"]


def test_moving_discovers_and_learning_of_a_place_does_not_move() -> None:
    state, refused = apply(start(), change("set", "location", "龙山寺地下"), change("add", "location", "gannet head"))
    assert refused == []
    assert state.location == "龍山寺地下"
    assert {name for name, place in state.locations.items() if place.discovered} == {
        "The Arbour",
        "龍山寺地下",
        "Gannet Head",
    }


def test_flags_keep_their_type() -> None:
    state, refused = apply(
        start(),
        change("set", "flag", "Met Alice"),
        change("set", "flag", "door", 0),
        change("set", "flag", "coins", 5),
        change("change", "flag", "coins", -7),
        change("change", "flag", "steps", 2),
        change("remove", "flag", "met_alice"),
    )
    assert refused == []
    assert state.world_flags == {"door": False, "coins": -2, "steps": 2}


@given(
    st.lists(
        st.builds(
            Change,
            op=st.sampled_from(["set", "add", "remove", "change"]),
            kind=st.sampled_from(["flag", "relationship", "item", "stat", "location"]),
            name=st.sampled_from(
                ["pim", "pim.trust", "brass key", "level", "health", "Winding Hall", ".", "the", "林默"]
            ),
            value=st.none() | st.integers(-(2**40), 2**40),
        ),
        max_size=12,
    )
)
def test_any_changes_leave_a_valid_state_within_its_bounds(changes: list[Change]) -> None:
    before = start()
    after, refused = apply(before, *changes)
    assert len(refused) <= len(changes)
    for key, relation in after.relationships.items():
        old = before.relationships.get(key, Relationship())
        assert abs(relation.affinity - old.affinity) <= 10
        assert abs(relation.trust - old.trust) <= 10
    assert before.player.level <= after.player.level <= before.player.level + 1


def condition(kind: str, name: str, op: str, value: int | None = None) -> Condition:
    return Condition.model_validate({"kind": kind, "name": name, "op": op, "value": value})


@pytest.mark.parametrize(
    ("given_condition", "is_open"),
    [
        (condition("item", "Rope", "has"), True),
        (condition("item", "rope", "has", 3), False),
        (condition("item", "brass key", "not_has"), True),
        (condition("item", "rope", ">=", 2), True),
        (condition("item", "rope", "discovered"), False),
        (condition("flag", "Met Pim", "=="), True),
        (condition("flag", "met_pim", "==", 0), False),
        (condition("flag", "unheard", "!="), True),
        (condition("flag", "unheard", "has"), False),
        (condition("flag", "coins", ">", 2), True),
        (condition("flag", "motto", "has"), True),
        (condition("relationship", "pim", ">=", 60), True),
        (condition("relationship", "Pim Sackett", ">=", 60), True),
        (condition("relationship", "pim.trust", ">", 50), False),
        (condition("relationship", "lin", "has"), False),
        (condition("relationship", "pim.notes", "==", 0), False),
        (condition("stat", "health", "<", 50), False),
        (condition("stat", "luck", "!=", 50), False),
        (condition("location", "the arbour", "discovered"), True),
        (condition("location", "Winding Hall", "discovered"), False),
        (condition("location", "The Arbour", "=="), True),
        (condition("location", "Winding Hall", "!="), True),
        (condition("location", "The Arbour", ">", 1), False),
    ],
)
def test_conditions(given_condition: Condition, is_open: bool) -> None:
    state = start(
        inventory=[Item(name="rope", quantity=2)],
        world_flags={"met_pim": True, "coins": 3, "motto": "calm"},
        relationships={"pim": Relationship(affinity=60)},
    )
    assert choice_is_open([given_condition], state, known=KNOWN) is is_open
    assert choice_is_open([], state)


def test_a_choice_is_applied_only_when_it_is_open() -> None:
    choice = Choice(
        id="c1",
        text="Pay the toll.",
        conditions=[condition("item", "rope", "has")],
        consequences=[change("remove", "item", "rope"), change("set", "location", "Winding Hall")],
    )
    with pytest.raises(InvalidInput, match="not open"):
        apply_choice(start(), choice, known=KNOWN)
    after, refused = apply_choice(start(inventory=[Item(name="rope")]), choice, known=KNOWN)
    assert (after.location, after.inventory, refused) == ("Winding Hall", [], [])


def test_events_say_what_changed_and_carry_the_citations() -> None:
    before = start(inventory=[Item(name="rope", quantity=2)], turn_count=6, world_flags={"old": True})
    after, _ = apply(
        before,
        change("set", "location", "Winding Hall"),
        change("add", "location", "Gannet Head"),
        change("add", "item", "brass key"),
        change("remove", "item", "rope"),
        change("change", "relationship", "lin", -3),
        change("change", "stat", "energy", -5),
        change("set", "flag", "asked"),
        change("remove", "flag", "old"),
    )
    after = record_events(before, after.model_copy(update={"turn_count": 7}), citations=["doc_1"], names=CHARACTERS)
    assert [(event.type, event.text) for event in after.timeline] == [
        ("moved", "Went to Winding Hall"),
        ("discovered", "Learned of Gannet Head"),
        ("gave", "Parted with rope (×1)"),
        ("took", "Took brass key (×1)"),
        ("relationship", "林默: affinity -3"),
        ("stat", "energy -5"),
        ("flag_removed", "old: no longer"),
        ("flag", "asked: True"),
    ]
    assert all(event.citations == ["doc_1"] and event.turn == 7 for event in after.timeline)


def test_the_timeline_stays_short() -> None:
    state = start()
    for number in range(2 * MAX_TIMELINE_EVENTS):
        after, _ = apply(state, change("set", "flag", "count", number + 2))
        state = record_events(state, after, language="zh-Hant")
    assert len(state.timeline) == MAX_TIMELINE_EVENTS
    assert state.timeline[-1].text == "count:101"
