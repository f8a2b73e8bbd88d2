"""Pictures of a video that nobody looks at and that no other one is predicted from: the decoder passes over them.

H.264 says of each picture whether others refer to it. One that is neither referred to nor shown at a wanted moment can be left
out without changing any other. Whether it is shown is known before it is decoded, from the moments of the packets around it: they
come in the order of decoding, with a decoding time that no later packet's moment lies before.
"""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import av

__all__ = ["Passing"]

CODECS = frozenset(["h264"])
"""Decoders that tell such pictures apart."""


class Passing:
    """Decodes one stream of pictures, packet by packet.

    Args:
        stream: The stream; its decoder runs in the calling thread.
        wanted: Whether a picture that is shown from one moment to another (seconds of the stream) is looked at.
    """

    def __init__(self, stream: Any, wanted: Callable[[float, float], bool]) -> None:
        self.context = stream.codec_context
        self.wanted = wanted
        self.able = self.context.name in CODECS
        self.missed = False
        """Whether a wanted picture was lost, as an unusual stream might have it: decode again without passing over any."""
        self._waiting: deque[av.Packet] = deque()
        self._moments: list[int] = []
        self._due: set[int] = set()

    def decode(self, packet: Any) -> Iterator[av.VideoFrame]:
        """The pictures that become ready with a packet; the empty packet at the end gives the rest."""
        if packet.size and (packet.pts is None or packet.dts is None):
            self.able = False
        if packet.size and self.able:
            insort(self._moments, packet.pts)
        self._waiting.append(packet)
        while self._waiting and self._known(packet):
            yield from self._next()

    def close(self) -> None:
        """Let the decoder decode everything again."""
        self.context.skip_frame = "DEFAULT"

    def _known(self, newest: Any) -> bool:
        """Whether no packet is to come whose picture follows the oldest waiting one more closely than those that are here."""
        after = self._after(self._waiting[0])
        return not self.able or not newest.size or (after is not None and newest.dts >= after)

    def _after(self, packet: Any) -> int | None:
        """The moment of the picture that is shown next."""
        place = bisect_right(self._moments, packet.pts) if packet.size else len(self._moments)
        return self._moments[place] if place < len(self._moments) else None

    def _next(self) -> Iterator[av.VideoFrame]:
        packet = self._waiting.popleft()
        if self.able and packet.size:
            base, after = float(packet.time_base), self._after(packet)
            looked_at = self.wanted(packet.pts * base, float("inf") if after is None else after * base)
            first = packet.pts == self._moments[0]  # stands for what comes before it, too
            self._due |= {packet.pts} if looked_at else set()
            self.context.skip_frame = "DEFAULT" if looked_at or first else "NONREF"
        else:
            self.close()
        for frame in packet.decode():
            self.missed |= any(moment < frame.pts for moment in self._due) if frame.pts is not None else bool(self._due)
            self._due.discard(frame.pts)
            yield frame
        self.missed |= not packet.size and bool(self._due)  # after the last packet nothing follows that would tell
