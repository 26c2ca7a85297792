"""Draws a word problem: its world of quantities, and the text that states it.

People count things; each person's count is given or follows from another's by one sentence. A last sentence and the question ask for a
person's count, a sum, a difference, a price, what is left, or what goes into each box. Relations that the answer does not need and plain
sentences with numbers distract; a third of the problems tell their sentences out of order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from problems.arithmetic_domain.step_language import Derived, World

__all__ = ["Story", "draw"]

NAMES = (
    *("Ana", "Ben", "Cara", "Dan", "Ella", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kira", "Liam"),
    *("Maya", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tara", "Umar", "Vera", "Will", "Yara", "Zoe"),
)
THINGS = (
    *(
        ("apple", "apples"),
        ("book", "books"),
        ("coin", "coins"),
        ("card", "cards"),
        ("shell", "shells"),
        ("stamp", "stamps"),
    ),
    *(
        ("marble", "marbles"),
        ("sticker", "stickers"),
        ("pencil", "pencils"),
        ("cookie", "cookies"),
        ("button", "buttons"),
    ),
    *(
        ("plum", "plums"),
        ("flower", "flowers"),
        ("ticket", "tickets"),
        ("egg", "eggs"),
        ("bead", "beads"),
    ),
)
VERBS = ("has", "owns", "collected", "found")
PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}
DISTRACTIONS = (
    "{name} is {number} years old.",
    "{name} lives {number} miles from the school.",
    "The bus takes {number} minutes.",
    "{name} has {number} friends in the club.",
    "There are {number} chairs in the room.",
)
MAX_VALUE = 999
MAX_EXTRA = 2
SHUFFLED = 1 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A world and the question that states it."""

    world: World
    question: str


class _Draft:
    """A world being drawn: values so far, and the sentences that state it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.thing, self.unit = random.choice(THINGS)
        self.names = random.sample(NAMES, len(NAMES))
        self.people: list[str] = []
        self.given: dict[str, int] = {}
        self.derived: dict[str, Derived] = {}
        self.values: dict[str, int] = {}
        self.sentences: list[tuple[str, str]] = []

    def give(self) -> None:
        """A person whose count is stated."""
        name, value = (
            self._newcomer(),
            self.random.choice((self.random.randint(3, 30), self.random.randint(10, 200))),
        )
        self.given[f"{name} has"] = self.values[name] = value
        template = self.random.choice(
            ("{name} {verb} {value} {unit}.", "The bag of {name} has {value} {unit}.")
        )
        self._say(
            f"{name} has",
            template.format(name=name, verb=self._verb(), value=value, unit=self.unit),
        )

    def relate(self) -> None:
        """A person whose count follows from another's."""
        name, other = self._newcomer(), self._known()
        kinds = [_more, _fewer, _times, _part, _as_both]
        self.random.shuffle(kinds)
        relation = next(found for kind in kinds if (found := kind(self, other)) is not None)
        reading, sentence, operator, right = relation
        holder = f"{name} has"
        left = f"{other} has"
        self.define(holder, f"{name} has {reading}", operator, left, right, self.unit)
        self.values[name] = World(given=self.given, derived=self.derived, target=holder).value(
            holder
        )
        self._say(holder, f"{name} {self._verb()} {sentence}.")

    def define(
        self, holder: str, reading: str, operator: str, left: int | str, right: int | str, unit: str
    ) -> None:
        """Add a derived quantity."""
        self.derived[holder] = Derived(
            holder=holder, reading=reading, operator=operator, left=left, right=right, unit=unit
        )

    def _newcomer(self) -> str:
        name = self.names[len(self.people)]
        self.people.append(name)
        return name

    def _known(self) -> str:
        """Another person, most often the one told of last."""
        earlier = self.people[:-1]
        return earlier[-1] if self.random.random() < 0.55 else self.random.choice(earlier)

    def _verb(self) -> str:
        return self.random.choice(VERBS)

    def _say(self, holder: str, sentence: str) -> None:
        self.sentences.append((holder, sentence))


# A relation of a newcomer to another person: (reading, rest of the sentence, operator, right operand), or None where it does not fit.
_Relation = tuple[str, str, str, int | str]


