"""A limit on the size of a reply after decompression: a server may send a thousandth of it."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx2  # the HTTP client below openai; used only to read bodies

from engines.runtime.openai_replies import UnreadableReply

__all__ = ["MAX_FILE_BYTES", "MAX_REPLY_BYTES", "bound_body"]

# 128 completions of 128,000 tokens, or the log-probabilities of a prompt of a million tokens.
MAX_REPLY_BYTES = 256 << 20
# The results of a batch of 50,000 requests.
MAX_FILE_BYTES = 4 << 30
# The address of the content of a file ends so.
FILE_CONTENT = "/content"
ENCODING = "content-encoding"


async def bound_body(response: httpx2.Response) -> None:
    """Make the reading of a response fail at a limit; a hook of the client for responses.

    Reading raises `UnreadableReply`, which the OpenAI client does not wrap in an error of its own.
    """
    stream = response.stream
    assert isinstance(stream, httpx2.AsyncByteStream), "the client is asynchronous"
    limit = MAX_FILE_BYTES if response.url.path.endswith(FILE_CONTENT) else MAX_REPLY_BYTES
    encodings = response.headers.get_list(ENCODING)
    response.stream = _BoundedBody(stream, [(ENCODING, value) for value in encodings], limit)
    if encodings:
        # The stream has decoded it.
        del response.headers[ENCODING]


class _BoundedBody(httpx2.AsyncByteStream):
    """The decompressed body of a response, up to a limit."""

    def __init__(
        self, stream: httpx2.AsyncByteStream, encodings: list[tuple[str, str]], limit: int
    ) -> None:
        self._stream = stream
        self._encodings = encodings
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        decoded = httpx2.Response(200, headers=self._encodings, stream=self._stream)
        size = 0
        async with aclosing(decoded.aiter_bytes()) as parts:
            async for part in parts:
                size += len(part)
                if size > self._limit:
                    raise UnreadableReply(f"the reply has more than {self._limit >> 20} MiB")
                yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
