"""What a player sees: the page of the turn being told, the choices, and the tables behind `/lore` and `/state`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from sagaforge.cli.half_blocks import BLOCK, COLUMNS, half_blocks
from sagaforge.cli.output import Output, table
from sagaforge.cli.terminal import BYTE_ORDER_MARK, can_show, clean
from sagaforge.schemas import Choice, Chunk, Condition, Dialogue, GameState, SceneSummary, Sentence, Turn, WorldDetail

if TYPE_CHECKING:
    from PIL import Image

PROMPT = "> "
# Readable on dark and on light ground; a speaker keeps a colour for the whole game, in order of appearance.
SPEAKER_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")

HELP = """\
Type what you do or say, or the number of a choice.
  /lore     the lore that the last turn cited
  /choices  the choices again
  /state    where you are, whom you know, what you carry
  /retry    send a turn that failed once more (it is never taken twice)
  /help     this page
  /quit     leave (so does Ctrl-D); Ctrl-C cancels a turn that is being told, or its picture"""

Line = Sentence | Dialogue


class Page:
    """The lines of one turn, as told so far.

    Print can't be taken back, but a turn may be told anew: after a lost connection, or when an engine was lost. So a
    line is printed only when it goes beyond what already stands there, and a tale that takes another course is
    printed again in full under a notice.
    """

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.numbers: dict[str, int] = {}  # chunk id → the [n] it is cited as on this page
        self._told: list[Line] = []
        self._printed: list[Line] = []

    def restart(self) -> None:
        self._told = []

    def add(self, line: Line) -> None:
        self._told.append(line)
        if self._told == self._printed[: len(self._told)]:
            return
        if self._told[:-1] == self._printed:
            self._print(line)
        else:
            self._print_anew()

    def finish(self, turn: Turn) -> None:
        """The committed turn has the last word over what was streamed."""
        self.restart()
        lines: list[Line] = [*turn.sentences, *turn.dialogues]
        for line in lines:
            self.add(line)
        if self._told != self._printed:
            self._print_anew()

    def _print_anew(self) -> None:
        self.screen.notice("the tale is told anew:")
        told, self._printed, self.numbers = self._told, [], {}
        for line in told:
            self._print(line)

    def _print(self, line: Line) -> None:
        self._printed.append(line)
        if isinstance(line, Sentence):
            for chunk_id in line.citations:
                self.numbers.setdefault(chunk_id, len(self.numbers) + 1)
            self.screen.sentence(line, sorted(self.numbers[chunk_id] for chunk_id in line.citations))
        else:
            self.screen.dialogue(line)


class Screen:
    """The terminal, or a plain transcript when stdin or stdout is a pipe."""

    def __init__(self, output: Output) -> None:
        self.console = output.console
        self.is_interactive = sys.stdin is not None and sys.stdin.isatty()
        self._has_prompt = self.is_interactive and not output.as_json
        self._colours: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._scene_id: str | None = None  # of the scene shown last

    def ask(self) -> str | None:
        """The player's next line; None at the end of input. Piped input is echoed, for a transcript to make sense."""
        if self._has_prompt:
            try:
                return input(PROMPT)
            except EOFError:
                self.console.print()
                return None
        line = sys.stdin.readline().removeprefix(BYTE_ORDER_MARK) if sys.stdin is not None else ""
        if line.strip():
            self.console.print(Text(PROMPT + clean(line.strip()), style="bold"))
        return line if line else None

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[str], None]]:
        """Shows `text` at the bottom until this ends, on a terminal. What it yields puts another text there."""
        if not self.console.is_terminal or self.console.quiet:
            yield lambda text: None
            return
        with self.console.status(Text(clean(text)), spinner=self.console.spinner) as status:
            yield lambda text: status.update(Text(clean(text)))

    # --- the world --------------------------------------------------------------------------------------------------

    def opening(self, world: WorldDetail, character_id: str | None, state: GameState | None) -> None:
        """The title, and where the story stands: as `state` has it, or where a new session will begin."""
        self._names = {character.id: character.name for character in world.characters}
        self.console.print(Rule(Text(clean(world.title), style="bold")))
        if state is not None:
            self.arrive(world, state)
        else:
            self._begin(world, character_id)
        if character_id is not None:
            self.notice(f"You are with {self._name(character_id)}.")
        self.notice("Type what you do or say; /help shows more.")

    def _begin(self, world: WorldDetail, character_id: str | None) -> None:
        with_character = (scene for scene in world.scenes if character_id in _people_of(scene))
        scene = next(with_character, None if character_id else next(iter(world.scenes), None))
        if scene is not None:
            self._scene_id = scene.id
            self._place(scene.title, scene.location, scene.description)
        everybody = [character.id for character in world.characters]
        self._who_is_here((_people_of(scene) if scene else []) or everybody)

    def arrive(self, world: WorldDetail, state: GameState) -> None:
        """Shows the scene of `state`, unless it is the one already shown."""
        if state.scene_id in (None, self._scene_id):
            return
        self._scene_id = state.scene_id
        scene = next((scene for scene in world.scenes if scene.id == state.scene_id), None)
        self.console.print()
        if scene is not None:
            self._place(scene.title, state.location or scene.location, scene.description)
        else:
            self._place(state.scene_id or "", state.location or "", "")
        place = state.locations.get(state.location or "")
        self._who_is_here(place.characters_present if place else [])

    def _who_is_here(self, people: Sequence[str]) -> None:
        if people:
            self.notice("Who is here: " + ", ".join(self._name(who) for who in people))

    def _place(self, title: str, location: str, description: str) -> None:
        heading = " · ".join(clean(part) for part in (title, location) if part)
        self.console.print(Text(heading, style="bold cyan"))
        if description:
            self.console.print(Text(clean(description)))

    def _name(self, character_id: str) -> str:
        return self._names.get(character_id, character_id)

    # --- a turn -----------------------------------------------------------------------------------------------------

    def sentence(self, sentence: Sentence, numbers: Sequence[int]) -> None:
        text = Text(clean(sentence.text), style="dim" if sentence.status == "invented" else "")
        for number in numbers:
            text.append(f" [{number}]", style="bold cyan")
        self.console.print(text)

    def dialogue(self, dialogue: Dialogue) -> None:
        speaker = self._name(dialogue.speaker)
        colour = self._colours.setdefault(speaker, SPEAKER_COLOURS[len(self._colours) % len(SPEAKER_COLOURS)])
        text = Text(clean(speaker), style=f"bold {colour}")
        if dialogue.emotion != "neutral":
            text.append(f" ({clean(dialogue.emotion)})", style="not bold dim")
        text.append(f": {clean(dialogue.text)}", style=f"not bold {colour}")
        self.console.print(text)

    def choices(self, choices: Sequence[Choice]) -> None:
        if not choices:
            self.notice("There are no choices yet: type what you do or say.")
            return
        self.console.print()
        for number, choice in enumerate(choices, start=1):
            text = Text(f"  {number}. {clean(choice.text)}", style="" if choice.available else "dim")
            if not choice.available:
                text.append(f" (locked: {clean(locked_by(choice))})")
            self.console.print(text)

    # --- its picture ------------------------------------------------------------------------------------------------

    @property
    def can_draw(self) -> bool:
        """Whether a picture can be drawn here: with fewer colours, or wrapped, nobody would know it."""
        console = self.console
        has_colours = console.color_system in ("256", "truecolor") and not console.no_color
        is_wide = console.width >= COLUMNS and can_show(BLOCK)
        return console.is_terminal and not console.quiet and has_colours and is_wide

    def draw(self, picture: Image.Image) -> None:
        self.console.print(half_blocks(picture))

    def address(self, url: str) -> None:
        # Not wrapped: terminals open an address that is whole.
        self.console.print(Text(f"The picture: {clean(url)}", style="dim"), soft_wrap=True)

    # --- what lies behind it ----------------------------------------------------------------------------------------

    def lore(self, cited: Iterable[tuple[int, str, Chunk | None]]) -> None:
        is_empty = True
        for number, chunk_id, chunk in cited:
            is_empty = False
            heading = Text(f"[{number}] ", style="bold cyan")
            if chunk is None:
                heading.append(f"{clean(chunk_id)} is not in the world any more", style="dim")
                self.console.print(heading)
                continue
            heading.append(clean(chunk.metadata.section), style="bold")
            heading.append(f" · {clean(chunk.metadata.source)}", style="dim")
            self.console.print(heading)
            self.console.print(Padding(Text(clean(chunk.text)), (0, 0, 1, 4)))
        if is_empty:
            self.notice("The last turn cited nothing.")

    def state(self, turn: Turn | None) -> None:
        if turn is None:
            self.notice("The story has not begun yet.")
            return
        state = turn.game_state
        player = state.player
        rows = table("", "")
        rows.show_header = False
        rows.add_row("session", state.session_id)
        rows.add_row("turn", str(state.turn_count))
        rows.add_row("place", clean(" · ".join(part for part in (state.scene_id, state.location) if part)))
        rows.add_row(
            clean(player.name), f"level {player.level}, health {player.health}/100, energy {player.energy}/100"
        )
        for who, bond in state.relationships.items():
            rows.add_row(
                clean(self._name(who)), f"{clean(bond.relation_type)}, affinity {bond.affinity}, trust {bond.trust}"
            )
        rows.add_row("carrying", clean(", ".join(f"{item.name} x{item.quantity}" for item in state.inventory)) or "-")
        for flag, value in state.world_flags.items():
            rows.add_row(clean(flag), clean(str(value)))
        for refused in turn.refused_changes:
            change = refused.change
            rows.add_row("refused", clean(f"{change.op} {change.kind} {change.name}: {refused.reason}"))
        self.console.print(rows)

    def help(self) -> None:
        self.console.print(HELP)

    def notice(self, text: str) -> None:
        self.console.print(Text(clean(text), style="italic dim"))


def _people_of(scene: SceneSummary) -> list[str]:
    # `npcs` are promised, and absent in a bundle that does not send them yet.
    return list(getattr(scene, "npcs", ()))


def locked_by(choice: Choice) -> str:
    return ", ".join(_condition(condition) for condition in choice.conditions) or "not now"


def _condition(condition: Condition) -> str:
    op = {"has": "needed", "not_has": "must be missing", "discovered": "must be discovered"}.get(condition.op)
    if op is not None:
        return f"{condition.name} {op}"
    return f"{condition.name} {condition.op} {condition.value if condition.value is not None else ''}".rstrip()
