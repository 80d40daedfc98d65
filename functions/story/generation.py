"""One generation: the model's JSON in, events out, each sentence checked before it leaves."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from sagaforge.deployments.llm.client import Finished, LanguageModel, Piece, Restarted
from sagaforge.errors import ContextOverflow
from sagaforge.events import DialogueEvent, RestartEvent, SentenceEvent, TurnEvent
from sagaforge.functions.citations.gate import CitationChecker, Verdict
from sagaforge.functions.story import assembly
from sagaforge.functions.story.partial_json import TurnReader
from sagaforge.functions.story.prompt import TurnPrompt, build_messages
from sagaforge.functions.story.rules import WorldFacts
from sagaforge.functions.story.spelling import Spelling
from sagaforge.profiles import Profile
from sagaforge.schemas import ModelDialogue, ModelSentence, ModelTurn, Sentence, TurnRequest

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Static, so that the engine compiles its grammar once.
RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "turn", "schema": ModelTurn.model_json_schema(), "strict": True},
}
# On top of what the caller allows for the story: room to close the JSON, choices and changes included.
CLOSING_TOKENS = 160


class Clock:
    """Seconds by stage, each from the mark before it."""

    def __init__(self, timings: dict[str, float]) -> None:
        self._timings = timings
        self._last = time.perf_counter()
        self.engine_s: float | None = None

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self._timings[stage] = now - self._last
        self._last = now

    async def timed(self, stage: str, work: Awaitable[T]) -> T:
        """`work`, its time noted as a part of the stage that it runs in."""
        started = time.perf_counter()
        try:
            return await work
        finally:
            self.add(stage, time.perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        self._timings[stage] = self._timings.get(stage, 0.0) + seconds


class Generation:
    """One generation: streamed JSON in, events out; each sentence leaves only after the gate has seen it."""

    def __init__(
        self,
        prompt: TurnPrompt,
        llm: LanguageModel,
        checker: CitationChecker,
        profile: Profile,
        facts: WorldFacts,
        clock: Clock,
    ) -> None:
        self._prompt = prompt
        self._llm = llm
        self._checker = checker
        self._profile = profile
        self._mending = profile.mending
        self._facts = facts
        self._clock = clock
        self._begin_anew()

    def result(self) -> assembly.Generated:
        """What was generated; raises `ModelAnswerInvalid` when nothing of it can be shown."""
        answer = self._spelling.answer(self._reader.finish())
        mended = {
            "dialogues": [self._mended(dialogue) for dialogue in answer.dialogues],
            "choices": [
                choice.model_copy(update={"text": text})
                for choice in answer.choices
                if (text := self._mending.choice(choice.text))
            ],
        }
        return assembly.Generated(answer.model_copy(update=mended), self._sentences, self._prompt.lore)

    def _mended(self, dialogue: ModelDialogue) -> ModelDialogue:
        return dialogue.model_copy(update={"text": self._mending.words(dialogue.text)})

    async def events(self, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        prompt: TurnPrompt | None = self._prompt
        while prompt is not None:
            self._prompt = prompt
            self._begin_anew()
            try:
                async for event in self._attempt(request, request.temperature):
                    yield event
                if (again := self._to_write_again()) is not None:
                    self._prompt = again
                    self._begin_anew()
                    yield RestartEvent()
                    async for event in self._attempt(request, 0.0):
                        yield event
                if not self._sentences:
                    for element in self._reader.cut_sentence():
                        if (cut := self._checked(element)) is not None:
                            yield cut
                if not self._sentences and self._has_dropped:  # all that was written is broken, twice
                    yield self._told(assembly.nothing_told(self._prompt.language))
                return
            except ContextOverflow:
                logger.info("a prompt did not fit the model and was made shorter")
                prompt = assembly.shorter(prompt)
        raise ContextOverflow("The message alone is too long for this model; send a shorter one.")

    def _to_write_again(self) -> TurnPrompt | None:
        """The prompt of a second attempt, without sampling, for a turn in which a small model has lost its way: nothing
        to show, or marks of which none holds. In the second case it gets only the lines that it had pointed to."""
        if not self._profile.writes_again:
            return None
        if not self._sentences:
            return self._prompt
        if not self._claimed or any(sentence.citations for sentence in self._sentences):
            return None
        return replace(self._prompt, lore=[self._prompt.lore[number - 1] for number in sorted(self._claimed)])

    def _begin_anew(self) -> None:
        self._reader = TurnReader(self._prompt.language)
        self._spelling = Spelling(self._prompt, self._profile.llm.alphabet)
        self._sentences: list[Sentence] = []  # as the gate left them
        self._claimed: set[int] = set()  # the lines that they were marked with
        self._has_dropped = False

    async def _attempt(self, request: TurnRequest, temperature: float) -> AsyncGenerator[TurnEvent, None]:
        payload = {
            "messages": build_messages(self._spelling.prompt, self._profile.prompt_limits),
            "max_tokens": min(request.max_tokens + CLOSING_TOKENS, self._llm.max_model_len // 2),
            "temperature": temperature,
            "response_format": RESPONSE_FORMAT,
        }
        if request.seed is not None:
            payload["seed"] = request.seed
        async with aclosing(self._llm.generate(payload)) as generation:
            async for event in generation:
                if isinstance(event, Restarted):
                    self._begin_anew()
                    yield RestartEvent()
                elif isinstance(event, Finished) and event.engine_s is not None:
                    self._clock.engine_s = event.engine_s
                    self._clock.add("engine", event.engine_s)
                elif isinstance(event, Piece):
                    for element in self._reader.feed(event.text):
                        if (checked := self._checked(element)) is not None:
                            yield checked

    def _checked(self, element: ModelSentence | ModelDialogue) -> TurnEvent | None:
        """The event of what the model wrote; None where it is broken and nothing can stand for it."""
        if isinstance(element, ModelDialogue):
            dialogue = self._spelling.dialogue(element)
            told = assembly.told_dialogue(self._mended(dialogue), self._facts) if dialogue else None
            return DialogueEvent(data=told) if told else None
        started = time.perf_counter()
        sentence = self._sentence(element)
        self._clock.add("gate", time.perf_counter() - started)
        self._has_dropped |= sentence is None
        return self._told(sentence) if sentence else None

    def _told(self, sentence: Sentence) -> TurnEvent:
        self._sentences.append(sentence)
        return SentenceEvent(data=sentence)

    def _sentence(self, element: ModelSentence) -> Sentence | None:
        lore = self._prompt.lore
        marks = [number for number in element.lore if 1 <= number <= len(lore)]
        self._claimed.update(marks)
        claimed = list(dict.fromkeys(lore[number - 1].chunk_id for number in marks))
        written = self._spelling.told(element.text)
        if written is None:
            text, verdict = "", Verdict([], "invented")
        else:
            text = self._mending.sentence(written, {line.section for line in lore}, (line.text for line in lore))
            verdict = self._checker.check(text, element.lore, lore)
        for line in (lore[number - 1] for number in verdict.citations or marks):
            if written is None or self._spelling.lacks(line.text):
                is_told = any(line.text == sentence.text for sentence in self._sentences)
                quoted = Sentence(text=line.text, citations=[line.chunk_id], status="cited", claimed=claimed)
                return None if is_told else quoted
        if written is None:
            return None
        citations = list(dict.fromkeys(lore[number - 1].chunk_id for number in verdict.citations))
        return Sentence(text=text, citations=citations, status=verdict.status, claimed=claimed)
