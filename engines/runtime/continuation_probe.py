"""A proof that a server continues an unfinished answer instead of starting a new one.

A server that ignores the request to continue returns another solution, and rollouts would estimate
the value of nothing. That can also happen with plain text: Ollama and OpenRouter put it into
a user's turn of a chat. Two probes show which of the two happens:

1. A list that breaks off within a word. The continuation is the rest of the word; a new answer
   starts the list again, or the word.
2. The model's own greedy answer to the first request of the run, cut at the end of a word. The
   continuation is the rest of that answer; a new answer starts as that answer does. Weak models and
   models with another language are thus probed with what they can write. A chat server must not
   start a new answer at the end of a line either, because most steps end there.

Where the texts decide nothing, the tokens of the prompt do: a prefix that the server reads makes
the prompt longer. They also show a server that ends the turn of the prefix and starts another one,
in which a strong model goes on as if it had not ended: the prompt then grows by more tokens than
the prefix has. Not covered: such a server that counts no tokens, or whose template ends a turn and
starts another one with fewer than five tokens.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace

from engines.base import Completion, Prompt
from stepmark.errors import EngineError

__all__ = ["Proof", "prove_continuation", "prove_plain_continuation"]

Ask = Callable[[Prompt, int, int], Awaitable[Completion]]
"""Return a greedy completion of a prompt, given the maximum number of its tokens and the seed."""

LIST_PROBE = Prompt(
    user="Count from one to twenty in words, in lower case, separated by commas.",
    prefix="one, two, three, fo",
)
REST_OF_WORD = "ur"
NEW_STARTS = ("one", "four")
NEW_ANSWER = "it starts a new answer"
ENDED_TURN = (
    "it adds {} tokens to an unfinished answer, as a server does that ends its turn; if you are"
    " sure that it continues, set trust_continuation = true"
)
# Chat templates end a turn and start another one with 5 tokens (ChatML, Llama 3, Gemma). A server
# that continues adds 4 where its template begins each given answer with an empty thinking (Qwen3).
# An answer that is cut within a character can have two tokens more when it is read again.
ENDED_TURN_TOKENS = 5
PROBE_TOKENS = 12
# Enough for a line of a solution, so that both parts of it have several words.
ANSWER_TOKENS = 48
MAX_CUTS = 3
# Servers that ignore temperature 0 return different answers, of which several must be compared.
MORE_ANSWERS = 2
# Two texts are the same if they agree in this many characters that are not white space, or in fewer
# if one of them ends, but not in so few that chance explains it.
SAME_CHARACTERS = 12
FEWEST_CHARACTERS = 4


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The result of the probes."""

    problem: str
    """Why the server does not continue a prefix; "" if it does."""
    doubt: str
    """Why the proof is incomplete; "" if it is complete."""
    completions: list[Completion]
    """The completions of all probes."""


async def prove_continuation(ask: Ask, prompt: Prompt) -> Proof:
    """Return whether a chat server continues a prefix.

    Args:
        ask: Sends a request to the server.
        prompt: The first request of the run that has a prefix.

    Raises:
        EngineError: The server failed, or rejects the request also without a prefix.
    """
    probes = _Probes(ask=ask, prompt=prompt)
    problem = await probes.continue_list()
    for attempt in range(MAX_CUTS):
        if problem is None:
            problem = await probes.continue_own_answer(attempt)
    if problem is None:
        problem = await probes.compare_with_more_answers()
    doubt = ""
    if problem is None:
        problem = probes.judge_growth()
        doubt = "only the growing number of prompt tokens shows it"
    if not problem:
        # Some servers and templates continue within a word or a line, but not after a line. Only
        # a new answer shows that: a model need not go on as before there (see `_cuts`).
        problem = await probes.continue_own_answer(0, lines_first=True) or ""
    if not problem:
        problem = await probes.find_ended_turn()
    return Proof(problem=problem, doubt=doubt, completions=probes.completions)


async def prove_plain_continuation(ask: Ask, prompt: Prompt) -> Proof:
    """Return whether a server of plain text continues it; where nothing shows it, it does.

    Arguments and exceptions are those of `prove_continuation`.
    """
    probes = _Probes(ask=ask, prompt=prompt)
    problem = await probes.continue_list()
    if not problem:
        problem = await probes.continue_own_answer(0)
    return Proof(problem=problem or "", doubt="", completions=probes.completions)


