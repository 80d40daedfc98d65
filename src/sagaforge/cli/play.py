"""`holodeck play WORLD`: the terminal game, also for piped input (a script of moves) and for programs (`--json`)."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from sagaforge.cli.failures import CliError, from_problem
from sagaforge.cli.image_client import ImageClient
from sagaforge.cli.output import DEFAULT_URL, JsonFlag, Output, Url
from sagaforge.cli.picture_files import decoded
from sagaforge.cli.screen import Page, Screen, locked_by
from sagaforge.cli.seam import parsed
from sagaforge.cli.terminal import encoding_of, is_text
from sagaforge.events import ReadEvent
from sagaforge.image_schemas import GeneratedImage, IllustratedTurn
from sagaforge.schemas import Chunk, Dialogue, Sentence, Turn, TurnRequest, WorldDetail

WAKING = "waking the painter …"  # it sleeps when nobody paints


def play(
    world: Annotated[str, typer.Argument(help="The world's id; `holodeck world list` shows them.")],
    character: Annotated[str | None, typer.Option("--character", help="Whom you are with.")] = None,
    session: Annotated[
        str | None, typer.Option("--session", help="A session id, to play on from where it was.")
    ] = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Show a turn when it is whole.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 1, help="The same words for the same moves.")] = None,
    pictures: Annotated[bool, typer.Option("--pictures", help="Paint the moment after every turn.")] = False,
    style: Annotated[
        str | None,
        typer.Option(help="The pictures' style, instead of the world's; `holodeck image styles` lists them."),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Play a world in the terminal. Every cited sentence carries a number; /lore shows what it rests on."""
    output = Output(as_json)
    output.session_id = session
    with output.failures("play"), ImageClient.from_environment(url) as client:
        if style is not None and not pictures:
            raise CliError("--style is about pictures", code="E_INPUT", actions=["Ask for them with --pictures."])
        game = Game(
            client,
            output,
            character_id=character,
            session_id=session,
            is_streaming=not no_stream,
            seed=seed,
            has_pictures=pictures,
            style=style,
        )
        game.open(world)
        game.run()
        if game.failed is not None:
            raise typer.Exit(1)


