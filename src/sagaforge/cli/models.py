"""`holodeck models …`: what the bundle's models are worth."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from sagaforge.cli.client import Client
from sagaforge.cli.failures import CliError
from sagaforge.cli.output import DEFAULT_URL, JsonFlag, Output, Url, table
from sagaforge.cli.terminal import clean
from sagaforge.schemas import Sentence, Turn, TurnRequest

if TYPE_CHECKING:
    from sagaforge.evaluation.judge import Played, Verdict
    from sagaforge.evaluation.worlds import Case

app = typer.Typer(no_args_is_help=True, help="Score the models.")


class Language(StrEnum):
    en = "en"
    zh = "zh"


class _Scored:
    """The bundle as the scorer sees it: an answer of no use is a bad answer, not the end of the run."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.upload = client.upload
        self.chunk = client.chunk

    def play_turn(self, request: TurnRequest, key: str) -> Played:
        from sagaforge.evaluation.judge import Played

        attempts: list[list[Sentence]] = [[]]
        try:
            for event in self._client.stream_turn(request, key):
                if event.event == "sentence":
                    attempts[-1].append(Sentence.model_validate(event.data))
                elif event.event == "restart":
                    attempts.append([])
                elif event.event == "turn":
                    return Played(Turn.model_validate(event.data), attempts[0])
        except CliError as error:
            if error.code != "E_MODEL_ANSWER_INVALID":
                raise
        return Played(None, attempts[0])


@app.command()
def score(
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many worlds to make for each language.")] = 3,
    cases: Annotated[int, typer.Option(min=1, max=1000, help="How many messages to send in each world.")] = 40,
    language: Annotated[list[Language] | None, typer.Option(help="Only this one (may be given twice).")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print every turn, to read.")] = False,
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Play generated worlds, whose facts are known, and count what the bundle's language model gets right.

    The worlds stay in the bundle as score-en-1 and so on; a later run replaces them.
    """
    output = Output(as_json)
    with output.failures("score"), ExitStack() as closing:
        client = closing.enter_context(Client.from_environment(url))
        try:
            # Not at the top: the generator reads dictionaries, which every other command can do without.
            from sagaforge.evaluation import play, worlds

            made = [worlds.make_world(seed, code, cases) for code in language or Language for seed in range(seeds)]
        except ModuleNotFoundError as exc:
            raise CliError(
                f"the scored worlds are made of word lists that are not installed: {exc}",
                code="E_INPUT",
                component="models",
                actions=["Install the extra `distill` (docs/models.md says how), then score again."],
            ) from exc
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        progress = closing.enter_context(
            Progress(*columns, console=output.errors, disable=not output.errors.is_terminal)
        )
        task = progress.add_task("Scoring", total=sum(len(world.cases) for world in made))

        def on_turn(case: Case, played: Played, verdict: Verdict) -> None:
            progress.advance(task)
            turn = played.turn
            if show:
                narration = turn.narration if turn else "(no answer that could be used)"
                choices = " / ".join(choice.text for choice in turn.choices) if turn else ""
                output.console.print(Text(clean(f"{case.message}\n  {narration}\n  {choices}\n  {verdict}")))

        scores = {}
        for code in dict.fromkeys(world.language for world in made):
            reports = [play.play(_Scored(client), world, on_turn) for world in made if world.language == code]
            scores[code] = play.mean_and_spread(reports)
    output.result({"seeds": seeds, "cases": cases, "scores": scores})
    shown = table("", *scores)
    for name in next(iter(scores.values())):
        shown.add_row(
            name.replace("_", " "), *(f"{one[name]['mean']:.3f} ± {one[name]['spread']:.3f}" for one in scores.values())
        )
    output.console.print(shown)


@app.command()
def read(
    world: Annotated[str, typer.Argument(help="The id of a world in the bundle.")],
    questions: Annotated[Path, typer.Argument(help="A text file with a question a line.", exists=True, dir_okay=False)],
    url: Url = DEFAULT_URL,
    as_json: JsonFlag = False,
) -> None:
    """Ask a world questions, each in a session of its own, and lay its answers beside the lore that they cite.

    Whether a citation holds is for you to judge: this is for lore that people wrote, whose facts no generator knows.
    """
    output = Output(as_json)
    with output.failures("read"), Client.from_environment(url) as client:
        asked = _lines_of(questions)
        answers = []
        for number, question in enumerate(asked):
            request = TurnRequest(world_id=world, message=question, seed=number)
            turn = client.take_turn(request, uuid.uuid4().hex)
            version = turn.game_state.world_version
            cited = {chunk_id: client.chunk(world, chunk_id, version=version).text for chunk_id in turn.citations}
            answers.append({
                "question": question,
                "sentences": [sentence.model_dump() for sentence in turn.sentences],
                "choices": [choice.text for choice in turn.choices],
                "cited": cited,
            })  # fmt: skip
            lines = [Text(question, style="bold")]
            lines += [Text(f"  {'cites' if s.citations else '     '} {s.text}") for s in turn.sentences]
            lines += [Text(f"    {text}", style="dim") for text in cited.values()]
            for line in lines:
                line.plain = clean(line.plain)
                output.console.print(line)
    output.result({"world": world, "answers": answers})
    num_cited = sum(bool(answer["cited"]) for answer in answers)
    output.console.print(f"{num_cited} of {len(answers)} answers cite the lore.")


def _lines_of(path: Path) -> list[str]:
    try:
        # Not `splitlines`: it breaks at U+2028 and the like, which may stand within a question.
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as exc:
        raise CliError(f"can't read {path}: {exc}", code="E_INPUT", component="models") from exc
    if not lines:
        raise CliError(f"{path} holds no question; write one a line", code="E_INPUT", component="models")
    return lines
