r"""Answers as programs print them, and with the signs of East Asian text.

`readable` removes quotes and a list of one string around an answer, and replaces the notation of
computer algebra systems by LaTeX: `abs(x)`, `binomial(5, 2)`, `Matrix([[1, 2], [3, 4]])`, `%pi`,
`sin(x)^2`. Full-width signs become ASCII, and counting words behind a number become its unit.

All patterns take linear time; calls may be nested a few levels deep.
"""

import re
from collections.abc import Sequence

# Deeper calls stay as they are.
MAX_CALLS = 8

FULL_WIDTH = {ord("、"): ", ", ord("，"): ", ", ord("；"): "; ", ord("\u3000"): " "}
for _sign in "０１２３４５６７８９（）：％．＝＋－／＜＞［］｛｝｜":
    FULL_WIDTH[ord(_sign)] = chr(ord(_sign) - 0xFEE0)

QUOTED = re.compile(r"""\s*(?:(\\?["'])([^"'“”\\]+|[^"'“”]+(?=\\"))\1|“([^"“”]+)”)\s*""")
LIST_OF_ONE = re.compile(r"""\s*\[ ?(["'])([^"'\[\],]+)\1 ?\]\s*""")
PERCENT_CONSTANT = re.compile(r"(?:(?<=[-+*/^(,=\[{])|^) ?%(pi|e|i)(?![A-Za-z])")

FUNCTIONS = "sin|cos|tan|cot|sec|csc|sinh|cosh|tanh|ln|log|exp|arcsin|arccos|arctan"
INVERSES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
CALL = re.compile(
    r"(?<![\\A-Za-z_])(?P<name>[aA]bs|binomial|factorial|cbrt|root|[mM]atrix|asin|acos|atan"
    r"|[sS]um|[pP]roduct"
    rf"|{FUNCTIONS})\("
)

# LaTeX by the name of a function and its number of arguments.
TEMPLATES = {
    ("abs", 1): r"\left|%s\right|",
    ("binomial", 2): r"\binom{%s}{%s}",
    ("factorial", 1): "((%s)!)",
    ("cbrt", 1): r"\sqrt[3]{%s}",
    ("root", 1): r"\sqrt{%s}",
}
SERIES = {"sum": r"\sum", "product": r"\prod"}

# A number with a counting word, such as `5个`.
COUNTED = re.compile(
    r"\s*(?P<number>[-−]?\d[\d,]*(?:\.\d+)?(?:/\d+)?) ?(?P<word>[\u4e00-\u9fff]{1,4})[。.]?\s*"
)
# Signs that change the value, state a bound, or name a unit with several meanings.
VALUE_SIGNS = frozenset(
    "万亿千百十兆半倍多余几负点不以上下至到约第一二三四五六七八九零两双对副打成折"
    "前后早晚过差未内外大小高低比分角毛斤吨月年度时間刻"
)
EAST_ASIAN_UNITS = {
    "小时": "hours", "分钟": "minutes", "秒": "seconds", "秒钟": "seconds", "天": "days",
    "周": "weeks", "星期": "weeks", "日": "days",
    "米": "meters", "厘米": "centimeters", "毫米": "millimeters", "千米": "kilometers",
    "公里": "kilometers", "克": "grams", "千克": "kilograms", "公斤": "kilograms",
    "升": "liters", "毫升": "milliliters", "元": "yuan", "美元": "dollars", "公尺": "meters",
    "英寸": "inches", "英尺": "feet", "码": "yards", "英里": "miles", "磅": "pounds",
    "盎司": "ounces", "品脱": "pints", "夸脱": "quarts", "加仑": "gallons",
    "平方米": "square meters", "平方厘米": "square centimeters", "公顷": "hectares",
    "立方米": "cubic meters", "立方厘米": "cubic centimeters", "度": "degrees",
}  # fmt: skip


