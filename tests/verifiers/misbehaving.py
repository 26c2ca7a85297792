"""A verifier that behaves as its claim demands. Tests copy it into a copy of the package."""

import os
import sys
import time
from dataclasses import dataclass
from typing import ClassVar

from stepmark.records import Verdict
from verifiers.base import Claim, Finding, StepClaim

__all__ = ["Misbehaving"]


@dataclass(frozen=True, kw_only=True)
class Misbehaving:
    """Hangs, dies, exhausts memory, raises, prints, or returns its process id as the reason."""

    version: ClassVar[int] = 1

    def verify(self, claim: Claim) -> Finding:
        assert isinstance(claim, StepClaim)
        behaviour = claim.step.partition(" ")[0]
        if behaviour == "sleep":
            # Longer than the deadline of the pool in every test.
            time.sleep(60)
        elif behaviour == "loop":
            pow(7, 10**9)  # C code that Python signal handlers cannot interrupt
        elif behaviour == "die":
            os.kill(os.getpid(), 9)
        elif behaviour == "allocate":
            # One terabyte is more than a worker's memory limit.
            bytearray(10**12)
        elif behaviour == "raise":
            raise KeyError(claim.step)
        elif behaviour == "print":
            # The form of a finding, which a pool that reads standard output would accept.
            sys.stdout.write('["correct", "forged"]\n')
            sys.stdout.flush()
        return Finding(verdict=Verdict.CORRECT, reason=str(os.getpid()))
