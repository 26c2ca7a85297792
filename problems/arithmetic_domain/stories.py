"""Draw word problems: the quantities, and the text that states them.

People count things. The count of each person is given or follows from that of another person by one
sentence. A last sentence and the question ask for the count of a person, a sum, a difference, a
price, a remainder, or the share of each box. Relations that the answer does not need, and plain
sentences with numbers, distract. A third of the problems state their sentences out of order.

Every draw from the random stream is part of the definition of a problem: an additional draw, or two
draws in another order, would change all problems of all seeds.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from problems.arithmetic_domain.step_language import ArithmeticWorld, Derived

__all__ = ["ArithmeticStory", "draw"]

# fmt: off
NAMES = (
    "Ana", "Ben", "Cara", "Dan", "Ella", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kira", "Liam",
    "Maya", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tara", "Umar", "Vera", "Will", "Yara", "Zoe",
)
# fmt: on
# Singular and plural.
THINGS = (
    ("apple", "apples"),
    ("book", "books"),
    ("coin", "coins"),
    ("card", "cards"),
    ("shell", "shells"),
    ("stamp", "stamps"),
    ("marble", "marbles"),
    ("sticker", "stickers"),
    ("pencil", "pencils"),
    ("cookie", "cookies"),
    ("button", "buttons"),
    ("plum", "plums"),
    ("flower", "flowers"),
    ("ticket", "tickets"),
    ("egg", "eggs"),
    ("bead", "beads"),
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
# The count of a person has at most three digits.
MAX_VALUE = 999
# At most this many derived quantities that the answer does not need.
MAX_EXTRA = 2
SHUFFLED_SHARE = 1 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ArithmeticStory:
    """A world of quantities and the question that states it."""

    world: ArithmeticWorld
    question: str


class _Relation(NamedTuple):
    """The relation of a new person to an earlier one, which is the left operand."""

    reading: str
    sentence: str
    """The sentence without its subject and verb."""
    operator: str
    right: int | str


class _Ending(NamedTuple):
    """The quantity that a problem asks for."""

    target: str
    sentences: Sequence[str]
    """The sentences before the question."""
    question: str


class _Draft:
    """A problem under construction: the values so far, and the sentences that state them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.thing, self.unit = random.choice(THINGS)
        self.names = random.sample(NAMES, len(NAMES))
        self.people: list[str] = []
        self.given: dict[str, int] = {}
        self.derived: dict[str, Derived] = {}
        self.values: dict[str, int] = {}
        """The count of each person by name."""
        self.sentences: list[tuple[str, str]] = []
        """The holder of each quantity and the sentence that states it."""

    def add_given(self) -> None:
        """Add a person whose count is stated."""
        name = self._new_person()
        # Small counts are more frequent than large ones.
        small = self.random.randint(3, 30)
        large = self.random.randint(10, 200)
        value = self.random.choice((small, large))
        holder = f"{name} has"
        self.given[holder] = value
        self.values[name] = value
        template = self.random.choice(
            ("{name} {verb} {value} {unit}.", "The bag of {name} has {value} {unit}.")
        )
        # The verb is drawn for the second template too, which does not use it.
        verb = self.random.choice(VERBS)
        sentence = template.format(name=name, verb=verb, value=value, unit=self.unit)
        self.sentences.append((holder, sentence))

    def add_related(self) -> None:
        """Add a person whose count follows from that of an earlier one."""
        name = self._new_person()
        other = self._earlier_person()
        relation = self._draw_relation(other)
        holder = f"{name} has"
        self.define(
            holder,
            f"{name} has {relation.reading}",
            relation.operator,
            f"{other} has",
            relation.right,
            self.unit,
        )
        world = ArithmeticWorld(given=self.given, derived=self.derived, target=holder)
        self.values[name] = world.value(holder)
        verb = self.random.choice(VERBS)
        self.sentences.append((holder, f"{name} {verb} {relation.sentence}."))

    def define(
        self, holder: str, reading: str, operator: str, left: int | str, right: int | str, unit: str
    ) -> None:
        """Add a derived quantity."""
        self.derived[holder] = Derived(
            holder=holder, reading=reading, operator=operator, left=left, right=right, unit=unit
        )

    def _new_person(self) -> str:
        name = self.names[len(self.people)]
        self.people.append(name)
        return name

    def _earlier_person(self) -> str:
        """Return a person before the newest; mostly the last one, which makes chains long."""
        earlier = self.people[:-1]
        if self.random.random() < 0.55:
            return earlier[-1]
        return self.random.choice(earlier)

    def _draw_relation(self, other: str) -> _Relation:
        """Return the first relation, in random order, that the value of `other` allows."""
        kinds = [_more, _fewer, _times, _part, _as_both]
        self.random.shuffle(kinds)
        for kind in kinds:
            relation = kind(self, other)
            if relation is not None:
                return relation
        raise AssertionError("a value can always be increased or decreased")


