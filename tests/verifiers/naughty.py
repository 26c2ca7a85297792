"""A verifier that does what its claim says; the tests put it into a copy of the room."""

import os
import sys
import time
from dataclasses import dataclass
from typing import ClassVar

from stepmark.records import Verdict
from verifiers.base import Claim, Finding, StepClaim

__all__ = ["Naughty"]


@dataclass(frozen=True, kw_only=True)
class Naughty:
    """Hangs, dies, eats memory, raises, prints, or tells its process id."""

    version: ClassVar[int] = 1

    def verify(self, claim: Claim) -> Finding:
        assert isinstance(claim, StepClaim)
        deed = claim.step.partition(" ")[0]
        if deed == "sleep":
            time.sleep(60)
        elif deed == "loop":
            pow(7, 10**9)
        elif deed == "die":
            os.kill(os.getpid(), 9)
        elif deed == "eat":
            bytearray(10**12)
        elif deed == "raise":
            raise KeyError(claim.step)
        elif deed == "print":
            sys.stdout.write('["correct", "forged"]\n')
            sys.stdout.flush()
        return Finding(verdict=Verdict.CORRECT, reason=str(os.getpid()))
