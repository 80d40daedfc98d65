"""The diffusion engine: continuous batching by denoising step.

A stock pipeline takes a batch from its first step to its last; who comes later waits for all of it. Here a batch lives
for one UNet call. Before each call whoever has arrived joins, whoever was cancelled leaves, and those who have waited
longest share the call, whatever their steps, guidance, schedulers and seeds. Each request's arithmetic is that of
diffusers' own pipeline, so it gets the picture that it would get alone.

Plain Python: a thread calls `run_forever`, or a test calls `step` until it returns False.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch

from sagaforge.deployments.diffusion.adapters.mixer import AdapterMixer
from sagaforge.deployments.diffusion.engine import batching, running
from sagaforge.deployments.diffusion.engine.conditioning import Conditioner
from sagaforge.deployments.diffusion.engine.latents import Pictures
from sagaforge.deployments.diffusion.engine.requests import (
    Event,
    Failed,
    Generated,
    GenerationRequest,
    Listener,
    Stepped,
)
from sagaforge.deployments.diffusion.engine.running import Running
from sagaforge.deployments.diffusion.engine.step_cache import StepCache
from sagaforge.errors import DeadlineExceeded, InvalidInput, Overloaded, Unavailable
from sagaforge.profiles import EngineLimits

logger = logging.getLogger(__name__)

# Before each UNet call: to read a prompt takes a while, and those who run already wait for it.
MAX_ADMITTED = 8


class Ticket:
    """A submitted request's handle; both methods may be called from any thread."""

    def __init__(self, deadline_at: float | None) -> None:
        self._cancelled = threading.Event()
        self._deadline_at = deadline_at

    def cancel(self) -> None:
        """Leave the engine at its next step, without another event."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def is_late(self, now: float) -> bool:
        return self._deadline_at is not None and now > self._deadline_at


@dataclass
class _Arrival:
    request: GenerationRequest
    listener: Listener
    ticket: Ticket
    arrived_at: float


class DiffusionEngine:
    """Generates pictures with one SDXL or SD 1.5 pipeline of diffusers.

    Args:
        pipeline: a loaded `StableDiffusionXLPipeline` or `StableDiffusionPipeline`; the engine owns it from now on.
        limits: what it may take on at once.
        is_compiled: compile the UNet at its first call for each shape; calls with adapters stay as they are.

    Raises:
        InvalidInput: a UNet can't be compiled and have shallow steps.
    """

    def __init__(self, pipeline: Any, limits: EngineLimits | None = None, *, is_compiled: bool = False) -> None:
        self.limits = limits = limits or EngineLimits()
        self.pictures = Pictures(pipeline, limits.max_decoded)
        self._unet = pipeline.unet
        self._mixer = AdapterMixer("unet", pipeline.unet)
        if is_compiled and limits.full_every > 1:
            raise InvalidInput("`compiled` and `full_every` exclude each other; choose one of them in the profile.")
        self._compiled = torch.compile(pipeline.unet, dynamic=True) if is_compiled else None
        self._cache = StepCache(pipeline.unet) if limits.full_every > 1 else None
        self._scheduler_config = pipeline.scheduler.config
        self._conditioner = Conditioner(pipeline, limits.cache_bytes, limits.max_windows)
        self._arrivals: deque[_Arrival] = deque()
        self._running: dict[Ticket, Running] = {}
        self._work = threading.Condition()
        self._is_closed = False
        self._round = 0
        self._max_rows = limits.max_rows

    # --- any thread ---

    def submit(self, request: GenerationRequest, listener: Listener, deadline_s: float | None = None) -> Ticket:
        """Take a request on; the listener hears of its steps, and last of its picture or failure.

        Raises:
            InvalidInput: a size, step count or scale that no model of this kind takes.
            Overloaded: the engine holds as many requests as it may.
            Unavailable: it is closed.
        """
        self._check(request)
        now = time.monotonic()
        ticket = Ticket(now + deadline_s if deadline_s is not None else None)
        with self._work:
            if self._is_closed:
                raise Unavailable("The diffusion engine is shutting down; send the request again.")
            if self.num_requests >= self.limits.max_requests:
                raise Overloaded("The diffusion engine is full; try again in a moment.")
            self._arrivals.append(_Arrival(request, listener, ticket, now))
            self._work.notify()
        return ticket

    @property
    def num_requests(self) -> int:
        """Waiting and running."""
        return len(self._arrivals) + len(self._running)

    def close(self) -> None:
        """Let `run_forever` return; requests that are not done fail."""
        with self._work:
            self._is_closed = True
            self._work.notify()

    # --- the engine's thread ---

    def run_forever(self) -> None:
        """Work until `close`."""
        while True:
            with self._work:
                while not self._is_closed and self.num_requests == 0:
                    self._work.wait()
                if self._is_closed:
                    break
            self.step()
        closed = Unavailable("The diffusion engine is shutting down; send the request again.")
        for arrival in self._take_arrivals(len(self._arrivals)):
            _tell(arrival.listener, Failed(closed))
        for ticket in list(self._running):
            self._leave(ticket, Failed(closed))

    @torch.inference_mode()
    def step(self) -> bool:
        """One UNet call and what follows from it. False when there was nothing to do."""
        self._admit()
        self._dismiss()
        batch = batching.choose(self._running, self._max_rows)
        if not batch:
            self._mixer.forget()
            return False
        self._round += 1
        for ticket in batch:
            self._running[ticket].served_at = self._round
        self._denoise(batch)
        finished = [ticket for ticket in batch if ticket in self._running and self._running[ticket].is_finished]
        for part in batching.parts(finished, self.limits.max_decoded):
            self._decode(part)
        return True

    def _admit(self) -> None:
        for arrival in self._take_arrivals(MAX_ADMITTED):
            if arrival.ticket.is_cancelled:
                continue
            try:
                self._running[arrival.ticket] = running.start(
                    arrival.request,
                    arrival.listener,
                    self._conditioner.condition(arrival.request),
                    self.pictures,
                    self._unet,
                    self._scheduler_config,
                    arrival.arrived_at,
                    self.limits.full_every,
                )
            except Exception as exc:
                _tell(arrival.listener, Failed(batching.as_error(exc)))

    def _take_arrivals(self, count: int) -> list[_Arrival]:
        with self._work:
            return [self._arrivals.popleft() for _ in range(min(count, len(self._arrivals)))]

    def _dismiss(self) -> None:
        """Those who were cancelled or are late leave."""
        now = time.monotonic()
        for ticket in list(self._running):
            if ticket.is_cancelled:
                del self._running[ticket]
            elif ticket.is_late(now):
                self._leave(ticket, Failed(DeadlineExceeded("The picture was not done in time.")))

    def _denoise(self, batch: list[Ticket]) -> None:
        """One step for each; a batch that fails is halved until only those fail that can't be helped."""
        try:
            batched = [self._running[ticket] for ticket in batch]
            predicted = batching.predict(self._unet, self._mixer, batched, self._cache, self._compiled)
        except Exception as exc:
            if len(batch) == 1:
                self._leave(batch[0], Failed(batching.as_error(exc)))
                return
            if batching.is_out_of_memory(exc):
                self._mixer.forget()
                batching.free_memory()
                self._max_rows = max(2, self._max_rows // 2)
                logger.warning("a batch of %d requests was too large for memory; it is split", len(batch))
            half = len(batch) // 2
            self._denoise(batch[:half])
            self._denoise(batch[half:])
            return
        for ticket, rows in zip(batch, predicted, strict=True):
            one = self._running[ticket]
            try:
                one.advance(rows)
                event = Stepped(one.done, len(one.timesteps), self._preview(one))
            except Exception as exc:
                self._leave(ticket, Failed(batching.as_error(exc)))
            else:
                _tell(one.listener, event)

    def _preview(self, one: Running) -> Any:
        every = one.request.preview_every
        if every == 0 or one.is_finished or one.done % every or one.expected is None:
            return None
        return self.pictures.preview(one.expected)

    def _decode(self, tickets: list[Ticket]) -> None:
        """Pictures for requests of one shape that have taken their last step."""
        healthy = []
        for ticket in tickets:
            if torch.isfinite(self._running[ticket].latents).all():
                healthy.append(ticket)
            else:
                self._leave(ticket, Failed(InvalidInput("The picture fell apart (not a number): lower the scales.")))
        try:
            images = self.pictures.decode([self._running[ticket].latents for ticket in healthy])
        except Exception as exc:
            if len(healthy) == 1:
                self._leave(healthy[0], Failed(batching.as_error(exc)))
                return
            batching.free_memory()
            for ticket in healthy:
                self._decode([ticket])
            return
        for ticket, image in zip(healthy, images, strict=True):
            one = self._running[ticket]
            now = time.monotonic()
            waited_s, worked_s = one.started_at - one.arrived_at, now - one.started_at
            self._leave(ticket, Generated(image, len(one.timesteps), waited_s, worked_s))

    def _leave(self, ticket: Ticket, event: Event) -> None:
        _tell(self._running.pop(ticket).listener, event)

    def _check(self, request: GenerationRequest) -> None:
        factor = self.pictures.factor
        if request.width % factor or request.height % factor or min(request.width, request.height) < factor:
            raise InvalidInput(f"width and height must be multiples of {factor} pixels.")
        if request.width * request.height > self.limits.max_pixels:
            raise InvalidInput(f"width × height may be at most {self.limits.max_pixels} pixels.")
        if not 1 <= request.steps <= self.limits.max_steps:
            raise InvalidInput(f"steps must be from 1 to {self.limits.max_steps}.")
        if request.mask is not None and request.image is None:
            raise InvalidInput("A mask needs the image that it belongs to.")
        if not 0.0 < request.strength <= 1.0:
            raise InvalidInput("strength must be above 0 and at most 1.")


def _tell(listener: Listener, event: Event) -> None:
    """A listener that fails loses its own event and nobody else's."""
    try:
        listener(event)
    except Exception:
        logger.exception("a listener of the diffusion engine failed")