def _more(draft: _Draft, other: str) -> _Relation | None:
    available = MAX_VALUE - draft.values[other]
    if available < 2:
        return None
    largest = min(available, draft.random.choice((20, 150)))
    number = draft.random.randint(2, largest)
    sentence = draft.random.choice(
        (f"{number} more {draft.unit} than {other}", f"{number} {draft.unit} more than {other}")
    )
    return _Relation(f"{number} more than {other}", sentence, "+", number)


def _fewer(draft: _Draft, other: str) -> _Relation | None:
    if draft.values[other] < 4:
        return None
    largest = min(draft.values[other] - 2, draft.random.choice((20, 150)))
    number = draft.random.randint(2, largest)
    sentence = draft.random.choice(
        (f"{number} fewer {draft.unit} than {other}", f"{number} {draft.unit} less than {other}")
    )
    return _Relation(f"{number} fewer than {other}", sentence, "-", number)


def _times(draft: _Draft, other: str) -> _Relation | None:
    largest = min(9, MAX_VALUE // draft.values[other])
    if largest < 2:
        return None
    number = draft.random.randint(2, largest)
    return _Relation(
        f"{number} times as many as {other}",
        f"{number} times as many {draft.unit} as {other}",
        "*",
        number,
    )


def _part(draft: _Draft, other: str) -> _Relation | None:
    divisors = _proper_divisors(draft.values[other], PARTS)
    if not divisors:
        return None
    number = draft.random.choice(divisors)
    return _Relation(
        f"{PARTS[number]} as many as {other}",
        f"{PARTS[number]} as many {draft.unit} as {other}",
        "/",
        number,
    )


def _as_both(draft: _Draft, other: str) -> _Relation | None:
    candidates = []
    for person in draft.people[:-1]:
        total = draft.values[person] + draft.values[other]
        if person != other and total <= MAX_VALUE:
            candidates.append(person)
    if not candidates:
        return None
    third = draft.random.choice(candidates)
    both = draft.random.choice((f"{other} and {third} together", f"both {other} and {third}"))
    return _Relation(
        f"as many as {other} and {third}", f"as many {draft.unit} as {both}", "+", f"{third} has"
    )


def _proper_divisors(value: int, candidates: Iterable[int]) -> list[int]:
    """Return the candidates that divide a larger value exactly."""
    return [number for number in candidates if value % number == 0 and value > number]


# Each ending defines the target on top of the counts of the people.


def _ask_person(draft: _Draft) -> _Ending | None:
    name = draft.people[-1]
    return _Ending(f"{name} has", (), f"How many {draft.unit} does {name} have?")


def _ask_sum(draft: _Draft) -> _Ending | None:
    first = draft.people[-1]
    second = draft.random.choice(draft.people[:-1])
    draft.define(
        "they have",
        f"{first} and {second} together",
        "+",
        f"{first} has",
        f"{second} has",
        draft.unit,
    )
    verb = draft.random.choice(("have together", "have in total"))
    return _Ending("they have", (), f"How many {draft.unit} do {first} and {second} {verb}?")


def _ask_sum_of_three(draft: _Draft) -> _Ending | None:
    if len(draft.people) < 3:
        return None
    first = draft.people[-1]
    second, third = draft.random.sample(draft.people[:-1], 2)
    draft.define(
        "the two have",
        f"{first} and {second} together",
        "+",
        f"{first} has",
        f"{second} has",
        draft.unit,
    )
    draft.define("they have", f"with {third} too", "+", "the two have", f"{third} has", draft.unit)
    return _Ending(
        "they have", (), f"How many {draft.unit} do {first}, {second} and {third} have together?"
    )


def _ask_difference(draft: _Draft) -> _Ending | None:
    last = draft.people[-1]
    second = draft.random.choice(draft.people[:-1])
    if draft.values[last] == draft.values[second]:
        return None
    high = last
    low = second
    if draft.values[last] < draft.values[second]:
        high = second
        low = last
    draft.define(
        "the difference is",
        f"{high} has more than {low}",
        "-",
        f"{high} has",
        f"{low} has",
        draft.unit,
    )
    return _Ending(
        "the difference is", (), f"How many more {draft.unit} does {high} have than {low}?"
    )


def _ask_price(draft: _Draft) -> _Ending | None:
    name = draft.people[-1]
    highest = min(9, MAX_VALUE // draft.values[name])
    if highest < 2:
        return None
    price = draft.random.randint(2, highest)
    draft.define(
        "the price is", f"each of {name} costs {price}", "*", f"{name} has", price, "dollars"
    )
    sentence = draft.random.choice(
        (
            f"Each {draft.thing} costs {price} dollars.",
            f"A {draft.thing} is sold for {price} dollars.",
        )
    )
    return _Ending(
        "the price is", (sentence,), f"How many dollars do all the {draft.unit} of {name} cost?"
    )


def _ask_left(draft: _Draft) -> _Ending | None:
    name = draft.people[-1]
    if draft.values[name] < 4:
        return None
    number = draft.random.randint(2, draft.values[name] - 2)
    draft.define(
        f"{name} now has", f"{name} gives away {number}", "-", f"{name} has", number, draft.unit
    )
    sentence = draft.random.choice(
        (
            f"Then {name} gives away {number} {draft.unit}.",
            f"Then {name} loses {number} {draft.unit}.",
        )
    )
    return _Ending(f"{name} now has", (sentence,), f"How many {draft.unit} does {name} have now?")


def _ask_gained(draft: _Draft) -> _Ending | None:
    name = draft.people[-1]
    number = draft.random.randint(2, 99)
    draft.define(f"{name} now has", f"{name} gets {number}", "+", f"{name} has", number, draft.unit)
    sentence = draft.random.choice(
        (f"Then {name} gets {number} {draft.unit}.", f"Then {name} buys {number} {draft.unit}.")
    )
    return _Ending(f"{name} now has", (sentence,), f"How many {draft.unit} does {name} have now?")


def _ask_boxes(draft: _Draft) -> _Ending | None:
    name = draft.people[-1]
    divisors = _proper_divisors(draft.values[name], range(2, 10))
    if not divisors:
        return None
    boxes = draft.random.choice(divisors)
    draft.define(
        "each box has", f"{name} fills {boxes} boxes", "/", f"{name} has", boxes, draft.unit
    )
    sentence = f"{name} packs the {draft.unit} equally into {boxes} boxes."
    return _Ending("each box has", (sentence,), f"How many {draft.unit} are in each box?")


ENDINGS: Sequence[Callable[[_Draft], _Ending | None]] = (
    _ask_person,
    _ask_sum,
    _ask_sum_of_three,
    _ask_difference,
    _ask_price,
    _ask_left,
    _ask_gained,
    _ask_boxes,
)


def draw(random: Random, steps: int) -> ArithmeticStory:
    """Return a problem whose answer depends on exactly `steps` derived quantities (2 to 8)."""
    while True:
        story = _attempt(random, steps)
        if story is not None:
            return story


def _attempt(random: Random, steps: int) -> ArithmeticStory | None:
    """Return one draft, or None if its answer does not need exactly `steps` steps."""
    draft = _Draft(random)
    draft.add_given()
    if random.random() < 0.4:
        draft.add_given()
    extra = random.choices(range(MAX_EXTRA + 1), weights=(6, 3, 1))[0]
    # An ending adds zero to two steps, which the last term allows for; drafts that miss the number
    # of steps are rejected below.
    relations = max(1, steps - 1 + extra - random.randint(0, 1))
    for _ in range(relations):
        draft.add_related()
    ending = random.choice(ENDINGS)(draft)
    if ending is None:
        return None
    world = _in_text_order(draft, ending.target)
    if len(world.needed()) != steps or len(world.derived) - steps > MAX_EXTRA:
        return None
    sentences = [*_with_distraction(draft), *ending.sentences, ending.question]
    return ArithmeticStory(world=world, question=" ".join(sentences))


def _in_text_order(draft: _Draft, target: str) -> ArithmeticWorld:
    """Return the world with its definitions in the order of the text.

    The sentences of `SHUFFLED_SHARE` of the drafts are shuffled first.
    """
    if draft.random.random() < SHUFFLED_SHARE:
        draft.random.shuffle(draft.sentences)
    derived: dict[str, Derived] = {}
    for holder, _ in draft.sentences:
        if holder in draft.derived:
            derived[holder] = draft.derived[holder]
    # The quantities of the ending have no sentence in this list; they follow in their order.
    for holder, definition in draft.derived.items():
        derived.setdefault(holder, definition)
    return ArithmeticWorld(given=draft.given, derived=derived, target=target)


def _with_distraction(draft: _Draft) -> Sequence[str]:
    """Return the sentences, in a third of the drafts with one more that states no quantity."""
    sentences = [sentence for _, sentence in draft.sentences]
    if draft.random.random() < 0.35:
        template = draft.random.choice(DISTRACTIONS)
        name = draft.random.choice(draft.people)
        number = draft.random.randint(3, 90)
        position = draft.random.randint(0, len(sentences))
        sentences.insert(position, template.format(name=name, number=number))
    return sentences