def _more(draft: _Draft, other: str) -> _Relation | None:
    room = MAX_VALUE - draft.values[other]
    if room < 2:
        return None
    number = draft.random.randint(2, min(room, draft.random.choice((20, 150))))
    told = draft.random.choice(
        (f"{number} more {draft.unit} than {other}", f"{number} {draft.unit} more than {other}")
    )
    return f"{number} more than {other}", told, "+", number


def _fewer(draft: _Draft, other: str) -> _Relation | None:
    if draft.values[other] < 4:
        return None
    number = draft.random.randint(2, min(draft.values[other] - 2, draft.random.choice((20, 150))))
    told = draft.random.choice(
        (f"{number} fewer {draft.unit} than {other}", f"{number} {draft.unit} less than {other}")
    )
    return f"{number} fewer than {other}", told, "-", number


def _times(draft: _Draft, other: str) -> _Relation | None:
    most = min(9, MAX_VALUE // draft.values[other])
    if most < 2:
        return None
    number = draft.random.randint(2, most)
    return (
        f"{number} times as many as {other}",
        f"{number} times as many {draft.unit} as {other}",
        "*",
        number,
    )


def _part(draft: _Draft, other: str) -> _Relation | None:
    fitting = [
        number
        for number in PARTS
        if draft.values[other] % number == 0 and draft.values[other] > number
    ]
    if not fitting:
        return None
    number = draft.random.choice(fitting)
    return (
        f"{PARTS[number]} as many as {other}",
        f"{PARTS[number]} as many {draft.unit} as {other}",
        "/",
        number,
    )


def _as_both(draft: _Draft, other: str) -> _Relation | None:
    thirds = [
        p
        for p in draft.people[:-1]
        if p != other and draft.values[p] + draft.values[other] <= MAX_VALUE
    ]
    if not thirds:
        return None
    third = draft.random.choice(thirds)
    both = draft.random.choice((f"{other} and {third} together", f"both {other} and {third}"))
    told = f"as many {draft.unit} as {both}"
    return f"as many as {other} and {third}", told, "+", f"{third} has"


# An ending defines the asked-for quantity on top of the people: (target holder, sentences before the question, question).
_Ending = tuple[str, Sequence[str], str]


def _ask_person(draft: _Draft) -> _Ending | None:
    name = draft.people[-1]
    return f"{name} has", (), f"How many {draft.unit} does {name} have?"


def _ask_sum(draft: _Draft) -> _Ending | None:
    first, second = draft.people[-1], draft.random.choice(draft.people[:-1])
    draft.define(
        "they have",
        f"{first} and {second} together",
        "+",
        f"{first} has",
        f"{second} has",
        draft.unit,
    )
    asked = draft.random.choice(("have together", "have in total"))
    return "they have", (), f"How many {draft.unit} do {first} and {second} {asked}?"


def _ask_sum_of_three(draft: _Draft) -> _Ending | None:
    if len(draft.people) < 3:
        return None
    first, (second, third) = draft.people[-1], draft.random.sample(draft.people[:-1], 2)
    draft.define(
        "the two have",
        f"{first} and {second} together",
        "+",
        f"{first} has",
        f"{second} has",
        draft.unit,
    )
    draft.define("they have", f"with {third} too", "+", "the two have", f"{third} has", draft.unit)
    return "they have", (), f"How many {draft.unit} do {first}, {second} and {third} have together?"


def _ask_difference(draft: _Draft) -> _Ending | None:
    last, second = draft.people[-1], draft.random.choice(draft.people[:-1])
    if draft.values[last] == draft.values[second]:
        return None
    high, low = sorted((last, second), key=lambda name: -draft.values[name])
    draft.define(
        "the difference is",
        f"{high} has more than {low}",
        "-",
        f"{high} has",
        f"{low} has",
        draft.unit,
    )
    return "the difference is", (), f"How many more {draft.unit} does {high} have than {low}?"


def _ask_price(draft: _Draft) -> _Ending | None:
    name = draft.people[-1]
    most = min(9, MAX_VALUE // draft.values[name])
    if most < 2:
        return None
    price = draft.random.randint(2, most)
    draft.define(
        "the price is", f"each of {name} costs {price}", "*", f"{name} has", price, "dollars"
    )
    told = draft.random.choice(
        (
            f"Each {draft.thing} costs {price} dollars.",
            f"A {draft.thing} is sold for {price} dollars.",
        )
    )
    return "the price is", (told,), f"How many dollars do all the {draft.unit} of {name} cost?"


def _ask_left(draft: _Draft) -> _Ending | None:
    name = draft.people[-1]
    if draft.values[name] < 4:
        return None
    number = draft.random.randint(2, draft.values[name] - 2)
    draft.define(
        f"{name} now has", f"{name} gives away {number}", "-", f"{name} has", number, draft.unit
    )
    told = draft.random.choice(
        (
            f"Then {name} gives away {number} {draft.unit}.",
            f"Then {name} loses {number} {draft.unit}.",
        )
    )
    return f"{name} now has", (told,), f"How many {draft.unit} does {name} have now?"


def _ask_gained(draft: _Draft) -> _Ending | None:
    name = draft.people[-1]
    number = draft.random.randint(2, 99)
    draft.define(f"{name} now has", f"{name} gets {number}", "+", f"{name} has", number, draft.unit)
    told = draft.random.choice(
        (f"Then {name} gets {number} {draft.unit}.", f"Then {name} buys {number} {draft.unit}.")
    )
    return f"{name} now has", (told,), f"How many {draft.unit} does {name} have now?"


def _ask_boxes(draft: _Draft) -> _Ending | None:
    name = draft.people[-1]
    fitting = [
        number
        for number in range(2, 10)
        if draft.values[name] % number == 0 and draft.values[name] > number
    ]
    if not fitting:
        return None
    boxes = draft.random.choice(fitting)
    draft.define(
        "each box has", f"{name} fills {boxes} boxes", "/", f"{name} has", boxes, draft.unit
    )
    told = f"{name} packs the {draft.unit} equally into {boxes} boxes."
    return "each box has", (told,), f"How many {draft.unit} are in each box?"


ENDINGS: Sequence[Callable[[_Draft], _Ending | None]] = (
    *(_ask_person, _ask_sum, _ask_sum_of_three, _ask_difference),
    *(_ask_price, _ask_left, _ask_gained, _ask_boxes),
)


def draw(random: Random, steps: int) -> Story:
    """A problem whose answer rests on exactly `steps` derived quantities (2 to 8)."""
    while (story := _attempt(random, steps)) is None:
        pass
    return story


def _attempt(random: Random, steps: int) -> Story | None:
    """One draft; None when it does not need exactly `steps` steps."""
    draft = _Draft(random)
    draft.give()
    if random.random() < 0.4:
        draft.give()
    extra = random.choices(range(MAX_EXTRA + 1), weights=(6, 3, 1))[0]
    for _ in range(max(1, steps - 1 + extra - random.randint(0, 1))):
        draft.relate()
    ending = random.choice(ENDINGS)(draft)
    if ending is None:
        return None
    target, told, question = ending
    world = _in_text_order(draft, target)
    if len(world.needed()) != steps or len(world.derived) - steps > MAX_EXTRA:
        return None
    return Story(world=world, question=" ".join((*_tell(draft), *told, question)))


def _in_text_order(draft: _Draft, target: str) -> World:
    """Shuffle the sentences of a third of the problems; the definitions follow the order of the text."""
    if draft.random.random() < SHUFFLED:
        draft.random.shuffle(draft.sentences)
    told = [holder for holder, _ in draft.sentences if holder in draft.derived]
    order = [*told, *(holder for holder in draft.derived if holder not in told)]
    return World(
        given=draft.given,
        derived={holder: draft.derived[holder] for holder in order},
        target=target,
    )


def _tell(draft: _Draft) -> Sequence[str]:
    sentences = [sentence for _, sentence in draft.sentences]
    if draft.random.random() < 0.35:
        distraction = draft.random.choice(DISTRACTIONS)
        text = distraction.format(
            name=draft.random.choice(draft.people), number=draft.random.randint(3, 90)
        )
        sentences.insert(draft.random.randint(0, len(sentences)), text)
    return sentences