class Game:
    """One sitting: reads lines, takes turns, remembers the last one."""

    def __init__(
        self,
        client: ImageClient,
        output: Output,
        *,
        character_id: str | None,
        session_id: str | None,
        is_streaming: bool,
        seed: int | None,
        has_pictures: bool,
        style: str | None,
    ) -> None:
        self.client = client
        self.output = output
        self.screen = Screen(output)
        self.character_id = character_id
        self.session_id = session_id
        self.is_streaming = is_streaming
        self.seed = seed
        self.has_pictures = has_pictures
        self.style = style
        self.world: WorldDetail | None = None
        self.turn: Turn | None = None
        self.failed: tuple[TurnRequest, str] | None = None  # the last turn if it failed, with its idempotency key
        self._lore: dict[str, Chunk] = {}  # what the last turns retrieved, by chunk id
        self._numbers: dict[str, int] = {}
        client.on_resend = self._on_resend

    def open(self, world_id: str) -> None:
        # As the session knows it: it stays on the version that it began with, also when the world is deleted.
        world = self.world = self.client.world(world_id, session_id=self.session_id)
        known = [character.id for character in world.characters]
        if self.character_id is not None and self.character_id not in known:
            raise CliError(
                f"{world_id} has no character {self.character_id!r}",
                code="E_NOT_FOUND",
                actions=["One of: " + ", ".join(known)] if known else ["Leave --character out."],
            )
        if self.style is not None and self.style not in {style.style_id for style in self.client.styles().styles}:
            raise CliError(
                f"there is no style {self.style!r}",
                code="E_NOT_FOUND",
                actions=["`holodeck image styles` shows those there are."],
            )
        if self.session_id is not None:
            self.turn = self.client.last_turn(self.session_id)
        self.screen.opening(world, self.character_id, self.turn.game_state if self.turn else None)
        if self.turn is not None:
            self._show_whole(self.turn, Page(self.screen))
        elif self.session_id is not None:
            self.screen.notice(f"Playing on in session {self.session_id}.")

    def run(self) -> None:
        if self.screen.is_interactive:
            with suppress(ImportError):  # gives input() line editing and history; some systems' Pythons lack it
                import readline  # noqa: F401

        while True:
            try:
                line = self.screen.ask()
            except KeyboardInterrupt:
                if not self.screen.is_interactive:
                    raise
                self.screen.notice("\n/quit or Ctrl-D leaves.")
                continue
            if line is None or line.strip() == "/quit":
                break
            if line.strip():
                self._answer(line.strip())
        if self.session_id is not None and self.world is not None:
            self.screen.notice(f"Play on with: holodeck play {self.world.world_id} --session {self.session_id}")

    # --- lines ------------------------------------------------------------------------------------------------------

    def _answer(self, line: str) -> None:
        """Acts on one line. In a script a failure ends the game; a player reads it and goes on."""
        try:
            if not is_text(line):
                reason = f"{line!r} holds bytes that are no text in the encoding of stdin, {encoding_of(sys.stdin)}"
                raise CliError(reason, code="E_INPUT", actions=["Set PYTHONIOENCODING to the encoding of the lines."])
            if line.startswith("/"):
                self._command(line)
            else:
                self._take(self._message(line))
        except CliError as error:
            if not self.screen.is_interactive:
                raise
            if self.failed is not None and error.retryable:
                error.actions.append("/retry sends this turn again; it is not taken twice.")
            self.output.failure(error, "turn")
        except KeyboardInterrupt:
            if not self.screen.is_interactive:
                raise
            self.screen.notice("\nTurn cancelled." if self.failed is not None else "\nCancelled.")
            self.failed = None

    def _command(self, line: str) -> None:
        match line:
            case "/retry" if self.failed is not None:
                self._send(*self.failed)
            case "/lore":
                self.screen.lore((number, key, self._chunk(key)) for key, number in self._numbers.items())
            case "/state":
                self.screen.state(self.turn)
            case "/choices":
                self.screen.choices(self.turn.choices if self.turn else [])
            case "/help":
                self.screen.help()
            case "/retry":
                self.screen.notice("No turn has failed.")
            case _:
                raise CliError(f"there is no {line}", code="E_INPUT", actions=["/help shows what there is."])

    def _message(self, line: str) -> str:
        """The text of the choice that `line` numbers, or `line` itself."""
        choices = self.turn.choices if self.turn else []
        if not line.isdecimal() or not choices:
            return line
        if not 1 <= int(line) <= len(choices):
            raise CliError(f"there are {len(choices)} choices", code="E_INPUT", actions=["/choices shows them again."])
        choice = choices[int(line) - 1]
        if not choice.available:
            raise CliError(f"this choice is locked: {locked_by(choice)}", code="E_INPUT", actions=["Take another one."])
        return choice.text

    # --- turns ------------------------------------------------------------------------------------------------------

    def _take(self, message: str) -> None:
        assert self.world is not None
        try:
            request = TurnRequest.model_validate(
                {
                    "message": message,
                    "world_id": self.world.world_id,
                    "character_id": self.character_id,
                    "session_id": self.session_id,
                    "seed": self.seed,
                    "generate_image": self.has_pictures,
                    "style_preset": self.style,
                }
            )
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise CliError(reason, code="E_INPUT", actions=["Say it in fewer words."]) from error
        self._send(request, uuid.uuid4().hex)

    def _send(self, request: TurnRequest, key: str) -> None:
        self.failed = (request, key)
        page = Page(self.screen)
        with self.screen.waiting("…") as now:
            if self.is_streaming:
                # Closed at once when Ctrl-C comes, so that the bundle sees the client hang up and stops the engine.
                with closing(self.client.stream_turn(request, key)) as events:
                    turn = self._told(events, page)
                    self._take_in(turn, page)
                    if request.generate_image:
                        turn = turn.model_copy(update=self._painted(events, now))
            else:
                turn = self.client.take_turn(request, key)
                self._take_in(turn, page)
            self._show_picture(turn)
        if self.output.as_json:
            cited = [(number, self._chunk(chunk_id)) for chunk_id, number in self._numbers.items()]
            lore = [{"number": number, **chunk.model_dump(mode="json")} for number, chunk in cited if chunk]
            self.output.result({"message": request.message, **turn.model_dump(mode="json"), "lore": lore})

    def _told(self, events: Generator[ReadEvent, None, None], page: Page) -> IllustratedTurn:
        """The turn, told as it comes."""
        for event in events:
            match event.event:
                case "restart":
                    page.restart()
                    self._lore.clear()  # found for a turn that is not the one that will be told
                case "lore":
                    chunks = [Chunk.model_validate(chunk, extra="ignore") for chunk in event.data["chunks"]]
                    self._lore.update({chunk.id: chunk for chunk in chunks})
                case "sentence":
                    page.add(Sentence.model_validate(event.data, extra="ignore"))
                case "dialogue":
                    page.add(Dialogue.model_validate(event.data, extra="ignore"))
                case "turn":
                    return IllustratedTurn.model_validate(event.data, extra="ignore")
        raise AssertionError("unreachable: a stream has its turn or raises")

    def _take_in(self, turn: Turn, page: Page) -> None:
        """The turn is committed: from here on it can't fail any more, whatever becomes of its picture."""
        self.turn, self.failed = turn, None
        self.session_id = self.output.session_id = turn.session_id
        self._show_whole(turn, page)

    def _show_whole(self, turn: Turn, page: Page) -> None:
        assert self.world is not None
        page.finish(turn)
        self._numbers = page.numbers
        self.screen.arrive(self.world, turn.game_state)
        self.screen.choices(turn.choices)

    def _painted(self, events: Generator[ReadEvent, None, None], now: Callable[[str], None]) -> dict[str, Any]:
        """What the rest of a stream adds to its turn: `image`, or `image_problem`.

        After a lost connection the turn itself is in there once more, and passed over.
        """
        now(WAKING)
        try:
            for event in events:
                match event.event:
                    case "restart":
                        now(WAKING)
                    case "image_step":
                        now(f"painting … {event.data['done']} of {event.data['total']}")
                    case "image":
                        return {"image": parsed(GeneratedImage, json.dumps(event.data))}
                    case "image_problem":
                        raise from_problem(event.data)
        except CliError as error:
            return {"image_problem": error.message}
        except KeyboardInterrupt:
            if not self.screen.is_interactive:
                raise
            return {"image_problem": "cancelled"}
        raise AssertionError("unreachable: a stream ends with its picture, or why there is none, or raises")

    def _show_picture(self, turn: IllustratedTurn) -> None:
        if turn.image_problem is not None:
            self.screen.notice(f"There is no picture of this moment: {turn.image_problem}")
        if turn.image is None:
            return
        if self.screen.can_draw:
            try:
                self.screen.draw(decoded(self.client.png(turn.image.image_id), "the picture"))
            except CliError as error:
                self.screen.notice(f"The picture can't be shown: {error.message}")
        self.screen.address(self.client.address(turn.image))

    def _chunk(self, chunk_id: str) -> Chunk | None:
        """A cited chunk: from the turn's own lore, or (no stream, or a replayed one) asked for."""
        assert self.turn is not None
        state = self.turn.game_state
        if chunk_id not in self._lore:
            try:
                self._lore[chunk_id] = self.client.chunk(state.world_id, chunk_id, version=state.world_version)
            except CliError as error:
                if error.code != "E_NOT_FOUND":
                    raise
        return self._lore.get(chunk_id)

    def _on_resend(self, error: CliError, pause_s: float) -> None:
        self.screen.notice(f"{error.message}: trying again in {pause_s:g} s")