def readable(text: str) -> str:
    """Return the text in the notation of people who write LaTeX or plain text in ASCII."""
    if not text.isascii():
        text = _counted(text.translate(FULL_WIDTH))
    quoted = QUOTED.fullmatch(text)
    if quoted:
        text = quoted[2] or quoted[3]
    single = LIST_OF_ONE.fullmatch(text)
    if single:
        text = single[2]
    if "%" in text:
        text = PERCENT_CONSTANT.sub(_constant, text)
    if CALL.search(text):
        return _without_calls(text, 0)
    return text


def _constant(match: re.Match[str]) -> str:
    if match[1] == "pi":
        return r"\pi "
    return match[1]


def _counted(text: str) -> str:
    """Return a number with a counting word as a number with a unit."""
    counted = COUNTED.fullmatch(text)
    if counted is None:
        return text
    unit = EAST_ASIAN_UNITS.get(counted["word"].removeprefix("个"))
    if unit is None:
        if not VALUE_SIGNS.isdisjoint(counted["word"]):
            return text
        unit = "units"
    return f"{counted['number']} {unit}"


def _without_calls(text: str, depth: int) -> str:
    """Return the text with LaTeX instead of the calls that it contains."""
    parts = list[str]()
    position = 0
    if depth < MAX_CALLS:
        call = CALL.search(text)
        while call:
            end = _closing(text, call.end())
            if end is None:
                break
            inner = _without_calls(text[call.end() : end], depth + 1)
            is_power = text[end + 1 :].lstrip().startswith(("^", "**"))
            parts += (text[position : call.start()], _latex(call["name"], inner, is_power))
            position = end + 1
            call = CALL.search(text, position)
    return "".join([*parts, text[position:]])


def _closing(text: str, start: int) -> int | None:
    """Return the position of the bracket that closes the one before `start`."""
    depth = 1
    for position in range(start, len(text)):
        if text[position] in "([{":
            depth += 1
        elif text[position] in ")]}":
            depth -= 1
            if depth == 0:
                return position
    return None


def _latex(name: str, inner: str, is_power: bool) -> str:
    arguments = _arguments(inner)
    kind = name.lower()
    template = TEMPLATES.get((kind, len(arguments)))
    if template is not None:
        return template % tuple(arguments)
    latex: str | None = None
    if kind == "matrix":
        latex = _matrix(arguments, has_columns=name == "Matrix")
    elif kind == "root" and len(arguments) == 2:
        latex = rf"\sqrt[{arguments[1]}]{{{arguments[0]}}}"
    elif kind in SERIES:
        latex = _series(SERIES[kind], arguments)
    if latex is not None:
        return latex
    function = INVERSES.get(name, name)
    # Programs write `sin(x)^2` for the square of the sine.
    if is_power:
        return f"({function}({inner}))"
    return f"{function}({inner})"


def _series(command: str, arguments: Sequence[str]) -> str | None:
    """Return `sum(k^2, k, 1, 10)` or `Sum(k**2, (k, 1, 10))` as a sum."""
    term, *bounds = arguments
    if len(bounds) == 1 and bounds[0].startswith("(") and bounds[0].endswith(")"):
        bounds = list(_arguments(bounds[0][1:-1]))
    if len(bounds) != 3:
        return None
    index, first, last = bounds
    return rf"({command}_{{{index}={first}}}^{{{last}}}({term}))"


def _matrix(arguments: Sequence[str], *, has_columns: bool) -> str | None:
    """Return `[[1, 2], [3, 4]]`, or its rows, as an environment.

    With `has_columns`, a single plain list is a column, as in SymPy.
    """
    rows = list(arguments)
    if len(rows) == 1 and rows[0].startswith("[[") and rows[0].endswith("]]"):
        rows = list(_arguments(rows[0][1:-1]))
    elif len(rows) == 1 and has_columns and rows[0].startswith("[") and rows[0].endswith("]"):
        rows = [f"[{cell}]" for cell in _arguments(rows[0][1:-1])]
    if not all(row.startswith("[") and row.endswith("]") for row in rows):
        return None
    lines = [" & ".join(_arguments(row[1:-1])) for row in rows]
    return r"\begin{pmatrix}" + r" \\ ".join(lines) + r"\end{pmatrix}"


def _arguments(text: str) -> Sequence[str]:
    """Return the parts between commas outside brackets."""
    parts = [""]
    depth = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]