@dataclass(kw_only=True)
class _Probes:
    """The probes of one server. Each returns the problem, "" for a proof, None if undecided."""

    ask: Ask
    prompt: Prompt
    completions: list[Completion] = field(default_factory=list)
    beginnings: list[str] = field(default_factory=list)
    """The texts of all answers without a prefix."""
    rests: list[str] = field(default_factory=list)
    """The texts of all continuations of own answers."""
    answers: dict[int, tuple[Prompt, Completion]] = field(default_factory=dict)
    """A request without a prefix and its answer, which has a text, by attempt."""
    growth: list[int] = field(default_factory=list)
    """By how many tokens each prefix made the prompt longer, as far as the server counts them."""

    async def continue_list(self) -> str | None:
        """Probe with a list that breaks off within a word."""
        try:
            completion = await self._sample(LIST_PROBE)
        except EngineError as error:
            if error.retryable:
                raise
            # The server may reject this prompt for another reason than its unfinished answer.
            return None
        # A space before "four" is a continuation: weak models do not complete the word.
        text = completion.text.lower()
        reasoning = (completion.reasoning or "").strip().lower()
        if text.startswith(REST_OF_WORD):
            return ""
        if text.startswith(NEW_STARTS):
            return NEW_ANSWER
        if not text.strip() and reasoning.startswith(REST_OF_WORD):
            return "it returns the continuation as reasoning: start it without a reasoning parser"
        return None

    async def continue_own_answer(self, attempt: int, *, lines_first: bool = False) -> str | None:
        """Probe with the model's own answer, with another cut and seed in each attempt."""
        question, answer = await self._own_answer(attempt)
        cuts = list(_cuts(answer.text, lines_first=lines_first))
        cut = len(answer.text) // 2
        if cuts:
            cut = cuts[attempt % len(cuts)]
        try:
            prompt = replace(question, prefix=answer.text[:cut])
            rest = await self._sample(prompt, PROBE_TOKENS, attempt)
        except EngineError as error:
            if error.retryable:
                raise
            return f"it rejects an unfinished answer: {error}"
        if rest.prompt_tokens and answer.prompt_tokens:
            self.growth.append(rest.prompt_tokens - answer.prompt_tokens)
        if not cuts:
            return None
        self.rests.append(rest.text)
        if self._starts_new_answer():
            return NEW_ANSWER
        if _is_same(rest.text, answer.text[cut:]):
            return ""
        return None

    async def _own_answer(self, attempt: int) -> tuple[Prompt, Completion]:
        """Return a request without a prefix and its answer; it is sent once."""
        if attempt in self.answers:
            return self.answers[attempt]
        question = replace(self.prompt, prefix="")
        answer = await self._sample(question, ANSWER_TOKENS, attempt)
        if not answer.text.strip():
            # A model that reasons first has no text yet, but every server can count the list.
            question = replace(LIST_PROBE, prefix="")
            answer = await self._sample(question, ANSWER_TOKENS, attempt)
            answer = replace(answer, text=LIST_PROBE.prefix)
        self.beginnings.append(answer.text)
        self.answers[attempt] = question, answer
        return question, answer

    async def compare_with_more_answers(self) -> str | None:
        """Compare the continuations with more answers, which cannot be proofs."""
        for seed in range(MAX_CUTS, MAX_CUTS + MORE_ANSWERS):
            answer = await self._sample(replace(self.prompt, prefix=""), PROBE_TOKENS, seed)
            self.beginnings.append(answer.text)
        return NEW_ANSWER if self._starts_new_answer() else None

    async def find_ended_turn(self) -> str:
        """Return the problem that the tokens of a complete own answer show; "" if there is none."""
        for question, answer in self.answers.values():
            # The text of an answer to the list is not what was generated.
            is_counted = answer.prompt_tokens > 0 and answer.generated_tokens > 0
            if is_counted and question.user != LIST_PROBE.user:
                return await self._compare_tokens(question, answer)
        return ""

    async def _compare_tokens(self, question: Prompt, answer: Completion) -> str:
        prefix = answer.text.rstrip()
        rest = await self._sample(replace(question, prefix=prefix), tokens=1)
        # Reasoning apart from the text is generated too, so this can only be too low.
        added = rest.prompt_tokens - answer.prompt_tokens - answer.generated_tokens
        # Generated tokens that are not in the prefix: the end of an answer, and white space.
        if answer.finish_reason == "stop":
            added += 1
        if prefix != answer.text:
            added += 1
        return ENDED_TURN.format(added) if added >= ENDED_TURN_TOKENS else ""

    def judge_growth(self) -> str:
        """Return the problem that the counts of prompt tokens show; "" if there is none."""
        if not self.growth:
            return (
                "nothing shows that it does: the texts differ, and it counts no tokens;"
                " if you are sure, set trust_continuation = true"
            )
        if max(self.growth) <= 0:
            return "the beginning of an answer adds no tokens to the prompt"
        return ""

    def _starts_new_answer(self) -> bool:
        for rest in self.rests:
            if any(_is_same(rest, beginning) for beginning in self.beginnings):
                return True
        return False

    async def _sample(
        self, prompt: Prompt, tokens: int = PROBE_TOKENS, seed: int = 0
    ) -> Completion:
        completion = await self.ask(prompt, tokens, seed)
        self.completions.append(completion)
        return completion


def _cuts(answer: str, *, lines_first: bool) -> Iterator[int]:
    """Yield the positions that split an answer into two parts that begin differently.

    Of the ends of words, those in the middle of the answer come first. A word has the same tokens
    with and without the text after it. White space at the end of a prefix can have other tokens
    than within a text (SmolLM2: a blank line), so that the model goes on differently there.

    Args:
        answer: An answer.
        lines_first: Yield the ends of lines before those of words, and not after them.
    """
    lines: list[int] = []
    words: list[int] = []
    for index in range(1, len(answer)):
        if answer[index - 1] == "\n" and not answer[index].isspace():
            lines.append(index)
        elif answer[index] == " " and not answer[index - 1].isspace():
            words.append(index)
    words.sort(key=lambda index: abs(index - len(answer) // 2))
    for position in (*lines, *words) if lines_first else (*words, *lines):
        rest = _start(answer[position:])
        if len(rest) >= FEWEST_CHARACTERS and not _is_same(rest, answer):
            yield position


def _is_same(text: str, expected: str) -> bool:
    """Return whether two texts begin alike, except for white space."""
    first = _start(text)
    second = _start(expected)
    length = min(len(first), len(second))
    return length >= FEWEST_CHARACTERS and first[:length] == second[:length]


def _start(text: str) -> str:
    return "".join(text[:ANSWER_TOKENS].split())[:SAME_CHARACTERS]
