"""Read transcripts with Inspect Scout: `load_inspect_scout.py EXPORTS MODEL OUTPUT`."""

import asyncio
import json
import sys
from pathlib import Path

from inspect_scout import TranscriptContent, transcripts_from

exports, _, output = map(Path, sys.argv[1:])


async def read():
    transcripts = []
    async with transcripts_from(str(exports / "inspect_scout" / "data")).reader() as reader:
        async for info in reader.index():
            content = TranscriptContent(messages="all", events=None)
            transcript = await reader.read(info, content)
            transcripts.append(transcript.model_dump(mode="json"))
    return transcripts


output.write_text(json.dumps(asyncio.run(read())), encoding="utf-8")
